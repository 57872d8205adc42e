"""Stopping on request: Slurm sends SIGUSR1 or SIGTERM some time before it kills a job, Ctrl-C sends SIGINT."""

import signal
from types import FrameType


class StopRequest:
    """Remembers the first SIGTERM, SIGUSR1 or SIGINT, so that work can stop where it can be resumed.

    Before `listen`, the signals end the process at once: there is nothing to lose yet.

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
        """Handle the signals from now on."""
        numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
        self._before = {number: signal.signal(number, self._remember) for number in numbers}
        return self

    def ignore(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number).name
