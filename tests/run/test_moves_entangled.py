"""Addresses that several users have had, one after the other: nobody gets what is another's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from sync.state.outcomes import Outcomes
from tests.harness import Wire, World
from tests.run.moving import (
    ANN,
    BOB,
    BOTH_WAYS,
    CAT,
    DAN,
    MOVE,
    a_stranger,
    lost,
    moves,
    moving_world,
    names,
    pages,
    quiet,
    rows_of,
)
from tests.sample_rows import T0, person
from tests.stand_in.faults import UNAVAILABLE, refused
from tests.stand_in.names import ProjectType
from tests.stand_in.rules import ProjectRules

both_ways = BOTH_WAYS


@BOTH_WAYS
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An email-based project that has ann, user 1, and bob, user 2."""
    made = moving_world(tmp_path, monkeypatch, ITERABLE_BULK=str(request.param).lower())
    made.rows = rows_of(ANN, BOB)
    made.run()
    yield made


def pages_of(world: World, address: str) -> set[Any]:
    """The pages in the events of this user at Iterable."""
    project = world.iterable.project
    return {project.events[event]["dataFields"]["page"] for event in pages(world).get(address, ())}


@pytest.mark.parametrize("newcomer_first", [True, False])
def test_a_newcomer_waits_for_the_address_that_is_given_up(world: World, newcomer_first: bool) -> None:
    """User 1 gives up ann, and a new user 3 has it: the move goes first, and 3 in the next run, with the own event."""
    rows = [person(1, email=CAT), person(2, email=BOB), person(3, email=ANN, page="of 3")]
    world.rows = rows[::-1] if newcomer_first else rows
    assert world.run().exit_code == ExitCode.INCOMPLETE
    assert names(world) == {CAT: "1", BOB: "2"}
    assert world.run().exit_code == ExitCode.DONE

    assert names(world) == {CAT: "1", BOB: "2", ANN: "3"}
    assert (pages_of(world, ANN), "of 3" in pages_of(world, CAT)) == ({"of 3"}, False)
    assert quiet(world)


def test_a_newcomer_to_an_address_that_is_not_given_up_is_not_sent(world: World) -> None:
    """A stranger has cat, so bob stays user 2's: user 5, who has bob now, would overwrite him."""
    a_stranger(world, CAT)
    world.rows = [person(1, email=ANN), person(2, email=CAT), person(5, email=BOB, first_name="Five")]
    for _ in range(2):
        assert world.run().exit_code == ExitCode.INCOMPLETE
        assert names(world) == {ANN: "1", BOB: "2", CAT: "77"}
        assert world.profiles[CAT]["first_name"] == "Stranger"
        assert world.profiles[BOB]["first_name"] != "Five"


def test_events_of_a_swap_that_is_taken_back_stay_their_user_s(world: World) -> None:
    """An event of user 1 waited under the address of user 2 while the swap was refused."""
    further = person(1, email=BOB, page="of 1", event_time=T0 + timedelta(seconds=90))
    world.rows = [person(1, email=BOB), person(2, email=ANN), further]
    assert world.run().exit_code == ExitCode.INCOMPLETE
    world.rows = rows_of(ANN, BOB)
    world.run()

    assert "of 1" in pages_of(world, ANN)
    assert "of 1" not in pages_of(world, BOB)
    assert quiet(world)


