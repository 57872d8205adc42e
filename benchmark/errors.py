"""What goes wrong on the user's side, told in one message."""

import errno


class UserError(Exception):
    """Something that the user can mend: the message says what, where, and the remedy; no traceback is shown for it."""


class Preempted(Exception):
    """The process was told to stop; what it had done is in a checkpoint, and the same command goes on from there."""


def memory_was_short(error: Exception) -> bool:
    """Whether the memory of the machine or of a GPU did not suffice."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in _SHORT))
    )


#: What torch says, on a GPU and on the CPU, where it has no exception of its own for it.
_SHORT = ("out of memory", "can't allocate memory")
