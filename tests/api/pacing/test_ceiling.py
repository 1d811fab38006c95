"""The ceiling is never broken, whoever starts when."""

from __future__ import annotations

import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.api.pacing import DOCUMENTED_CEILINGS, UNSTATED_CEILING, Pace
from tests.api.pacing.clock import CEILINGS, Clock, drain, most_in_a_second
from tests.examples import examples
from tests.stand_in.rules import DOCUMENTED_LIMITS


@pytest.mark.parametrize(
    ("ceiling", "burst"),
    [
        pytest.param(500, 12, id="users/update"),
        pytest.param(2000, 48, id="events/track"),
        pytest.param(5, 1, id="users/bulkUpdate"),
        pytest.param(10, 1, id="events/trackBulk"),
    ],
)
def test_burst_is_a_share_of_what_the_pace_leaves(clock: Clock, ceiling: int, burst: int) -> None:
    """After any idle time at most half of the 5 % headroom of a second's quota starts at once; of a handful, one."""
    pace = Pace(ceiling, clock.sleep, clock)
    clock.now += 3600
    starts = drain(pace, 3 * burst)

    assert sum(start < clock.now + 1e-6 for start in starts) == burst
    assert starts[burst] >= clock.now + 0.9 / ceiling


def test_the_ceilings_are_the_documented_ones() -> None:
    """Every endpoint has the pace that Iterable's document allows it, which the stand-in enforces."""
    allowed = {re.sub(r"^/api/|/\{.*", "", path): limit for path, limit in DOCUMENTED_LIMITS.items()}
    assert {name: allowed[name] for name in DOCUMENTED_CEILINGS} == DOCUMENTED_CEILINGS


def test_an_endpoint_without_a_documented_limit_has_the_usual_one() -> None:
    """What most of the others have."""
    assert statistics.mode(DOCUMENTED_CEILINGS.values()) == UNSTATED_CEILING


@pytest.mark.parametrize("ceiling", [0.5, *CEILINGS])
def test_steady_pace_is_a_few_per_cent_below_the_ceiling(clock: Clock, ceiling: float) -> None:
    """Pacing costs no more than the headroom: 95 % of the ceiling over a minute."""
    starts = drain(Pace(ceiling, clock.sleep, clock), int(ceiling * 60))

    assert 0.945 * ceiling <= len(starts) / (starts[-1] - clock.now) <= 1.02 * ceiling


Step = tuple[str, float]
schedules = st.lists(
    st.tuples(
        st.sampled_from(["burst", "burst", "idle", "429", "late 429"]),
        st.floats(0, 3, allow_subnormal=False),
    ),
    min_size=1,
    max_size=60,
)


@examples(100)
@given(ceiling=st.sampled_from([1.0, 5.0, 10.0, 37.5, 500.0]), schedule=schedules)
def test_no_second_has_more_starts_than_the_ceiling(ceiling: float, schedule: list[Step]) -> None:
    """Whatever comes when (bursts, idle times, 429s, stragglers), no second is over the ceiling."""
    clock = Clock()
    pace = Pace(ceiling, clock.sleep, clock)
    starts: list[float] = []
    for what, amount in schedule:
        if what == "idle":
            clock.now += amount
        elif what == "burst" or not starts:
            for _ in range(1 + int(amount * min(ceiling, 40))):
                assert pace.acquire() == clock.now
                starts.append(clock.now)
        else:
            pace.throttled(starts[-1 if what == "429" else 0], amount)

    assert most_in_a_second(starts) <= ceiling


class Yielding(Clock):
    """Lets another thread in at the worst moment: after the state was read, before it is written."""

    def __call__(self) -> float:
        """The time, late."""
        time.sleep(0)
        return super().__call__()


@pytest.mark.parametrize("ceiling", [5.0, 10.0, 500.0])
def test_many_workers_share_one_quota(ceiling: float) -> None:
    """Starts reserved by many threads at one moment are spread over the seconds to come."""
    clock = Yielding()
    pace = Pace(ceiling, clock.sleep, clock)
    with ThreadPoolExecutor(8) as pool:
        starts = [start for part in pool.map(lambda _: drain(pace, int(ceiling) // 2 + 1), range(8)) for start in part]

    assert most_in_a_second(starts) <= ceiling
    assert len(starts) == 8 * (int(ceiling) // 2 + 1)


def test_many_workers_that_overslept_together_do_not_start_together() -> None:
    """After a stall, threads that all ask at one moment start no more than the headroom has room for."""
    clock = Yielding()
    pace = Pace(500, clock.sleep, clock)
    drain(pace, 200)
    clock.now += 1
    with ThreadPoolExecutor(8) as pool:
        started = sum(pool.map(lambda _: pace.start() is not None, range(200)))

    assert started == 24  # 5 % of 475, and the one whose turn it is
