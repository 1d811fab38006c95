"""Whose address was changed waits until Iterable has settled that."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from sync.delivery.loop import Loop
from sync.delivery.stop import Stop
from sync.delivery.tally import Tally
from sync.run import steps
from sync.state.exchange import UserOutcome
from tests.harness import UPDATE, World
from tests.run.moving import ANN, BOB, CAT, DAN, MOVE, moving_world, names, rows_of
from tests.sample_rows import person


class Clock:
    """A clock that a test moves on; who waits on it is there at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(steps, "Loop", partial(Loop, clock=self))
        monkeypatch.setattr(Stop, "wait", lambda _stop, seconds: self.move_on(seconds + 0.01))

    def __call__(self) -> float:
        """The time."""
        return self.now

    def move_on(self, seconds: float) -> None:
        """So much later."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """At 0 s."""
    return Clock(monkeypatch)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A sync into an email-based project, with a minute to settle."""
    return moving_world(tmp_path, monkeypatch, MOVE_SETTLE_SECONDS="60", WORKERS="1")


def test_the_others_go_meanwhile(world: World, clock: Clock) -> None:
    """A minute, and not a second longer, lies between the change and the profile; the others are served meanwhile."""
    world.rows = rows_of(ANN, BOB, CAT)
    world.run()
    world.rows = [*rows_of(DAN), *(person(n, email=name, first_name="New") for n, name in ((2, BOB), (3, CAT)))]
    times: list[tuple[str, float]] = []
    world.iterable.faults = lambda request: times.append((request.path, clock.now))
    summary = world.run()

    assert [path for path, _ in times] == [MOVE, UPDATE, UPDATE, UPDATE]
    assert [at for _, at in times][:3] == [0, 0, 0]
    assert 60 <= times[3][1] < 61
    assert (summary.exit_code, summary.moved, names(world)) == (0, 1, {DAN: "1", BOB: "2", CAT: "3"})


@pytest.mark.usefixtures("clock")
def test_no_more_users_wait_than_there_is_memory_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for them then, and all are served in the end."""
    monkeypatch.setattr("sync.delivery.loop.MOST_SETTLING", 2)
    world.rows = rows_of(*(f"old{n}@example.com" for n in range(40)))
    world.run()
    world.rows = rows_of(*(f"new{n}@example.com" for n in range(40)))
    waiting = most = 0
    add = Tally.add

    def added(tally: Tally, outcome: UserOutcome) -> None:
        nonlocal waiting, most
        waiting += 1 if outcome.move else -1
        most = max(most, waiting)
        add(tally, outcome)

    monkeypatch.setattr(Tally, "add", added)
    summary = world.run()

    assert (summary.exit_code, summary.moved) == (0, 40)
    assert most == 2 + 1  # the one that a worker had besides


def test_a_stop_ends_the_wait(world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is stopped while a change settles ends; the change is on record, and the profile pending."""
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(CAT)
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "wait", lambda stop, _seconds: stop.set("the test says so"))
        summary = world.run()

    assert (summary.stopped_because, summary.moved, summary.users.failed) == ("the test says so", 1, 1)
    assert world.table("SELECT address FROM name WHERE state < 2") == [(CAT,)]
    assert world.table("SELECT address FROM pending") == [(CAT,)]
    assert clock.now == 0
