"""A 429 is everybody's business: it pauses the endpoint and lowers its rate."""

from __future__ import annotations

import itertools

import pytest

from sync.api.pacing import BELOW, DOCUMENTED_CEILINGS, FLOOR, HEADROOM, LEAST, PAUSE, Pace, Pacer
from tests.api.pacing.clock import UPDATE, Clock, drain, next_start


@pytest.fixture
def pace(clock: Clock) -> Pace:
    """That of an endpoint that takes 500 requests a second."""
    return Pace(500, clock.sleep, clock)


def start_many(pace: Pace, clock: Clock, number: int) -> list[float]:
    """So many starts, as close as they may be."""
    return [next_start(pace, clock) for _ in range(number)]


def test_nobody_starts_in_a_pause(pace: Pace, clock: Clock) -> None:
    """A pause is for everybody: who waits for a start before its end starts after it."""
    refused = next_start(pace, clock)
    waiting = drain(pace, 200)
    pace.throttled(refused)

    for start in waiting:
        clock.now = max(clock.now, start)
        assert pace.start() is None
    assert min(drain(pace, 200)) >= refused + PAUSE


def test_who_waits_when_a_pause_comes_waits_on(pace: Pace, clock: Clock) -> None:
    """A start that was reserved before the pause is not used."""
    pace = Pace(5, clock.sleep, clock)
    first = pace.acquire()
    assert first is not None
    clock.then.append(lambda: pace.throttled(first, 10))

    assert pace.acquire() == clock.now
    assert clock.now >= first + 10


@pytest.mark.parametrize("retry_after", [0.0, 5.0])
def test_rate_falls_once_for_the_requests_in_flight(pace: Pace, clock: Clock, retry_after: float) -> None:
    """All that was under way when the quota ended is answered 429; that is one event."""
    for started in start_many(pace, clock, 40):
        clock.now += 0.001
        pace.throttled(started, retry_after)

    assert pace.rate == pytest.approx(pace.ceiling * LEAST * BELOW)


def test_rate_falls_once_for_the_answers_of_one_moment(clock: Clock) -> None:
    """The request whose answer began the pause was under way then, as were all that started with it."""
    pace = Pace(500, clock.sleep, clock)
    for _ in range(3):
        pace.throttled(clock.now)

    assert pace.rate == pytest.approx(pace.ceiling * LEAST * BELOW)


@pytest.mark.parametrize(("passed", "rate"), [(300, 300 * BELOW), (10, 90.25)])
def test_rate_falls_below_what_passed_in_the_last_second(pace: Pace, clock: Clock, passed: int, rate: float) -> None:
    """It says what there is for us; but a second that has only begun is not taken at its word."""
    start_many(pace, clock, 700)
    clock.now += 2
    *_, refused = start_many(pace, clock, passed + 1)
    pace.throttled(refused)

    assert pace.rate == pytest.approx(rate)


@pytest.mark.parametrize("quota", [20, 100, 300])
def test_a_quota_that_others_share_is_nearly_used(pace: Pace, clock: Clock, quota: int) -> None:
    """Two minutes at an endpoint that takes `quota` requests in any second: most of it, and few answers of 429."""
    began, refused = clock.now, 0
    taken: list[float] = []
    while clock.now < began + 120:
        started = next_start(pace, clock)
        if len(taken) >= quota and taken[-quota] > started - 1:
            refused += 1
            pace.throttled(started)
        else:
            taken.append(started)

    assert len(taken) > 0.85 * quota * 120
    assert refused < 0.05 * len(taken)


def test_rate_falls_again_after_the_pause(pace: Pace, clock: Clock) -> None:
    """A 429 to a request that began after the pause is news."""
    for _ in range(2):
        pace.throttled(next_start(pace, clock))

    assert pace.rate == pytest.approx(pace.ceiling * (LEAST * BELOW) ** 2, rel=0.02)


@pytest.mark.parametrize("retry_after", [7.0, 120.0])
def test_retry_after_is_honoured(pace: Pace, clock: Clock, retry_after: float) -> None:
    """Nobody starts before the server said so."""
    refused = next_start(pace, clock)
    pace.throttled(refused, retry_after)

    assert refused + retry_after <= next_start(pace, clock) < refused + retry_after + 0.1