def test_an_unusable_newest_address_costs_no_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync of events alone: those of the older row go under the address that it has."""
    world = moving_world(tmp_path, monkeypatch, USER_FIELDS="", SEGMENT_FIELD="")
    old, new = person(1, email=ANN), person(1, email=None, event_time=T0 + timedelta(seconds=50))
    world.rows = [old, new]
    world.iterable.faults = lambda _request: UNAVAILABLE
    world.run()
    world.iterable.faults = None
    world.rows = [old]

    assert world.run().exit_code == ExitCode.DONE
    assert len(pages(world)[ANN]) == 1


def test_events_of_who_is_not_moved(world: World) -> None:
    """Users 1 and 2 share ann, and 2 gets an own address: a new event goes there, and an old one is not there twice."""
    world.rows = [person(1, email=ANN), person(2, email=ANN, page="of 2")]
    world.run()
    further = person(2, email=CAT, page="further", event_time=T0 + timedelta(hours=1))
    world.rows = [person(1, email=ANN), person(2, email=CAT, page="of 2"), further]
    assert world.run().exit_code == ExitCode.DONE

    assert moves(world) == []
    assert (pages_of(world, CAT), "of 2" in pages_of(world, ANN)) == ({"further"}, True)
    assert quiet(world)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (400, "EmailExists", "The email already exists"),
        (409, "Unheard", "x"),
        (400, "BadParams", "newEmail belongs to another user"),
        (400, "GenericError", "no"),
    ],
)
def test_a_move_in_doubt_is_looked_up_whatever_the_refusal(world: World, status: int, code: str, said: str) -> None:
    """It was made, and the answer lost; then Iterable says no, in words that nobody has documented: it is ours."""
    world.rows = rows_of(CAT, BOB)
    world.iterable.faults = lost
    world.run()
    world.iterable.faults = lambda request: refused(status, code, said) if request.path == MOVE else None

    assert world.run().exit_code == ExitCode.DONE
    assert quiet(world)
    assert names(world) == {CAT: "1", BOB: "2"}


def test_a_run_of_a_part_forgets_nobody_s_address(world: World) -> None:
    """With --limit only user 1, who wants bob, is seen: user 2 is not taken for gone."""
    world.rows = rows_of(BOB, DAN)
    world.run(limit=1)
    world.run()
    assert world.run().exit_code == ExitCode.DONE
    assert names(world) == {BOB: "1", DAN: "2"}
    assert quiet(world)


def test_who_has_left_and_lost_his_address_is_not_moved_with_it(world: World) -> None:
    """User 1 left, and a new user 9 has ann: 1 comes back with dan and ann stays; 9 goes to cat and ann moves."""
    world.rows = [person(9, email=ANN), person(2, email=BOB)]
    world.run()
    world.rows = [person(9, email=ANN), person(2, email=BOB), person(1, email=DAN)]
    world.run()
    assert names(world) == {ANN: "9", BOB: "2", DAN: "1"}
    world.rows = [person(9, email=CAT), person(2, email=BOB), person(1, email=DAN)]
    world.run()
    assert names(world) == {CAT: "9", BOB: "2", DAN: "1"}
    assert quiet(world)


def test_events_keep_the_ids_that_were_made_with_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for who was in every result for longer than the state remembers who was not, and has another address now."""
    world = World(tmp_path, monkeypatch)
    world.iterable = Wire(ProjectRules(project_type=ProjectType.HYBRID))
    day = [20_000]
    monkeypatch.setattr("sync.run.steps.time.time", lambda: day[0] * 86_400.0)
    world.rows = rows_of(ANN)
    world.run()
    world.environ |= {"USER_ID_COLUMN": "id", "EMAIL_COLUMN": "email", "IDENTIFY_BY": "email"}
    world.run()
    world.environ["IDENTIFY_BY"] = "user_id"
    for _ in range(20):
        day[0] += 5
        world.run()
        world.rows = rows_of(CAT)
    assert len(world.events) == 1


