"""Stop: tells everybody of a run to stop, and wakes who waits."""

from __future__ import annotations

import threading
import time

GRACE = 5.0
"""Seconds that requests in flight have to finish after a signal."""


class Stop:
    """Tells everybody to stop. `wait(seconds)` sleeps and returns True as soon as the run is to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason: str | None = None
        self.deadline: float | None = None

    def set(self, reason: str, grace: float | None = None) -> None:
        """Stop the run; the first reason counts. `grace` limits the wait for requests in flight, in seconds."""
        self.reason = self.reason or reason
        if grace is not None and self.deadline is None:
            self.deadline = time.monotonic() + grace
        self._event.set()

    def is_set(self) -> bool:
        """Whether the run is to stop."""
        return self._event.is_set()

    def is_overdue(self) -> bool:
        """Whether an interrupted run has waited long enough for what is on the wire."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def wait(self, seconds: float) -> bool:
        """Sleep, unless the run is to stop: then return True at once."""
        return self._event.wait(seconds)