def test_retry_after_shorter_than_the_pause_does_not_shorten_it(pace: Pace, clock: Clock) -> None:
    """The longer of the two counts."""
    refused = next_start(pace, clock)
    pace.throttled(refused, 0.2)

    assert next_start(pace, clock) >= refused + PAUSE


def test_late_429_with_a_longer_retry_after_prolongs_the_pause(pace: Pace, clock: Clock) -> None:
    """A straggler that asks for more counts for those, too, who reserved a start at the end of the pause."""
    first, straggler = start_many(pace, clock, 2)
    pace.throttled(first)
    early = pace.reserve()
    pace.throttled(straggler, 30)

    assert pace.reserve() >= clock.now + 30
    clock.now = early
    assert pace.start() is None


def test_late_429_changes_nothing_else(pace: Pace, clock: Clock) -> None:
    """A straggler without a longer Retry-After: what was reserved for later stays so, and the pause ends as before."""
    first, straggler = start_many(pace, clock, 2)
    pace.throttled(first)
    reserved = drain(pace, 300)
    pace.throttled(straggler, 0.5)

    assert pace.reserve() > max(reserved)
    clock.now = reserved[0]
    assert pace.start() == clock.now


def test_rate_has_a_floor(pace: Pace, clock: Clock) -> None:
    """However many 429s, requests go on at a hundredth of the ceiling."""
    for _ in range(50):
        pace.throttled(next_start(pace, clock))

    assert pace.rate == pytest.approx(pace.ceiling * FLOOR)


def test_no_burst_after_a_pause(pace: Pace, clock: Clock) -> None:
    """What was not used in the pause is not made up for: the first requests come at the lowered pace."""
    pace.throttled(next_start(pace, clock))
    starts = drain(pace, 20)

    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert min(gaps) == pytest.approx(1 / pace.rate, rel=0.01)


def test_bursts_shrink_with_the_rate(pace: Pace, clock: Clock) -> None:
    """Of a lowered rate, too, a tenth of a second's quota may start at once and no more."""
    pace.throttled(next_start(pace, clock))
    clock.now += 60

    assert sum(start <= clock.now for start in drain(pace, 100)) <= 25


def test_those_who_overslept_together_start_at_the_lowered_rate(pace: Pace, clock: Clock) -> None:
    """After a stall, too, hardly more starts at once than a twentieth of a second's lowered quota."""
    pace.throttled(next_start(pace, clock))
    drain(pace, 100)
    clock.now += 60

    assert sum(pace.start() is not None for _ in range(100)) <= 1 + pace.rate / 20


def test_pause_concerns_its_endpoint_only(clock: Clock) -> None:
    """Endpoints have quotas of their own."""
    pacer = Pacer(DOCUMENTED_CEILINGS, clock.sleep, clock)
    started = pacer[UPDATE].acquire()
    assert started is not None
    pacer[UPDATE].throttled(started, 60)

    assert pacer["events/track"].acquire() == clock.now and clock.slept == []
    assert pacer["events/track"].rate == pytest.approx(2000 * HEADROOM)
    assert pacer[UPDATE].rate == pytest.approx(500 * HEADROOM * LEAST * BELOW)


@pytest.mark.parametrize("waits", [0, 1, 2])
def test_acquire_can_be_interrupted(clock: Clock, waits: int) -> None:
    """A run that is told to stop while it waits for its turn gets none."""
    pace = Pace(5, clock.sleep, clock)
    for _ in range(2 + waits):
        assert pace.acquire()
    clock.interrupted = True

    assert pace.acquire() is None


def test_an_interrupted_wait_ends_at_once(pace: Pace, clock: Clock) -> None:
    """Also in a pause of two minutes: one wait, and no other after it."""
    pace.throttled(next_start(pace, clock), 120)
    clock.interrupted = True

    assert pace.acquire() is None
    assert len(clock.slept) == 1
