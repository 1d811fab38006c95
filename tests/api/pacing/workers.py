"""Workers behind one bucket who wake late, without real time passing."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator

from sync.api.pacing import Ticket, TokenBucket
from tests.api.pacing.clock import Clock

Event = tuple[float, int, Ticket | None]


class Workers:
    """Each draws, sleeps, wakes late, starts if it is admitted or draws anew, and then has other things to do.

    `lateness` gives the seconds by which one wake-up after the other is late, `gaps` what passes between two requests
    of a worker; both over and over.
    """

    def __init__(self, ceiling: float, workers: int, lateness: Iterable[float], gaps: Iterable[float]) -> None:
        self._clock = Clock()
        self._bucket = TokenBucket(ceiling, self._clock)
        self._lateness, self._gaps = itertools.cycle(lateness), itertools.cycle(gaps)
        self._numbers = itertools.count()
        self._agenda: list[Event] = [(self._clock.now, next(self._numbers), None) for _ in range(workers)]
        self.draws = 0

    def starts(self, number: int) -> list[float]:
        """When the first so many requests started."""
        return list(itertools.islice(self._starts(), number))

    def _starts(self) -> Iterator[float]:
        while True:
            self._clock.now, _, ticket = heapq.heappop(self._agenda)
            if ticket and self._bucket.admits(ticket):
                yield self._clock.now
                self._later(next(self._gaps), None)
            else:
                self._draw()

    def _draw(self) -> None:
        self.draws += 1
        ticket = self._bucket.reserve()
        wait = ticket.start - self._clock.now
        self._later(wait + next(self._lateness) if wait > 0 else 0, ticket)

    def _later(self, delay: float, ticket: Ticket | None) -> None:
        heapq.heappush(self._agenda, (self._clock.now + delay, next(self._numbers), ticket))
