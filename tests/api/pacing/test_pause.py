"""A 429 is everybody's business: it pauses the endpoint and lowers its rate to what was accepted."""

from __future__ import annotations

import itertools

import pytest

from sync.api.pacing import (
    BELOW,
    DOCUMENTED_CEILINGS,
    FLOOR,
    HEADROOM,
    LARGEST_DECREASE,
    LONGEST_PAUSE,
    SHORT_PAUSE,
    SUSTAINED,
    Pacer,
    TokenBucket,
)
from tests.api.pacing.clock import UPDATE, Clock, drain


def test_429_voids_the_tickets_drawn_before(clock: Clock) -> None:
    """A pause is for everybody: who waits with a ticket draws anew and starts after the pause."""
    bucket = TokenBucket(500, clock)
    sent = bucket.reserve()
    waiting = [bucket.reserve() for _ in range(200)]

    bucket.throttled(sent)

    assert not any(bucket.is_current(ticket) for ticket in waiting)
    assert min(drain(bucket, 200)) >= clock.now + 1


def test_take_draws_anew_when_a_pause_comes_while_it_waits(clock: Clock) -> None:
    """A ticket that became void in the wait is not used."""
    pacer = Pacer({UPDATE: 5}, clock.sleep, clock)
    first = pacer.acquire(UPDATE)
    assert first and pacer.acquire(UPDATE)
    before = clock.now
    clock.then.append(lambda: pacer.throttled(UPDATE, first, 10))

    ticket = pacer.acquire(UPDATE)

    assert ticket
    assert clock.now >= before + 10
    assert ticket.start == pytest.approx(clock.now)


@pytest.mark.parametrize("retry_after", [0.0, 5.0])
def test_rate_falls_once_for_the_requests_in_flight(clock: Clock, retry_after: float) -> None:
    """All that was under way when the quota ended is answered 429; that is one event."""
    bucket = TokenBucket(500, clock)
    in_flight = [bucket.reserve() for _ in range(40)]

    for ticket in in_flight:
        clock.now += 0.001
        bucket.throttled(ticket, retry_after)

    assert bucket.rate == pytest.approx(bucket.ceiling * LARGEST_DECREASE * BELOW)


@pytest.mark.parametrize(("accepted", "rate"), [(200, 200 * BELOW), (10, 475 * LARGEST_DECREASE * BELOW)])
def test_rate_falls_below_what_was_accepted_in_the_last_second(clock: Clock, accepted: int, rate: float) -> None:
    """It says what there is for us; but a second that has only begun is not taken at its word."""
    bucket = TokenBucket(500, clock)
    ticket = bucket.reserve()
    for _ in range(accepted):
        clock.now += 0.002
        bucket.accepted(ticket)
    bucket.throttled(ticket)

    assert bucket.rate == pytest.approx(rate)


def test_an_endpoint_that_was_open_for_a_while_pauses_shortly(clock: Clock) -> None:
    """The quota was met by a hair: half a second is enough."""
    bucket = TokenBucket(500, clock)
    bucket.throttled(bucket.reserve())
    ticket = bucket.reserve()
    clock.now = ticket.start + SUSTAINED
    bucket.accepted(ticket)
    bucket.throttled(ticket)
    assert bucket._opens_at - clock.now == pytest.approx(SHORT_PAUSE)


@pytest.mark.parametrize("quota", [20, 100, 300])
def test_a_quota_that_others_share_is_nearly_used(clock: Clock, quota: int) -> None:
    """Two minutes at an endpoint that takes `quota` requests in any second: most of it, and few answers of 429."""
    bucket = TokenBucket(500, clock)
    began, refused = clock.now, 0
    taken: list[float] = []
    while clock.now < began + 120:
        ticket = bucket.reserve()
        clock.now = max(clock.now, ticket.start)
        if not bucket.admits(ticket):
            clock.now += 0.001
        elif len(taken) >= quota and taken[-quota] > clock.now - 1:
            refused += 1
            bucket.throttled(ticket)
        else:
            taken.append(clock.now)
            bucket.accepted(ticket)

    assert len(taken) > 0.85 * quota * 120
    assert refused < 0.05 * len(taken)


def test_rate_falls_again_for_the_next_era(clock: Clock) -> None:
    """A 429 to a request that began after the pause is news."""
    bucket = TokenBucket(500, clock)
    for _ in range(2):
        bucket.throttled(bucket.reserve())

    assert bucket.rate == pytest.approx(bucket.ceiling * (LARGEST_DECREASE * BELOW) ** 2)


