"""Workers behind one pace who wake late, without real time passing."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator

from sync.api.pacing import Pace
from tests.api.pacing.clock import Clock

Event = tuple[float, int, bool]


class Workers:
    """Each reserves a start, sleeps, wakes late, starts if it may or reserves anew, and then has other things to do.

    `lateness` gives the seconds by which one wake-up after the other is late, `gaps` what passes between two requests
    of a worker; both over and over.
    """

    def __init__(self, ceiling: float, workers: int, lateness: Iterable[float], gaps: Iterable[float]) -> None:
        self._clock = Clock()
        self._pace = Pace(ceiling, self._clock.sleep, self._clock)
        self._lateness, self._gaps = itertools.cycle(lateness), itertools.cycle(gaps)
        self._numbers = itertools.count()
        self._agenda: list[Event] = [(self._clock.now, next(self._numbers), False) for _ in range(workers)]

    def starts(self, number: int) -> list[float]:
        """When the first so many requests started."""
        return list(itertools.islice(self._starts(), number))

    def _starts(self) -> Iterator[float]:
        while True:
            self._clock.now, _, reserved = heapq.heappop(self._agenda)
            if reserved and self._pace.start() is not None:
                yield self._clock.now
                self._later(next(self._gaps), reserved=False)
            else:
                wait = self._pace.reserve() - self._clock.now
                self._later(wait + next(self._lateness) if wait > 0 else 0, reserved=True)

    def _later(self, delay: float, *, reserved: bool) -> None:
        heapq.heappush(self._agenda, (self._clock.now + delay, next(self._numbers), reserved))
