"""What goes wrong on the user's side, told in one message."""


class UserError(Exception):
    """Something that the user can mend: the message says what, where, and the remedy; no traceback is shown for it."""


class Preempted(Exception):
    """The process was told to stop; what it had done is in a checkpoint, and the same command goes on from there."""
