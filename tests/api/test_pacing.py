"""Pacing against a clock that only the tests move: the ceiling is never broken, and a 429 is everybody's business."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.api.pacing import DOCUMENTED_CEILINGS, FLOOR, HEADROOM, LONGEST_PAUSE, Pacer, Ticket, TokenBucket

UPDATE = "users/update"
CEILINGS = sorted(DOCUMENTED_CEILINGS.values())
SECOND = 1 + 1e-9  # what is exactly one second apart is not in one second


class Clock:
    """Seconds that pass only while somebody sleeps; `then` happens during the next sleep."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []
        self.then: list[Callable[[], object]] = []
        self.interrupted = False

    def __call__(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> bool:
        """Let that many seconds pass."""
        self.slept.append(seconds)
        if self.then:
            self.then.pop(0)()
        self.now += seconds
        return self.interrupted


@pytest.fixture
def clock() -> Clock:
    """A clock of its own for each test."""
    return Clock()


def most_in_a_second(starts: Sequence[float]) -> int:
    """The largest number of starts in any one second."""
    window: deque[float] = deque()
    most = 0
    for start in sorted(starts):
        window.append(start)
        while window[0] <= start - 1:
            window.popleft()
        most = max(most, len(window))
    return most


def drain(bucket: TokenBucket, number: int) -> list[float]:
    """The starts of this many tickets, drawn at one moment."""
    return [bucket.reserve().start for _ in range(number)]


# The pause after a 429


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
def test_rate_is_halved_once_for_the_requests_in_flight(clock: Clock, retry_after: float) -> None:
    """All that was under way when the quota ended is answered 429; that is one event."""
    bucket = TokenBucket(500, clock)
    in_flight = [bucket.reserve() for _ in range(40)]

    for ticket in in_flight:
        clock.now += 0.001
        bucket.throttled(ticket, retry_after)

    assert bucket.rate == pytest.approx(bucket.ceiling / 2)


def test_rate_is_halved_again_for_the_next_era(clock: Clock) -> None:
    """A 429 to a request that began after the pause is news."""
    bucket = TokenBucket(500, clock)
    for _ in range(2):
        bucket.throttled(bucket.reserve())

    assert bucket.rate == pytest.approx(bucket.ceiling / 4)


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
    assert pacer.rate(UPDATE) == pytest.approx(500 * HEADROOM / 2)


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


# The way back up


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


# The ceiling


@pytest.mark.parametrize(
    ("ceiling", "burst"),
    [
        pytest.param(500, 50, id="users/update"),
        pytest.param(2000, 200, id="events/track"),
        pytest.param(5, 2, id="users/bulkUpdate"),
        pytest.param(10, 2, id="events/trackBulk"),
    ],
)
def test_burst_is_a_tenth_of_a_second(clock: Clock, ceiling: int, burst: int) -> None:
    """After any idle time at most a tenth of a second's quota starts at once, of the bulk endpoints two requests."""
    bucket = TokenBucket(ceiling, clock)
    clock.now += 3600
    starts = drain(bucket, 3 * burst)

    assert sum(start < clock.now + 1e-6 for start in starts) == burst
    assert starts[burst] >= clock.now + 0.9 / ceiling


@pytest.mark.parametrize("ceiling", [0.5, *CEILINGS])
def test_steady_pace_is_a_few_per_cent_below_the_ceiling(clock: Clock, ceiling: float) -> None:
    """Pacing costs no more than the headroom: 95 % of the ceiling over a minute."""
    starts = drain(TokenBucket(ceiling, clock), int(ceiling * 60))

    assert 0.945 * ceiling <= len(starts) / (starts[-1] - clock.now) <= 1.02 * ceiling


Step = tuple[str, float]
schedules = st.lists(
    st.tuples(
        st.sampled_from(["burst", "burst", "idle", "accepted", "429", "late 429"]),
        st.floats(0, 3, allow_subnormal=False),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ceiling=st.sampled_from([1.0, 5.0, 10.0, 37.5, 500.0]), schedule=schedules)
def test_no_second_has_more_starts_than_the_ceiling(ceiling: float, schedule: list[Step]) -> None:
    """Whatever comes when (bursts, idle times, successes, 429s, stragglers), no second is over the ceiling."""
    clock = Clock()
    pacer = Pacer({UPDATE: ceiling}, clock.sleep, clock)
    starts: list[float] = []
    tickets: list[Ticket] = []
    for what, amount in schedule:
        if what == "idle":
            clock.now += amount
        elif what == "burst" or not tickets:
            for _ in range(1 + int(amount * min(ceiling, 40))):
                ticket = pacer.acquire(UPDATE)
                assert ticket
                tickets.append(ticket)
                starts.append(clock.now)
        elif what == "accepted":
            pacer.accepted(UPDATE, tickets[-1])
        else:
            pacer.throttled(UPDATE, tickets[-1 if what == "429" else 0], amount)

    assert most_in_a_second(starts) <= ceiling


class Yielding(deque[float]):
    """Lets another thread in at the worst moment: after a start was chosen, before it is written down."""

    def append(self, item: float, /) -> None:
        """Append, late."""
        time.sleep(0)
        super().append(item)


@pytest.mark.parametrize("ceiling", [5.0, 10.0, 500.0])
def test_many_workers_share_one_quota(clock: Clock, ceiling: float) -> None:
    """Tickets drawn by many threads at one moment are spread over the seconds to come."""
    bucket = TokenBucket(ceiling, clock)
    bucket._starts = Yielding(maxlen=bucket._starts.maxlen)
    with ThreadPoolExecutor(8) as pool:
        starts = [
            start for part in pool.map(lambda _: drain(bucket, int(ceiling) // 2 + 1), range(8)) for start in part
        ]

    assert most_in_a_second(starts) <= ceiling
    assert len(starts) == 8 * (int(ceiling) // 2 + 1)


# A server that others use too


class Seen(NamedTuple):
    """What the simulated server saw: requests a second, share of 429s, the bucket's last rate."""

    per_second: float
    share_429: float
    rate: float


class Simulation:
    """Workers behind one bucket and a server with a quota of its own, without real time passing.

    The workers do what the client does: draw, wait, draw anew when void; after a 429 a second's backoff.
    """

    def __init__(self, quota: Callable[[float], float], latency: float, seed: int = 1) -> None:
        self._quota, self._latency, self._chance = quota, latency, random.Random(seed)
        self._clock = Clock(0.0)
        self._bucket = TokenBucket(500, self._clock)
        self._admitted: deque[float] = deque()
        self._agenda: list[tuple[float, int, str, Ticket | None]] = []
        self._number = self._accepted = self._refused = 0

    def run(self, workers: int, requests: int) -> Seen:
        """Until so many requests were accepted."""
        for _ in range(workers):
            self._later(0, "draw", None)
        while self._accepted < requests:
            self._clock.now, _, what, ticket = heapq.heappop(self._agenda)
            if what == "draw" or ticket is None:
                ticket = self._bucket.reserve()
                self._later(ticket.start - self._clock.now, "start", ticket)
            elif what == "start":
                self._start(ticket)
            elif what == "arrival":
                self._arrive(ticket)
            else:
                self._answer(ticket, what)
        total = self._accepted + self._refused
        return Seen(self._accepted / self._clock.now, self._refused / total, self._bucket.rate)

    def _later(self, delay: float, what: str, ticket: Ticket | None) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (self._clock.now + delay, self._number, what, ticket))

    def _on_the_way(self) -> float:
        return self._latency / 2 * self._chance.uniform(0.8, 1.2)

    def _start(self, ticket: Ticket) -> None:
        if self._bucket.is_current(ticket):
            self._later(self._on_the_way(), "arrival", ticket)
        else:
            self._later(0, "draw", None)

    def _arrive(self, ticket: Ticket) -> None:
        now = self._clock.now
        while self._admitted and self._admitted[0] <= now - 1:
            self._admitted.popleft()
        admitted = len(self._admitted) < self._quota(now)
        if admitted:
            self._admitted.append(now)
        self._later(self._on_the_way(), "200" if admitted else "429", ticket)

    def _answer(self, ticket: Ticket, status: str) -> None:
        if status == "200":
            self._accepted += 1
            self._bucket.accepted(ticket)
            self._later(0, "draw", None)
        else:
            self._refused += 1
            self._bucket.throttled(ticket)
            self._later(self._chance.uniform(0.9, 1.1), "draw", None)


@pytest.mark.parametrize("latency", [0.0, 0.02, 0.1])
def test_a_server_that_takes_only_100_a_second(latency: float) -> None:
    """Far below our own ceiling fewer than 5 % of the requests are answered 429, and 60 a second get through."""
    seen = Simulation(lambda _: 100, latency).run(workers=64, requests=2_500)

    assert seen.share_429 < 0.05
    assert seen.per_second >= 60


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


def test_who_overslept_draws_a_new_start(clock: Clock) -> None:
    """After a stall of the machine those who wake late are spread again instead of starting together."""
    stalls = [0.5]

    def sleep(seconds: float) -> bool:
        clock.now += seconds + (stalls.pop() if stalls else 0.0)
        return False

    pacer = Pacer({UPDATE: 10.0}, sleep, clock)
    tickets = [pacer.acquire(UPDATE) for _ in range(3)]

    assert all(tickets)
    assert clock.now - max(ticket.start for ticket in tickets if ticket) <= 0.02
