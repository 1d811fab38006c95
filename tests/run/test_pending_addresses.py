"""What is pending for a user goes where that user's profile goes: whose address changes while nothing can be sent."""

from __future__ import annotations

import tracemalloc
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from sync.state.exchange import PayloadResult, UserOutcome
from sync.state.file import State
from tests import faults as catalogue
from tests.harness import TRACK, World
from tests.run.moving import (
    ANN,
    BOB,
    BOTH_WAYS,
    CAT,
    DAN,
    a_stranger,
    moves,
    moving_world,
    names,
    pages,
    quiet,
    rows_of,
)
from tests.sample_rows import T0, person
from tests.stand_in.faults import UNAVAILABLE
from tests.state.runs import BOTH_NAMES, DELIVERED, Runs

HOUR = timedelta(hours=1)


@BOTH_WAYS
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An email-based project that has ann, user 1, and bob, user 2; the API goes down then."""
    made = moving_world(tmp_path, monkeypatch, ITERABLE_BULK=str(request.param).lower())
    made.rows = rows_of(ANN, BOB)
    made.run()
    made.iterable.faults = lambda _request: UNAVAILABLE
    return made


def back(world: World) -> None:
    """The API is there again, and one run brings everything to its end."""
    world.iterable.faults = None
    assert world.run(allow_mass_exit=True).exit_code == ExitCode.DONE
    assert quiet(world)


def test_an_event_goes_where_the_profile_goes(world: World) -> None:
    """User 1 is ann at Iterable; the row becomes dan, with a new event, and then leaves: nobody is sent to as dan."""
    world.rows = [*rows_of(DAN, BOB), person(1, email=DAN, page="new", event_time=T0 + HOUR)]
    world.run()
    world.rows = rows_of(DAN, BOB)[1:]
    back(world)

    assert names(world) == {ANN: "1", BOB: "2"}
    assert len(pages(world)[ANN]) == 2
    assert {who for path, who in world.sent if path == TRACK} <= {ANN}


def test_a_new_user_s_backlog_has_the_address_of_its_row(world: World) -> None:
    """Iterable does not know the user by any address: the one that the row gave is where all of it goes."""
    world.rows = [*rows_of(ANN, BOB), person(3, email=CAT)]
    world.run()
    world.rows = rows_of(ANN, BOB)
    back(world)

    assert (names(world), len(pages(world)[CAT])) == ({ANN: "1", BOB: "2", CAT: "3"}, 1)
    assert world.profiles[CAT]["recent_page_view"] is False


def test_a_new_user_whose_address_changes_before_anything_was_sent(world: World) -> None:
    """Nothing is changed at Iterable, where somebody else has the first address."""
    a_stranger(world, CAT)
    world.iterable.faults = lambda _request: catalogue.BAD_API_KEY
    world.rows = [person(1, email=ANN, first_name="New"), person(2, email=BOB), person(3, email=CAT)]
    world.run()
    world.rows = [*world.rows[:2], person(3, email=DAN)]
    world.iterable.faults = None

    assert (world.run().exit_code, moves(world)) == (ExitCode.DONE, [])
    assert names(world) == {ANN: "1", BOB: "2", CAT: "77", DAN: "3"}


@pytest.mark.parametrize("first", [1, 2], ids=["id 1 first", "id 2 first"])
def test_in_any_order(world: World, first: int) -> None:
    """Id 2 changes bob to cat and id 1 changes ann to bob, in any order; both rows leave: each profile is sent."""
    rows = [person(1, email=BOB, first_name="One"), person(2, email=CAT, first_name="Two")]
    world.rows = rows if first == 1 else rows[::-1]
    world.run()
    world.rows = [person(9, email=DAN)]
    world.iterable.faults = None
    assert world.run(allow_mass_exit=True).exit_code == ExitCode.DONE

    assert names(world) == {ANN: "1", BOB: "2", DAN: "9"}
    assert [world.profiles[who]["first_name"] for who in (ANN, BOB)] == ["One", "Two"]
    assert quiet(world)


def test_a_newcomer_never_gets_the_user_of_an_address_that_is_not_given_up(world: World) -> None:
    """User 1 gives up ann for cat and a new user 9 has it; both rows leave before that: ann stays user 1's."""
    world.rows = [person(1, email=CAT), person(2, email=BOB), person(9, email=ANN, first_name="Nine")]
    world.run()
    world.rows = rows_of(ANN, BOB)[1:]
    world.iterable.faults = None
    world.run(allow_mass_exit=True)

    assert names(world) == {ANN: "1", BOB: "2"}
    assert world.profiles[ANN]["first_name"] == "Name 1"
    assert not any(b"Nine" in request.body for request in world.iterable.requests)


def test_a_backlog_by_address_becomes_the_person_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by address alone, and with a pending event; then a row gives the user id: nothing is there twice."""
    world = moving_world(tmp_path, monkeypatch)
    del world.environ["USER_ID_COLUMN"], world.environ["IDENTIFY_BY"]
    world.rows = rows_of(ANN, BOB)
    world.iterable.faults = lambda request: UNAVAILABLE if request.path == TRACK else None
    world.run()
    world.environ |= {"USER_ID_COLUMN": "id", "IDENTIFY_BY": "email"}
    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE

    assert (names(world), len(world.events)) == ({ANN: "1", BOB: "2"}, 2)
    assert len(world.sent) == len(set(world.sent)) == 4
    assert world.table("SELECT person FROM member") == [("id:1",), ("id:2",)]
    assert quiet(world)


def test_the_memory_of_an_address_change(tmp_path: Path) -> None:
    """Users with many pending events whose addresses all change take no more memory than those whose addresses stay."""

    def peak(domain: str) -> int:
        with closing(State(tmp_path / domain)) as state:
            runs = Runs(state)
            runs.begin([person(n, email=f"{n}@example.com") for n in range(20)], BOTH_NAMES)
            runs.deliver()
            views = [
                person(n, email=f"{n}@{domain}", page=f"{view}", event_time=T0 + timedelta(seconds=view))
                for n in range(20)
                for view in range(200)
            ]
            down = PayloadResult(DELIVERED.outcome.FAILED, "down")
            runs.begin(views, BOTH_NAMES)
            while users := runs.outbox.claim(9, 9):
                runs.outbox.record([UserOutcome(user, down, (down,) * len(user.events)) for user in users])
            tracemalloc.start()
            try:
                runs.begin(views[:20], BOTH_NAMES)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    assert peak("example.org") < 1.2 * peak("example.com")
