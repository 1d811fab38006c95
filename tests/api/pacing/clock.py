"""A clock that only the tests move, and what they count by it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from sync.api.pacing import DOCUMENTED_CEILINGS, Pace

UPDATE = "users/update"
CEILINGS = sorted(DOCUMENTED_CEILINGS.values())


class Clock:
    """Seconds that pass only while somebody sleeps; `then` happens during the next sleep."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []
        self.then: list[Callable[[], object]] = []
        self.interrupted = False

    def __call__(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> bool:
        """Let that many seconds pass."""
        self.slept.append(seconds)
        if self.then:
            self.then.pop(0)()
        self.now += seconds
        return self.interrupted


def most_in_a_second(starts: Sequence[float]) -> int:
    """The largest number of starts in any one second."""
    window: deque[float] = deque()
    most = 0
    for start in sorted(starts):
        window.append(start)
        while window[0] <= start - 1:
            window.popleft()
        most = max(most, len(window))
    return most


def drain(pace: Pace, number: int) -> list[float]:
    """This many starts, reserved at one moment."""
    return [pace.reserve() for _ in range(number)]


def next_start(pace: Pace, clock: Clock) -> float:
    """Start the next request as soon as it may, and say when that was."""
    started = None
    while started is None:
        clock.now = max(clock.now, pace.reserve())
        started = pace.start()
    return started
