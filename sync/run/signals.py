"""SIGINT and SIGTERM: the first asks the run to stop, the second ends it at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sync.delivery.stop import GRACE, Stop

HEARD = frozenset({signal.SIGINT, signal.SIGTERM})


class Interrupted(BaseException):
    """A signal came while nothing was in flight. `code` is the exit code: 128 and the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(describe(signum))
        self.code = 128 + signum


def describe(signum: int) -> str:
    """The reason of a stop by this signal."""
    return f"interrupted by {signal.Signals(signum).name}"


class Interruption:
    """Listens for signals. While the database is read a signal raises `Interrupted`; in the `delivering` block it sets
    `stop`, so that requests in flight can finish and be recorded. Outside, `abort` is called too: it ends what keeps
    the main thread, such as a long statement of the state's, from hearing of the signal.
    """

    def __init__(self, stop: Stop, abort: Callable[[], object] = lambda: None) -> None:
        self._stop, self._abort = stop, abort
        self._delivering = False
        self._lock = threading.Lock()
        self.signum = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle both signals inside the block."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        watcher = threading.Thread(target=self._watch, args=(ours,), daemon=True, name="signals")
        watcher.start()
        before = {number: signal.signal(number, self._handle) for number in HEARD}
        woken_before = signal.set_wakeup_fd(theirs.fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(woken_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            theirs.close()
            watcher.join()  # before the caller closes what `abort` would touch

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Inside, a signal asks for an orderly end instead of raising."""
        with self._lock:
            self._delivering = True
        try:
            yield
        finally:
            self._delivering = False

    def _watch(self, numbers: socket.socket) -> None:
        """Stop the run from a thread of its own: a handler that took a lock could wait for the frame it interrupts."""
        with numbers:
            while number := numbers.recv(1):
                if number[0] in HEARD:
                    self._stop.set(describe(number[0]), grace=GRACE)
                    self._abort_if_deaf()

    def _abort_if_deaf(self) -> None:
        """Interrupt the main thread's statement, unless its handler ran already or it must not be interrupted."""
        with self._lock:
            if not self._delivering and not self.signum:
                self._abort()

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum:
            os._exit(128 + signum)
        self.signum = signum
        if not self._delivering:
            raise Interrupted(signum)