def test_a_backlog_does_not_begin_anew_with_an_address(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since when something is pending for a user does not hang on the name."""
    now = [1_800_000_000.0]
    monkeypatch.setattr("sync.run.steps.time.time", lambda: now[0])
    world.iterable.faults = lambda request: UNAVAILABLE if b"ann@" in request.body or b"cat@" in request.body else None
    for address in (ANN, ANN, CAT):
        world.rows = [person(1, email=address, plan_type="new"), person(2, email=BOB)]
        figures = world.run().figures
        now[0] += 3600
    assert figures
    assert figures.oldest_pending == 7200


class Died(BaseException):
    """The process ended here."""


def die_before_the_record(world: World) -> None:
    """A run that sends, and of which nothing gets on record."""

    def record(_self: object, _outcomes: object) -> None:
        raise Died

    with pytest.MonkeyPatch.context() as patch, suppress(Died):
        patch.setattr(Outcomes, "record", record)
        world.run()


def test_a_new_user_whose_answer_was_lost_is_moved(world: World) -> None:
    """User 3 was made under cat, and the run died: with another address the user is not made twice."""
    world.rows = rows_of(ANN, BOB, CAT)
    die_before_the_record(world)
    assert CAT in names(world)
    world.rows = rows_of(ANN, BOB, DAN)
    world.run()
    assert names(world) == {ANN: "1", BOB: "2", DAN: "3"}
    assert quiet(world)


def test_a_chain_that_died_steals_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """User 2 left bob for cat, user 1 took bob, nothing is on record: both change again, and each is looked up."""
    world = moving_world(tmp_path, monkeypatch, WORKERS="1")
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = rows_of(BOB, CAT)
    die_before_the_record(world)
    assert names(world)[CAT] == "2"
    world.rows = rows_of("one@example.com", "two@example.com")
    world.run()
    assert names(world) == {"one@example.com": "1", "two@example.com": "2"}
    assert quiet(world)


def test_who_was_a_member_by_the_address_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ann is known by the address, and user 1, who was deleted at Iterable, takes it: nobody leaves the segment."""
    world = moving_world(tmp_path, monkeypatch)
    ids = {name: world.environ.pop(name) for name in ("USER_ID_COLUMN", "IDENTIFY_BY")}
    world.rows = rows_of(ANN)
    world.run()
    world.environ |= ids
    world.rows = rows_of(CAT)
    world.run(limit=9)
    world.iterable.project.delete_user(CAT)
    world.rows = rows_of(ANN)
    world.run(limit=9)

    assert (names(world), world.run().left_segment) == ({ANN: "1"}, 0)
    assert world.profiles[ANN]["recent_page_view"] is True


def test_two_who_leave_the_address_that_they_share(world: World) -> None:
    """Neither takes it along: each is a user of its own, and whoever is left there leaves the segment."""
    world.rows = rows_of(ANN, ANN)
    world.run(allow_mass_exit=True)
    world.rows = rows_of(CAT, DAN)
    summary = world.run(allow_mass_exit=True)

    assert (summary.exit_code, summary.moved, summary.left_segment) == (ExitCode.DONE, 0, 1)
    assert {who: held["recent_page_view"] for who, held in world.profiles.items()} == {
        ANN: False,
        BOB: False,
        CAT: True,
        DAN: True,
    }
    assert quiet(world)


def test_who_takes_an_address_that_another_has_as_well(world: World) -> None:
    """Ann stays in the segment, whoever of the two has the newest row, and nobody is left under the other address."""
    newest = T0 + timedelta(hours=1)
    world.rows = [person(1, email=ANN), person(2, email=ANN, event_time=newest, page="further")]
    summary = world.run(allow_mass_exit=True)

    assert (summary.exit_code, summary.moved, summary.left_segment) == (ExitCode.DONE, 0, 1)
    assert {who: held["recent_page_view"] for who, held in world.profiles.items()} == {ANN: True, BOB: False}
    assert world.profiles[ANN]["first_name"] == "Name 2"
    assert quiet(world)


def test_two_who_change_to_one_address(world: World) -> None:
    """The newest row's user changes to it, the other becomes the same user, and both events are there."""
    world.rows = [
        person(1, email=CAT, page="one"),
        person(2, email=CAT, event_time=T0 + timedelta(hours=1), page="two"),
    ]
    summary = world.run(allow_mass_exit=True)

    assert (summary.exit_code, moves(world)) == (ExitCode.DONE, [(BOB, CAT)])
    assert (names(world), len(pages(world)[CAT])) == ({ANN: "1", CAT: "2"}, 3)
    assert (world.profiles[CAT]["first_name"], world.profiles[ANN]["recent_page_view"]) == ("Name 2", False)
    assert quiet(world)


def test_who_has_an_address_of_its_own_again(world: World) -> None:
    """Ann shared the address of bob for a run and was told to leave: the row as it was is sent, and says true."""
    world.rows = [person(1, email=BOB), person(2, email=BOB, event_time=T0 + timedelta(hours=1))]
    world.run(allow_mass_exit=True)
    assert world.profiles[ANN]["recent_page_view"] is False
    world.rows = rows_of(ANN, BOB)
    world.run()

    assert {who: held["recent_page_view"] for who, held in world.profiles.items()} == {ANN: True, BOB: True}
    assert quiet(world)


def test_who_leaves_an_address_that_another_had_who_has_left(world: World) -> None:
    """Users 1 and 5 shared ann, and Iterable knows her as 5, who has left: she stays, and user 1 is somebody else."""
    world.rows = [*rows_of(ANN, BOB), person(5, email=ANN, event_time=T0 + timedelta(hours=1))]
    world.run()
    assert names(world) == {ANN: "5", BOB: "2"}
    world.rows = rows_of(CAT, BOB)
    summary = world.run(allow_mass_exit=True)

    assert (summary.exit_code, moves(world), names(world)) == (ExitCode.DONE, [], {ANN: "5", BOB: "2", CAT: "1"})
    assert quiet(world)
