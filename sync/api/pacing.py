"""Pacing: how fast requests may start. One token bucket for each endpoint, shared by all workers.

A bucket plans start times and admits what starts, both by the generic cell rate algorithm: one number, the time at
which the bucket is full again, stands for all tokens. Nobody knows how Iterable counts, so no second may have more
starts than the ceiling, wherever it begins. The arithmetic: one second's quota takes 1 / HEADROOM seconds at the steady
pace; what that is longer than a second is all that a burst, or starts that come late and close together, may gain.

Other programs share the quota. A 429 pauses its endpoint for everybody, and says how much there is for us: what was
accepted in the second before. The rate falls a little below that, comes back quickly to where it is safe, feels its way
past it slowly, and goes on quickly once there is evidently more.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

DOCUMENTED_CEILINGS = {
    "users/update": 500.0,
    "events/track": 2000.0,
    "users/bulkUpdate": 5.0,
    "events/trackBulk": 10.0,
    "users/getByEmail": 100.0,
    "users/byUserId": 100.0,
    "events": 100.0,
    "events/byUserId": 100.0,
}
"""Requests a second and project, as Iterable's Swagger document states them."""

UNSTATED_CEILING = 100.0
"""For an endpoint to which the document gives no limit: what most of the others have."""

HEADROOM = 0.95
"""Part of a ceiling that is aimed at: a metronome at exactly the limit is answered 429 for its jitter."""

SLACK = 1 - HEADROOM
"""Seconds that starts may gain on the steady pace, of each second; a little less than the arithmetic allows."""

BURST = 0.5
"""Part of the slack for unused quota that is used at once; the rest is for those who wake late."""

BELOW = 0.9
"""Part of what was accepted that the rate falls to after a 429."""

LARGEST_DECREASE = 0.2
"""The rate falls to this part of itself at most: a second that has only begun says little."""

RETURN_PER_SECOND = 1.2
RETURN_TO = 0.95
FEEL_PER_SECOND = 1.01
FEEL_TO = 1.05
INCREASE_PER_SECOND = 1.1
"""How the rate grows: quickly up to 0.95 of what was accepted, slowly up to 1.05 of it, and then quickly again. A stray
429 at full speed then costs seconds, and a quota that is really smaller is met seldom."""

FLOOR = 0.01
LONGEST_RAISE = 60.0
"""Seconds without an accepted request that count, at most, when the rate is raised."""

SHORT_PAUSE = 0.5
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
SUSTAINED = 2.0
"""Seconds for which an endpoint was open before a 429 that needs the short pause only."""


class Ticket(NamedTuple):
    """Permission to start one request: when (on the bucket's clock) and in which generation between two pauses."""

    start: float
    generation: int


def target_rate(ceiling: float) -> float:
    """The rate that is aimed at below a `ceiling`, both in requests a second; half a request is none."""
    return HEADROOM * (math.floor(ceiling) if ceiling >= 1 else ceiling)


