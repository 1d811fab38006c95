"""How a lowered rate comes back."""

from __future__ import annotations

import pytest

from sync.api.pacing import BELOW, LEAST, Pace
from tests.api.pacing.clock import Clock, next_start


def start_for(pace: Pace, clock: Clock, seconds: float) -> float:
    """Start requests at the pace for this long; the last start."""
    started, end = clock.now, clock.now + seconds
    while clock.now < end:
        started = next_start(pace, clock)
    return started


def lowered(clock: Clock, passed: int) -> Pace:
    """The pace of an endpoint with a ceiling of 1,000, of which so many requests passed in the second before a 429."""
    pace = Pace(1000, clock.sleep, clock)
    for _ in range(2 * passed):
        clock.now += 1 / passed
        assert pace.acquire() == clock.now
    pace.throttled(clock.now)
    return pace


def test_rate_feels_its_way_past_what_passed_and_then_grows_up_to_the_ceiling(clock: Clock) -> None:
    """From 95 % of what passed by 0.5 % a second, from 105 % on by 20 %, up to the ceiling."""
    pace = lowered(clock, 600)
    assert pace.rate == pytest.approx(600 * BELOW, rel=0.02)
    next_start(pace, clock)
    before = pace.rate
    start_for(pace, clock, 10)
    assert before * 1.045 < pace.rate < before * 1.055
    start_for(pace, clock, 9.5)
    assert 0.98 < pace.rate / (600 * 1.05) < 1.02
    start_for(pace, clock, 1.5)
    before = pace.rate
    start_for(pace, clock, 1)
    assert before * 1.18 < pace.rate < before * 1.23

    start_for(pace, clock, 2)

    assert pace.rate == pace.ceiling


def test_a_stray_429_at_full_speed_costs_seconds(clock: Clock) -> None:
    """Half a minute after it, all but a few per cent of the requests that there was time for were made."""
    pace = Pace(500, clock.sleep, clock)
    refused = start_for(pace, clock, 3)
    pace.throttled(refused)
    count = 0
    while next_start(pace, clock) < refused + 30:
        count += 1

    assert count > 0.93 * 30 * pace.ceiling


def test_a_429_in_a_second_that_has_only_begun_is_soon_made_up_for(clock: Clock) -> None:
    """What little passed until then is no quota to feel the way past: in ten seconds the rate is the ceiling again."""
    pace = Pace(500, clock.sleep, clock)
    pace.throttled(next_start(pace, clock))
    assert pace.rate == pytest.approx(pace.ceiling * LEAST * BELOW)
    start_for(pace, clock, 10)

    assert pace.rate == pace.ceiling


def test_time_alone_does_not_raise_the_rate(clock: Clock) -> None:
    """An hour without a request says nothing about the quota."""
    pace = Pace(500, clock.sleep, clock)
    pace.throttled(next_start(pace, clock))
    clock.now += 3600
    next_start(pace, clock)

    assert pace.rate == pytest.approx(500 * 0.95 * LEAST * BELOW, rel=0.01)
