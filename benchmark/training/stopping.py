"""Being told to stop: Slurm sends SIGUSR1 or SIGTERM some time before it kills."""

import signal
from types import FrameType


class StopRequest:
    """Remembers that SIGTERM or SIGUSR1 came, so that work can end at a point from which it can go on.

    Before `listen`, the signals end the process at once: nothing has been done that could be lost.

    Example:
        >>> import os, signal
        >>> stop = StopRequest().listen()
        >>> os.kill(os.getpid(), signal.SIGUSR1)
        >>> stop.signal
        'SIGUSR1'
        >>> stop.ignore()
    """

    signal: str | None = None

    def listen(self) -> "StopRequest":
        """Take over both signals."""
        self._before = {number: signal.signal(number, self._remember) for number in (signal.SIGTERM, signal.SIGUSR1)}
        return self

    def ignore(self) -> None:
        """Give both signals back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
