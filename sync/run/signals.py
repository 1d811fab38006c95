"""SIGINT, SIGTERM and SIGHUP: the first that comes asks the run to stop, the second ends it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sync.delivery.stop import GRACE, Stop

HEARD = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


class Interrupted(BaseException):
    """A signal came while nothing was in flight. `code` is the exit code: 128 and the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(describe(signum))
        self.code = 128 + signum


def describe(signum: int) -> str:
    """The reason for a stop by this signal."""
    return f"interrupted by {signal.Signals(signum).name}"


class Interruption:
    """Listens for signals. Each sets `stop`; outside the `delivering` block it also raises `Interrupted` in the main
    thread. Inside, requests in flight can finish and be recorded.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._delivering = False
        self.signum = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the block, but for a SIGHUP that `nohup` had ignored."""
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        before = {number: signal.signal(number, self._handle) for number in HEARD - ignored}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Inside, a signal asks for an orderly end instead of raising."""
        self._delivering = True
        try:
            yield
        finally:
            self._delivering = False

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum:
            os._exit(128 + signum)
        self.signum = signum
        self._stop.set(describe(signum), GRACE)
        if not self._delivering:
            raise Interrupted(signum)
