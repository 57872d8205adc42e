"""Being told to stop: Slurm sends SIGUSR1 or SIGTERM some time before it kills."""

import signal
from types import FrameType


class StopRequest:
    """Remembers that SIGTERM or SIGUSR1 came, so that work can end at a point from which it can go on.

    Example:
        >>> import os, signal
        >>> stop = StopRequest().listen()
        >>> os.kill(os.getpid(), signal.SIGUSR1)
        >>> stop.signal
        'SIGUSR1'
    """

    signal: str | None = None

    def listen(self) -> "StopRequest":
        """Take over both signals for the rest of the process."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._remember)
        return self

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
