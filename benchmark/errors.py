"""What goes wrong on the user's side, told in one message."""


class UserError(Exception):
    """Something that the user can mend: the message says what, where, and the remedy; no traceback is shown for it."""