@pytest.mark.parametrize("retry_after", [7.0, 120.0])
def test_retry_after_is_honoured(clock: Clock, retry_after: float) -> None:
    """Nobody starts before the server said so."""
    bucket = TokenBucket(500, clock)
    bucket.throttled(bucket.reserve(), retry_after)

    assert bucket.reserve().start >= clock.now + retry_after


def test_retry_after_shorter_than_the_pause_does_not_shorten_it(clock: Clock) -> None:
    """The longer of the two counts."""
    bucket = TokenBucket(500, clock)
    bucket.throttled(bucket.reserve(), 0.2)

    assert bucket.reserve().start >= clock.now + 1


def test_late_429_with_a_longer_retry_after_voids_tickets_of_the_new_era(clock: Clock) -> None:
    """A straggler that asks for more prolongs the pause for those who drew tickets for its end."""
    bucket = TokenBucket(500, clock)
    first, straggler = bucket.reserve(), bucket.reserve()
    bucket.throttled(first)
    early = bucket.reserve()

    bucket.throttled(straggler, 30)

    assert not bucket.is_current(early)
    assert bucket.reserve().start >= clock.now + 30


def test_late_429_gives_no_token_back(clock: Clock) -> None:
    """A straggler without a longer Retry-After changes nothing: what was handed out for later stays handed out."""
    bucket = TokenBucket(500, clock)
    first, straggler = bucket.reserve(), bucket.reserve()
    bucket.throttled(first)
    handed_out = drain(bucket, 300)

    bucket.throttled(straggler, 0.5)

    assert bucket.reserve().start > max(handed_out)


def test_pauses_double_to_a_minute_and_start_over_after_success(clock: Clock) -> None:
    """Repeated 429s are waited out longer and longer; one accepted request resets that."""
    bucket = TokenBucket(500, clock)
    pauses = []
    for _ in range(8):
        ticket = bucket.reserve()
        clock.now = ticket.start
        bucket.throttled(ticket)
        pauses.append(bucket._opens_at - clock.now)

    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE])

    ticket = bucket.reserve()
    clock.now = ticket.start
    bucket.accepted(ticket)
    bucket.throttled(bucket.reserve())
    assert bucket._opens_at - clock.now == pytest.approx(1)


def test_rate_has_a_floor(clock: Clock) -> None:
    """However many 429s, requests go on at a hundredth of the ceiling."""
    bucket = TokenBucket(500, clock)
    for _ in range(50):
        bucket.throttled(bucket.reserve())

    assert bucket.rate == pytest.approx(bucket.ceiling * FLOOR)


def test_no_burst_after_a_pause(clock: Clock) -> None:
    """The bucket is empty when it opens again: the first requests come at the lowered pace."""
    bucket = TokenBucket(500, clock)
    bucket.throttled(bucket.reserve())
    starts = drain(bucket, 20)

    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert min(gaps) == pytest.approx(1 / bucket.rate)


def test_bursts_shrink_with_the_rate(clock: Clock) -> None:
    """Of a lowered rate, too, a tenth of a second's quota may start at once and no more."""
    bucket = TokenBucket(500, clock)
    bucket.throttled(bucket.reserve())
    clock.now += 60

    assert sum(start == clock.now for start in drain(bucket, 100)) <= 25


def test_pause_concerns_its_endpoint_only(clock: Clock) -> None:
    """Endpoints have quotas of their own."""
    pacer = Pacer(DOCUMENTED_CEILINGS, clock.sleep, clock)
    ticket = pacer.acquire(UPDATE)
    assert ticket
    pacer.throttled(UPDATE, ticket, 60)

    assert pacer.acquire("events/track") and clock.slept == []
    assert pacer.rate("events/track") == pytest.approx(2000 * HEADROOM)
    assert pacer.rate(UPDATE) == pytest.approx(500 * HEADROOM * LARGEST_DECREASE * BELOW)


@pytest.mark.parametrize("waits", [0, 1, 2])
def test_take_can_be_interrupted(clock: Clock, waits: int) -> None:
    """A run that is told to stop while it waits for its turn gets no ticket."""
    pacer = Pacer({UPDATE: 5}, clock.sleep, clock)
    for _ in range(2 + waits):
        assert pacer.acquire(UPDATE)
    clock.interrupted = True

    assert pacer.acquire(UPDATE) is None


def test_endpoints_without_a_ceiling_are_not_known(clock: Clock) -> None:
    """The pacer says which endpoints it paces."""
    pacer = Pacer({UPDATE: 5}, clock.sleep, clock)

    assert pacer.knows(UPDATE)
    assert not pacer.knows("channels")
