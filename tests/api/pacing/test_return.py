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


def test_rate_returns_quickly_feels_its_way_and_then_grows_up_to_the_ceiling(clock: Clock) -> None:
    """To 95 % of what was accepted by 20 % a second, past it by 1 %, from 105 % on by 10 %, up to the ceiling."""
    bucket = TokenBucket(100, clock)
    accept_for(bucket, clock, 3)
    bucket._capacity, bucket.rate, bucket._raised_at = 40.0, 30.0, clock.now
    accept_for(bucket, clock, 1)
    assert 34 < bucket.rate < 36.1
    accept_for(bucket, clock, 0.6)
    assert 37.9 < bucket.rate < 39
    before = bucket.rate
    accept_for(bucket, clock, 5)
    assert before * 1.04 < bucket.rate < before * 1.06
    accept_for(bucket, clock, 6)
    before = bucket.rate
    assert before > 42
    accept_for(bucket, clock, 2)
    assert before * 1.15 < bucket.rate < before * 1.22

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
