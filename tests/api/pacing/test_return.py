"""How a lowered rate comes back."""

from __future__ import annotations

from sync.api.pacing import TokenBucket
from tests.api.pacing.clock import Clock


def accept_for(bucket: TokenBucket, clock: Clock, seconds: float) -> None:
    """Accept requests at the bucket's pace for this long."""
    end = clock.now + seconds
    while clock.now < end:
        ticket = bucket.reserve()
        clock.now = max(clock.now, ticket.start)
        bucket.accepted(ticket)


def test_rate_returns_quickly_then_grows_slowly_and_not_beyond_the_ceiling(clock: Clock) -> None:
    """A lowered rate returns to 90 % of the refused one by 20 % a second, then grows by 5 %, up to the ceiling."""
    bucket = TokenBucket(50, clock)
    bucket.throttled(bucket.reserve())
    halved = bucket.rate
    accept_for(bucket, clock, 2)
    assert halved * 1.1 < bucket.rate < halved * 1.21
    accept_for(bucket, clock, 3)
    nearly = bucket.rate
    accept_for(bucket, clock, 1)
    assert nearly < bucket.rate < nearly * 1.06

    accept_for(bucket, clock, 25)

    assert bucket.rate == bucket.ceiling


def test_success_from_before_the_pause_does_not_raise_the_rate(clock: Clock) -> None:
    """An answer to a request that started before the 429 says nothing about the quota after it."""
    bucket = TokenBucket(500, clock)
    early, refused = bucket.reserve(), bucket.reserve()
    bucket.throttled(refused)
    lowered = bucket.rate
    clock.now += 10

    bucket.accepted(early)

    assert bucket.rate == lowered


def test_hours_without_a_request_do_not_overflow(clock: Clock) -> None:
    """The first success after a night raises the rate to the ceiling at most."""
    bucket = TokenBucket(500, clock)
    bucket.throttled(bucket.reserve())
    clock.now += 86_400

    bucket.accepted(bucket.reserve())

    assert bucket.rate <= bucket.ceiling
