"""A server that other programs use too, in a simulation."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import pytest

from sync.api.pacing import HEADROOM, Pace
from tests.api.pacing.clock import Clock


class Seen(NamedTuple):
    """What the simulated server saw: requests a second, share of 429s, the pace's last rate."""

    per_second: float
    share_429: float
    rate: float


class Simulation:
    """Workers behind one pace and a server with a quota of its own, without real time passing.

    The workers do what the client does: reserve, wait, reserve anew in a pause; after a 429 a second's backoff.
    """

    def __init__(self, quota: Callable[[float], float], latency: float, seed: int = 1) -> None:
        self._quota, self._latency, self._chance = quota, latency, random.Random(seed)
        self._clock = Clock(0.0)
        self._pace = Pace(500, self._clock.sleep, self._clock)
        self._admitted: deque[float] = deque()
        self._agenda: list[tuple[float, int, str, float]] = []
        self._number = self._accepted = self._refused = 0

    def run(self, workers: int, requests: int) -> Seen:
        """Until so many requests were accepted."""
        for _ in range(workers):
            self._later(0, "reserve")
        while self._accepted < requests:
            self._clock.now, _, what, started = heapq.heappop(self._agenda)
            if what == "reserve":
                self._later(max(self._pace.reserve() - self._clock.now, 0), "start")
            elif what == "start":
                self._start()
            elif what == "arrival":
                self._arrive(started)
            else:
                self._answer(started, what)
        total = self._accepted + self._refused
        return Seen(self._accepted / self._clock.now, self._refused / total, self._pace.rate)

    def _later(self, delay: float, what: str, started: float = 0.0) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (self._clock.now + delay, self._number, what, started))

    def _on_the_way(self) -> float:
        return self._latency / 2 * self._chance.uniform(0.8, 1.2)

    def _start(self) -> None:
        started = self._pace.start()
        if started is None:
            self._later(0, "reserve")
        else:
            self._later(self._on_the_way(), "arrival", started)

    def _arrive(self, started: float) -> None:
        now = self._clock.now
        while self._admitted and self._admitted[0] <= now - 1:
            self._admitted.popleft()
        admitted = len(self._admitted) < self._quota(now)
        if admitted:
            self._admitted.append(now)
        self._later(self._on_the_way(), "200" if admitted else "429", started)

    def _answer(self, started: float, status: str) -> None:
        if status == "200":
            self._accepted += 1
            self._later(0, "reserve")
        else:
            self._refused += 1
            self._pace.throttled(started)
            self._later(self._chance.uniform(0.9, 1.1), "reserve")


@pytest.mark.parametrize("latency", [0.0, 0.02, 0.1])
def test_a_server_that_takes_only_100_a_second(latency: float) -> None:
    """Far below our own ceiling fewer than 5 % of the requests are answered 429, and 80 a second get through."""
    seen = Simulation(lambda _: 100, latency).run(workers=64, requests=2_500)

    assert seen.share_429 < 0.05
    assert seen.per_second >= 80


def test_quota_that_others_free_is_used_again() -> None:
    """Two other programs leave 150 of 500 a second for 20 s; a minute after they end we are at our ceiling."""
    seen = Simulation(lambda now: 150 if now < 20 else 500, 0.02).run(workers=64, requests=18_000)

    assert seen.rate == pytest.approx(500 * HEADROOM)
    assert seen.per_second > 200
    assert seen.share_429 < 0.05


def test_at_its_own_ceiling_no_429() -> None:
    """Alone on a server that counts sliding seconds strictly, 475 a second pass and none is answered 429."""
    seen = Simulation(lambda _: 500, 0.0).run(workers=64, requests=5_000)

    assert seen.share_429 == 0
    assert seen.per_second > 470
