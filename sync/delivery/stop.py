"""Stop: tells all threads of a run to stop, and wakes those that wait."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

GRACE = 5.0
"""Seconds that requests on their way have to finish after a signal."""


class Stop:
    """Tells all threads to stop. `wait(seconds)` sleeps, and returns True as soon as the run is to stop."""

    def __init__(self) -> None:
        # Held until the run is to stop. Not an Event: a signal comes in the middle of anything, and what it interrupts
        # may hold the lock that an event has inside.
        self._goes_on = threading.Lock()
        self._goes_on.acquire()
        self.reason: str | None = None
        self.deadline: float | None = None

    def set(self, reason: str, grace: float | None = None) -> None:
        """Stop the run; the first reason counts. `grace` limits the wait for requests in flight, in seconds."""
        self.reason = self.reason or reason
        if grace is not None and self.deadline is None:
            self.deadline = time.monotonic() + grace
        self._let_go()

    def _let_go(self) -> None:
        with suppress(RuntimeError):  # somebody else has just done it
            self._goes_on.release()

    def is_set(self) -> bool:
        """Whether the run is to stop."""
        return self.reason is not None

    def is_overdue(self) -> bool:
        """Whether an interrupted run has waited long enough for requests on their way."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def wait(self, seconds: float) -> bool:
        """Sleep, unless the run is to stop: then return True at once."""
        stopped = self._goes_on.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))
        if stopped:
            self._let_go()
        return stopped or self.is_set()  # others who wait may hold the lock for a moment
