"""Who waits for a name: after a move of their own, and for the move of another."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from sync.delivery.dispatcher import MOST_CANARIES, Dispatcher
from sync.delivery.moves import MOVED, NOT_FREE, NOTHING_TO_MOVE
from sync.delivery.settling import Settling
from sync.delivery.stop import Stop
from sync.delivery.watch import Piece
from sync.run import steps
from sync.state.owed import Move, OwedUser
from tests.harness import UPDATE, person
from tests.run.moving import ANN, BOB, CAT, DAN, MOVE, moving_world, names, rows_of


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At 0 s."""
    return Clock()


def user(old: str, new: str) -> OwedUser:
    """A user to be moved."""
    return OwedUser(new, "{}", b"", (), move=Move("id:1", (old,)), apart=True)


def test_a_moved_user_waits_as_long_as_iterable_asks_for(clock: Clock) -> None:
    """And not a second longer."""
    settling = Settling(60, clock)
    settling.add(Piece((user(ANN, BOB),)))
    clock.now = 59.9
    assert (settling.due(), round(settling.seconds_left(), 1)) == ([], 0.1)
    clock.now = 60

    assert len(settling.due()) == 1
    assert not settling


@pytest.mark.parametrize(("result", "seconds"), [(MOVED, 60), (NOTHING_TO_MOVE, 0)])
def test_a_name_is_free_when_the_other_move_is_settled(clock: Clock, result: object, seconds: int) -> None:
    """At once, if there was nobody to be moved."""
    settling = Settling(60, clock, [BOB])
    piece = Piece((user(ANN, BOB),))
    assert settling.must_wait(piece)
    settling.move_ended(user(BOB, CAT), result)  # type: ignore[arg-type]
    clock.now = seconds

    assert settling.due() == [piece]
    assert not settling.must_wait(piece)


@pytest.mark.parametrize("first", [True, False], ids=["failed before", "failed after"])
def test_a_name_that_is_not_freed(clock: Clock, first: bool) -> None:
    """Who waits for it waits in vain, whether the other move failed before or after the wait began."""
    settling = Settling(60, clock, [BOB])
    piece = Piece((user(ANN, BOB),))
    if first:
        settling.move_ended(user(BOB, CAT), NOT_FREE)
    assert settling.must_wait(piece)
    if not first:
        settling.move_ended(user(BOB, CAT), NOT_FREE)

    assert settling.in_vain() == [piece]
    assert not settling


def test_nobody_waits_for_ever(clock: Clock) -> None:
    """When nothing else is left, who waits for a name of which nothing is heard waits in vain."""
    settling = Settling(60, clock, [BOB])
    piece = Piece((user(ANN, BOB),))
    assert settling.must_wait(piece)

    assert settling.in_vain() == [piece]


def test_the_others_go_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """A minute lies between the move and the user's profile, and the other users' calls between the two."""
    world = moving_world(tmp_path, monkeypatch, MOVE_SETTLE_SECONDS="60", WORKERS="1")
    world.rows = rows_of(ANN, BOB, CAT)
    world.run()
    world.rows = [*rows_of(DAN), *(person(n, email=name, first_name="New") for n, name in ((2, BOB), (3, CAT)))]
    times: list[tuple[str, float]] = []
    world.iterable.faults = lambda request: times.append((request.path, clock.now))
    monkeypatch.setattr(steps, "Dispatcher", partial(Dispatcher, clock=clock))
    monkeypatch.setattr(Stop, "wait", lambda _stop, seconds: setattr(clock, "now", clock.now + seconds + 0.01))
    summary = world.run()

    assert [path for path, _ in times] == [UPDATE, MOVE, UPDATE, UPDATE]
    assert [at for _, at in times][:3] == [0, 0, 0]
    assert 60 <= times[3][1] < 61
    assert (summary.exit_code, summary.moved, names(world)) == (0, 1, {DAN: "1", BOB: "2", CAT: "3"})


def test_no_more_users_wait_than_there_is_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """The others wait for them then, and all are served in the end."""
    monkeypatch.setattr("sync.delivery.settling.MOST_SETTLING", 2)
    world = moving_world(tmp_path, monkeypatch, MOVE_SETTLE_SECONDS="60", WORKERS="1")
    world.rows = rows_of(*(f"old{n}@example.com" for n in range(40)))
    world.run()
    world.rows = rows_of(*(f"new{n}@example.com" for n in range(40)))
    most: list[int] = []
    keep = Settling.add

    def add(settling: Settling, piece: Piece) -> None:
        keep(settling, piece)
        most.append(len(settling))

    monkeypatch.setattr(Settling, "add", add)
    monkeypatch.setattr(steps, "Dispatcher", partial(Dispatcher, clock=clock))
    monkeypatch.setattr(Stop, "wait", lambda _stop, seconds: setattr(clock, "now", clock.now + seconds + 0.01))
    summary = world.run()

    assert (summary.exit_code, summary.moved) == (0, 40)
    assert max(most) == MOST_CANARIES  # who goes alone is claimed before


def test_a_stop_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """A run that is stopped while a move settles ends; the move is on record, and the profile owed."""
    world = moving_world(tmp_path, monkeypatch, MOVE_SETTLE_SECONDS="60")
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(CAT)
    monkeypatch.setattr(steps, "Dispatcher", partial(Dispatcher, clock=clock))
    monkeypatch.setattr(Stop, "wait", lambda stop, _seconds: stop.set("the test says so"))
    summary = world.run()
    monkeypatch.undo()

    assert (summary.stopped_because, summary.moved, summary.users.failed) == ("the test says so", 1, 1)
    assert world.table("SELECT address, perhaps FROM name_of_id") == [(CAT, None)]
    assert world.table("SELECT identity FROM owed_user") == [(CAT,)]
