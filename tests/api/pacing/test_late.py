"""Who wakes late breaks no ceiling and wastes no turn: what counts is when requests start, not when they were to."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.api.pacing import SLACK, Pace
from tests.api.pacing.clock import Clock, most_in_a_second
from tests.api.pacing.workers import Workers
from tests.examples import examples


def test_who_overslept_reserves_a_new_start(clock: Clock) -> None:
    """After a stall of the machine those who wake late are spread again instead of starting together."""
    stalls, starts = [0.5], []

    def sleep(seconds: float) -> bool:
        clock.now += seconds + (stalls.pop() if stalls else 0.0)
        return False

    pace = Pace(10.0, sleep, clock)
    for _ in range(3):
        assert pace.acquire() == clock.now
        starts.append(clock.now)

    assert starts[1] - starts[0] > 0.5
    assert starts[2] - starts[1] >= 1 / 10 - SLACK


ceilings = st.sampled_from([1.0, 5.0, 10.0, 500.0]) | st.floats(1, 150) | st.integers(1, 150).map(float)
lateness = st.lists(st.just(0.0) | st.floats(0, 0.12) | st.floats(0, 2), min_size=1, max_size=12)
gaps = st.lists(st.just(0.0) | st.floats(0, 0.05) | st.floats(0, 3), min_size=1, max_size=12)


@examples(150)
@given(ceiling=ceilings, workers=st.integers(1, 40), lateness=lateness, gaps=gaps)
def test_no_second_is_over_the_ceiling_whoever_is_late(
    ceiling: float, workers: int, lateness: list[float], gaps: list[float]
) -> None:
    """Of any ceiling, any lateness of each wake-up and any idle time: no second has more starts than the ceiling."""
    many = Workers(ceiling, workers, lateness, gaps)
    starts = many.starts(2 * int(ceiling) + 60)

    assert most_in_a_second(starts) <= ceiling


@pytest.mark.parametrize("ceiling", [1.0, 1.5, 1.9, 5.0, 10.0, 37.5, 500.0])
@pytest.mark.parametrize("late", [step / 200 for step in range(25)])
def test_one_late_start_before_a_second_of_punctual_ones(ceiling: float, late: float) -> None:
    """The worst that lateness can do is to push one start towards those that follow: it is admitted up to a limit."""
    starts = Workers(ceiling, int(ceiling) + 2, [late, *[0.0] * 9_999], [0.0]).starts(2 * int(ceiling) + 4)

    assert most_in_a_second(starts) <= ceiling


@pytest.mark.parametrize("ceiling", [0.1, 0.5, 0.9])
def test_less_than_one_a_second(ceiling: float) -> None:
    """Of a ceiling below one a second, one request starts in the time that the ceiling gives it."""
    starts = Workers(ceiling, 3, [0.0, 0.04], [0.0]).starts(20)

    assert most_in_a_second([start * ceiling for start in starts]) == 1


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("ceiling", [5.0, 10.0])
@pytest.mark.parametrize("late", [0.001, 0.025, 0.05, 0.1])
def test_a_slow_endpoint_keeps_its_pace_on_a_machine_that_wakes_late(ceiling: float, late: float, workers: int) -> None:
    """If every wake-up is as late as the other, requests start late and as often: 95 % of the ceiling."""
    starts = Workers(ceiling, workers, [late], [0.0]).starts(int(60 * ceiling))

    assert len(starts) / (starts[-1] - starts[0]) >= 0.945 * ceiling


@pytest.mark.parametrize("ceiling", [500.0, 2000.0])
@pytest.mark.parametrize("late", [0.001, 0.025, 0.1])
def test_a_fast_endpoint_keeps_its_pace_with_enough_workers(ceiling: float, late: float) -> None:
    """The same for many requests a second, where as many workers are asleep as it takes."""
    starts = Workers(ceiling, int(ceiling * 0.3), [late], [0.0]).starts(int(20 * ceiling))

    assert len(starts) / (starts[-1] - starts[0]) >= 0.945 * ceiling


@pytest.mark.parametrize("ceiling", [5.0, 10.0, 500.0])
def test_a_jitter_of_less_than_the_slack_costs_nothing(ceiling: float) -> None:
    """Wake-ups that are late by anything up to 50 ms cost no turn."""
    chance = random.Random(1)
    jitter = [chance.uniform(0, 0.05) for _ in range(997)]
    many = Workers(ceiling, int(ceiling * 0.2) + 1, jitter, [0.0])
    starts = many.starts(int(20 * ceiling))

    assert len(starts) / (starts[-1] - starts[0]) >= 0.94 * ceiling