class TokenBucket:
    """The pace of one endpoint. Safe to share between threads.

    `ceiling` is in requests a second; `clock` gives seconds and never goes back.
    """

    def __init__(self, ceiling: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.ceiling = target_rate(ceiling)
        self.rate = self.ceiling
        self._slack = SLACK * max(1.0, 1 / ceiling)
        self._clock = clock
        self._lock = threading.Lock()
        self._full_at = self._started_full_at = clock()
        self._opens_at = 0.0
        self._generation = 0
        self._pause = FIRST_PAUSE
        self._capacity = self.ceiling
        self._accepted_at: deque[float] = deque(maxlen=math.ceil(ceiling))
        self._raised_at = clock()

    def reserve(self) -> Ticket:
        """Take one token and say when its request may start."""
        with self._lock:
            start = max(self._full_at - (self._burst() - 1) / self.rate, self._opens_at, self._clock())
            self._full_at = max(self._full_at, start) + 1 / self.rate
            return Ticket(start, self._generation)

    def _burst(self) -> int:
        """How many requests may start at once: a lowered rate has smaller bursts, too."""
        return int(1 + self._slack * BURST * self.rate)

    def admits(self, ticket: Ticket) -> bool:
        """Whether the request of this `ticket` may start now; if not, a new one has to be drawn.

        What counts here is when requests really started, not when they were to: if all are late by the same, all are
        admitted; those who slept through a stall of the machine are not admitted together.
        """
        with self._lock:
            full_at, now = self._started_full_at, self._clock()
            if not self.is_current(ticket) or now < full_at - self._slack:
                return False
            self._started_full_at = max(full_at, now) + 1 / self.ceiling
            return True

    def is_current(self, ticket: Ticket) -> bool:
        """False when a pause was declared after the ticket was given: it has to be drawn anew."""
        return ticket.generation == self._generation

    def throttled(self, ticket: Ticket, retry_after: float = 0.0) -> None:
        """A request of this `ticket` was answered 429; `retry_after` is what the answer asked for, in seconds.

        Requests that were under way when the pause began are answered 429 too; they lower the rate only once.
        """
        with self._lock:
            pause = retry_after
            if ticket.generation == self._generation:
                pause = max(retry_after, self._next_pause())
                self._capacity = min(self.rate, max(self._accepted_lately(), self.rate * LARGEST_DECREASE))
                self.rate = max(self._capacity * BELOW, self.ceiling * FLOOR)
            now = self._clock()
            if ticket.generation == self._generation or now + pause > self._opens_at:
                self._close(max(now + pause, self._opens_at))

    def _next_pause(self) -> float:
        """How long to pause; twice as long each time while nothing is accepted between."""
        if self._pause == FIRST_PAUSE and self._clock() - self._opens_at > SUSTAINED and self._opens_at:
            return SHORT_PAUSE
        pause = self._pause
        self._pause = min(pause * 2, LONGEST_PAUSE)
        return pause

    def _accepted_lately(self) -> int:
        """How many requests were accepted in the last second."""
        since = self._clock() - 1
        return sum(at > since for at in tuple(self._accepted_at))  # at once: others append meanwhile

    def _close(self, opens_at: float) -> None:
        """Begin a generation: tickets that were not used yet are void, and the bucket is empty when it opens."""
        self._generation += 1
        self._opens_at = self._raised_at = opens_at
        self._full_at = opens_at + self._burst() / self.rate

    def accepted(self, ticket: Ticket) -> None:
        """A request of this `ticket` was accepted: the endpoint is open, its rate may grow."""
        self._accepted_at.append(self._clock())
        if self.rate >= self.ceiling or ticket.generation != self._generation:
            return
        with self._lock:
            self._pause = FIRST_PAUSE
            now = self._clock()
            elapsed = min(now - self._raised_at, LONGEST_RAISE)
            if elapsed > 0:
                self._raised_at = now
                self.rate = min(self.ceiling, self.rate * self._growth() ** elapsed)

    def _growth(self) -> float:
        """How many times as large the rate becomes in a second."""
        if self.rate < self._capacity * RETURN_TO:
            return RETURN_PER_SECOND
        return FEEL_PER_SECOND if self.rate < self._capacity * FEEL_TO else INCREASE_PER_SECOND


class Pacer:
    """All buckets of a run, and the waiting.

    `sleep` waits that many seconds and returns True when the run was told to stop meanwhile.
    """

    def __init__(
        self,
        ceilings: Mapping[str, float],
        sleep: Callable[[float], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._buckets = {endpoint: TokenBucket(ceiling, clock) for endpoint, ceiling in ceilings.items()}
        self._sleep = sleep
        self._clock = clock

    def knows(self, endpoint: str) -> bool:
        """Whether this endpoint has a ceiling."""
        return endpoint in self._buckets

    def acquire(self, endpoint: str) -> Ticket | None:
        """Wait for this endpoint's turn; None when the run was told to stop while waiting."""
        bucket = self._buckets[endpoint]
        while True:
            ticket = bucket.reserve()
            wait = ticket.start - self._clock()
            if wait > 0 and self._sleep(wait):
                return None
            if bucket.admits(ticket):
                return ticket

    def throttled(self, endpoint: str, ticket: Ticket, retry_after: float) -> None:
        """Tell the bucket of a 429."""
        self._buckets[endpoint].throttled(ticket, retry_after)

    def accepted(self, endpoint: str, ticket: Ticket) -> None:
        """Tell the bucket of an accepted request."""
        self._buckets[endpoint].accepted(ticket)

    def rate(self, endpoint: str) -> float:
        """The endpoint's present rate in requests a second."""
        return self._buckets[endpoint].rate
