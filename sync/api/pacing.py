"""Pacing: how fast requests may start. One pace for each endpoint, shared by all workers.

A worker that wants to send reserves the next start, waits for it, and then asks whether it may start now, because a
busy machine wakes threads late. Nobody knows how Iterable counts, so no second may have more starts than the ceiling,
wherever it begins. The arithmetic: at the steady pace, one second's quota takes 1 / HEADROOM seconds. The part beyond
one second is all that a burst, or late starts close together, may gain.

Other programs share the quota. A 429 pauses its endpoint for all workers, and shows our share: what got through in the
second before. The rate falls a little below that, rises slowly until it is past it, and then rises quickly. Only starts
raise it, so an endpoint that is not used stays as slow as it was.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

Sleep = Callable[[float], bool]
Clock = Callable[[], float]

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
"""For an endpoint without a documented limit: the limit that most of the others have."""

HEADROOM = 0.95
"""The part of a ceiling to aim at. At exactly the limit, jitter alone would cause 429s."""

SLACK = 1 - HEADROOM
"""Seconds by which starts may run ahead of the steady pace, for each second of quota; slightly below the bound above.
Half of it lets a burst use idle quota; the other half is for threads that wake late."""

PAUSE = 1.0
"""Seconds without a start after a 429, unless it asks for a longer pause."""

BELOW = 0.95
LEAST = 0.2
"""After a 429, the rate falls to this part of what got through, but not below this part of itself: a second that has
only just begun says little."""

FEEL = 0.005
FEEL_TO = 1.05
GROW = 0.2
"""What each start adds to a lowered rate: little until the rate is 1.05 of what got through, and then more. So a stray
429 at full speed costs only seconds, and a quota that is really smaller is exceeded rarely."""

FLOOR = 0.01
"""The rate never falls below this part of the ceiling."""


def target_rate(ceiling: float) -> float:
    """The rate to aim at for a `ceiling`, both in requests a second. Only whole requests count."""
    return HEADROOM * (math.floor(ceiling) if ceiling >= 1 else ceiling)


class Pace:
    """The pace of one endpoint. Safe to share between threads.

    `ceiling` is in requests a second; `sleep` waits that many seconds and returns True when the run was told to stop
    meanwhile; `clock` gives seconds and never goes back.
    """

    def __init__(self, ceiling: float, sleep: Sleep, clock: Clock = time.monotonic) -> None:
        self.ceiling = self.rate = target_rate(ceiling)
        self._slack = SLACK * max(1.0, 1 / ceiling)
        self._sleep, self._clock, self._lock = sleep, clock, threading.Lock()
        self._next = self._free = clock()
        self._passed, self._paused = 0, -math.inf
        self._started: deque[float] = deque(maxlen=math.ceil(ceiling))

    def acquire(self) -> float | None:
        """Wait for a turn, and say when it was; None when the run was told to stop while waiting."""
        while (wait := self.reserve() - self._clock()) <= 0 or not self._sleep(wait):
            if (started := self.start()) is not None:
                return started
        return None

    def reserve(self) -> float:
        """When the next request may start. After a pause, a small part of the unused quota may be used at once."""
        with self._lock:
            burst = int(self._slack / 2 * self.rate) / self.rate
            start = max(self._next, self._clock() - burst)
            more = FEEL if self.rate < self._passed * FEEL_TO else GROW
            self.rate = min(self.ceiling, self.rate + more)
            self._next = start + 1 / self.rate
            return start

    def start(self) -> float | None:
        """Start now and return the time; None if that is too close to other starts, or in a pause.

        What counts is when requests really start, not when they should have. If all are equally late, all may start;
        threads that slept through a stall of the machine may not start together.
        """
        with self._lock:
            now = self._clock()
            if now < self._free - self._slack:
                return None
            self._free = max(self._free, now) + 1 / self.rate
            self._started.append(now)
            return now

    def throttled(self, started: float, retry_after: float = 0.0) -> None:
        """The request of this start was answered 429; `retry_after` is what the answer asked for, in seconds.

        Other requests that were on their way when the pause began are answered 429 too; together they lower the rate
        once.
        """
        with self._lock:
            now = self._clock()
            if started > self._paused:
                self._paused, retry_after = now, max(retry_after, PAUSE)
                self._passed = sum(started - 1 < at < started for at in self._started)
                self.rate = max(self._passed * BELOW, self.rate * LEAST * BELOW, self.ceiling * FLOOR)
            self._next = max(self._next, now + retry_after)
            self._free = max(self._free, now + retry_after + self._slack)


class Pacer(dict[str, Pace]):
    """The pace of each endpoint that has a ceiling."""

    def __init__(self, ceilings: Mapping[str, float], sleep: Sleep, clock: Clock = time.monotonic) -> None:
        super().__init__({endpoint: Pace(ceiling, sleep, clock) for endpoint, ceiling in ceilings.items()})
