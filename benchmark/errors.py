"""Errors that the user can fix, and how a run ends early."""

import errno


class UserError(Exception):
    """An error the user can fix: the message says what, where and how to fix it, and no traceback is shown."""


class Preempted(Exception):
    """The process was asked to stop; its work is in a checkpoint, and the same command resumes from there."""


class Interrupted(Preempted):
    """The same, because somebody pressed Ctrl-C."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether the machine or a GPU ran out of memory."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in _SHORT))
    )


#: How torch words it on a GPU and on the CPU, where it raises a plain RuntimeError.
_SHORT = ("out of memory", "can't allocate memory")
