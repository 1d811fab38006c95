"""An address that changes: whole runs."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from tests.harness import TRACK, UPDATE, World, counts
from tests.run.moving import (
    ANN,
    BOB,
    BOTH_WAYS,
    CAT,
    DAN,
    MOVE,
    as_text,
    members,
    moves,
    moving_world,
    names,
    pages,
    quiet,
    rows_of,
)
from tests.sample_rows import T0, people, person


@BOTH_WAYS
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A sync into an email-based project, one by one or in bulk."""
    return moving_world(tmp_path, monkeypatch, ITERABLE_BULK=str(request.param).lower())


def test_both_names_are_sent(world: World) -> None:
    """The address is on top, the user id in dataFields, as text; the next run sends nothing."""
    world.rows = rows_of(ANN.title(), BOB)
    summary = world.run()

    assert counts(summary) == ((2, 0, 0, 0), (2, 0, 0, 0))
    assert names(world) == {ANN: "1", BOB: "2"}
    assert quiet(world)


def test_an_address_that_changes_is_moved_once(world: World) -> None:
    """updateEmail goes before the profile; profile, events and segment move along, and nobody leaves."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    before = set(world.iterable.project.events)
    world.rows = rows_of(CAT, BOB)
    summary = world.run()

    assert (summary.exit_code, summary.moved, summary.left_segment) == (ExitCode.DONE, 1, 0)
    assert [request.path for request in world.iterable.requests] == [MOVE, UPDATE]
    assert moves(world) == [(ANN, CAT)]
    assert names(world) == {CAT: "1", BOB: "2"}
    assert pages(world)[CAT] | pages(world)[BOB] == before == set(world.iterable.project.events)
    assert world.profiles[CAT]["recent_page_view"] is True
    assert quiet(world)
    assert members(world) == {BOB, CAT}


def test_who_was_moved_leaves_under_the_new_address(world: World) -> None:
    """The segment goes along: when the user leaves it, the new address is told."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = rows_of(CAT, BOB)
    world.run()
    world.rows = rows_of(CAT, BOB)[1:]
    summary = world.run()

    assert (summary.left_segment, world.profiles[CAT]["recent_page_view"]) == (1, False)
    assert ANN not in world.profiles


def test_new_events_of_a_moved_user_follow(world: World) -> None:
    """A new event goes to the new address, after the move; an older one is not sent again."""
    world.rows = rows_of(ANN)
    world.run()
    world.rows = [*rows_of(CAT), person(1, email=CAT, page="settings", event_time=T0 + timedelta(hours=1))]
    summary = world.run()

    assert [request.path for request in world.iterable.requests] == [MOVE, UPDATE, TRACK]
    assert counts(summary) == ((1, 0, 0, 0), (1, 1, 0, 0))
    assert len(pages(world)[CAT]) == 2


def test_an_address_that_differs_in_case_is_the_same(world: World) -> None:
    """Iterable stores addresses in lower case."""
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(ANN.upper())

    assert quiet(world)


def test_all_rows_of_an_id_take_the_newest_address(world: World) -> None:
    """An older row with another address of the same user makes no second user."""
    world.rows = [
        person(1, email=ANN, page="a", event_time=T0),
        person(1, email=CAT, page="b", event_time=T0 + timedelta(hours=1)),
        person(1, email=BOB, page="c", event_time=T0 - timedelta(hours=1)),
    ]
    summary = world.run()

    assert counts(summary) == ((1, 0, 0, 0), (3, 0, 0, 0))
    assert (names(world), len(pages(world)[CAT])) == ({CAT: "1"}, 3)
    assert quiet(world)


# -- several moves that touch each other


def test_a_chain_takes_a_run_for_each_link(world: World) -> None:
    """a to b while b goes to c, and c to d: who waits is failed, unsent and told, and no repeat failure."""
    world.rows = rows_of(ANN, BOB, CAT)
    world.run()
    world.rows = rows_of(BOB, CAT, DAN)
    first = world.run()
    assert (first.exit_code, counts(first)[0], moves(world)) == (ExitCode.INCOMPLETE, (1, 0, 0, 2), [(CAT, DAN)])
    assert f"the new address {CAT} is free only once another user's address is changed user_id=2" in world.log()
    assert world.table("SELECT * FROM failer") == []
    second = world.run()
    assert (second.exit_code, counts(second)[0], moves(world)) == (ExitCode.INCOMPLETE, (1, 1, 0, 1), [(BOB, CAT)])
    last = world.run()

    assert (last.exit_code, moves(world)) == (ExitCode.DONE, [(ANN, BOB)])
    assert (last.moved, names(world)) == (1, {BOB: "1", CAT: "2", DAN: "3"})
    assert {owner: len(events) for owner, events in pages(world).items()} == {BOB: 1, CAT: 1, DAN: 1}
    assert quiet(world)
    assert members(world) == {BOB, CAT, DAN}


def test_the_dry_run_of_a_chain(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Each run's own link, and what else it sends; who waits for the next run is not there."""
    world.rows = rows_of(ANN, BOB, CAT)
    world.run()
    world.rows = [*rows_of(BOB, CAT, DAN), *people(9)[4:]]
    for links in ([(CAT, DAN)], [(BOB, CAT)], [(ANN, BOB)]):
        assert world.main("--dry-run") == 0
        printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        world.run()
        sent = [(request.path, request.json()) for request in world.iterable.requests]
        assert moves(world) == links
        assert sorted(map(str, sent)) == sorted(str((line["path"], line["body"])) for line in printed)


def test_a_swap_is_told_and_its_remedy_works(world: World) -> None:
    """Who changed places cannot be moved; a third address for one run, and then the right one, does it."""
    world.rows = rows_of(ANN, BOB, DAN)
    world.run()
    world.rows = rows_of(BOB, ANN, DAN)
    summary = world.run()
    assert (summary.exit_code, counts(summary)[0], moves(world)) == (ExitCode.INCOMPLETE, (0, 1, 2, 0), [])
    assert "give one of them a third address, run once, then set the right one" in world.log()
    assert names(world) == {ANN: "1", BOB: "2", DAN: "3"}
    assert quiet(world)  # told once

    world.rows = rows_of(CAT, ANN, DAN)
    assert (world.run().exit_code, moves(world)) == (ExitCode.INCOMPLETE, [(ANN, CAT)])
    assert (world.run().exit_code, moves(world)) == (0, [(BOB, ANN)])
    world.rows = rows_of(BOB, ANN, DAN)
    assert (world.run().exit_code, moves(world)) == (0, [(CAT, BOB)])
    assert names(world) == {BOB: "1", ANN: "2", DAN: "3"}
    assert quiet(world)


def test_no_move_while_another_id_has_the_address(world: World) -> None:
    """A shared address stays with the other id; it is told, and the new address becomes a user of its own."""
    world.rows = [person(1, email=ANN), person(2, email=ANN, page="b")]
    world.run()
    world.rows = [person(1, email=CAT), person(2, email=ANN, page="b")]
    summary = world.run()

    assert (summary.exit_code, moves(world), set(names(world))) == (0, [], {ANN, CAT})
    assert f"another user id still has the address {ANN} user_id=1" in world.log()
    world.run()
    assert quiet(world)


def test_two_ids_that_come_to_share_an_address(world: World) -> None:
    """The address of a row that stays is not taken over: both ids are one user there, and nobody is locked out."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = [person(1, email=BOB, event_time=T0 + timedelta(hours=1)), person(2, email=BOB, page="b")]
    summary = world.run()

    assert (summary.exit_code, moves(world)) == (0, [])
    assert f"another user id has the address {BOB} as well" in world.log()
    world.run()
    assert quiet(world)


def test_many_moves_in_one_run(world: World) -> None:
    """A company that changes its domain moves all users, while the others go."""
    world.rows = people(40)
    world.run()
    world.rows = [
        row | {"email": f"{row['id']}@example.org"} if row["id"] > 5 else row | {"first_name": "New"}
        for row in world.rows
    ]
    summary = world.run()

    assert (summary.exit_code, summary.moved, summary.left_segment) == (0, 35, 0)
    assert counts(summary)[0] == (40, 0, 0, 0)
    assert quiet(world)


# -- what costs nobody anything


@pytest.mark.parametrize("odd", [None, "", "x" * 53, "ends with a space "])
def test_a_row_without_a_usable_id(world: World, odd: Any) -> None:
    """The profile goes without the id, which is counted; null is never sent."""
    world.columns = [as_text(column) for column in world.columns]
    world.rows = [person(1, id=odd, email=ANN), person(2, id="2", email=BOB)]
    summary = world.run()

    assert (summary.exit_code, counts(summary)[0], summary.second_name_missing) == (0, (2, 0, 0, 0), 1)
    assert names(world) == {ANN: None, BOB: "2"}
    assert world.iterable.project.warnings == {}
    assert quiet(world)


def test_an_id_that_is_filled_in_later_changes_no_event(world: World) -> None:
    """The event keeps the id that was made with the address."""
    world.rows = [person(1, id=None, email=ANN)]
    world.run()
    world.rows = [person(1, email=ANN)]
    summary = world.run()

    assert (counts(summary), names(world)) == (((1, 0, 0, 0), (0, 1, 0, 0)), {ANN: "1"})
    assert world.table("SELECT COUNT(*) FROM known WHERE typeof(key) = 'blob'") == [(1,)]


def test_a_bad_address_of_a_known_id(world: World) -> None:
    """The row is rejected; nobody leaves for it, and when it is corrected the user is moved."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = rows_of("junk", BOB)
    summary = world.run()
    assert (summary.exit_code, summary.left_segment, moves(world)) == (ExitCode.INCOMPLETE, 0, [])
    world.rows = rows_of(CAT, BOB)

    assert (world.run().exit_code, moves(world), names(world)) == (0, [(ANN, CAT)], {CAT: "1", BOB: "2"})


def test_the_dry_run_shows_the_move(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The line with the move comes before the profile's, and the counts tell of it."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = rows_of(CAT, BOB)
    assert world.main("--dry-run") == 0
    told = capsys.readouterr()

    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [line["path"] for line in lines] == [MOVE, UPDATE]
    assert lines[0]["body"] == {"currentEmail": ANN, "newEmail": CAT}
    assert (lines[1]["body"]["email"], lines[1]["body"]["dataFields"]["userId"]) == (CAT, "1")
    assert "addresses to be changed: 1" in told.err
    assert set(names(world)) == {ANN, BOB}


def test_from_1_0_0_s_way_to_both_names(world: World) -> None:
    """Users known by their addresses alone: their events keep their ids, also when the address changes then."""
    del world.environ["USER_ID_COLUMN"], world.environ["IDENTIFY_BY"]
    world.rows = rows_of(ANN, BOB)
    world.run()
    events = set(world.iterable.project.events)
    world.environ |= {"USER_ID_COLUMN": "id", "IDENTIFY_BY": "email"}
    assert counts(world.run()) == ((2, 0, 0, 0), (0, 2, 0, 0))
    world.rows = rows_of(CAT, BOB)
    assert world.run().moved == 1
    assert quiet(world)
    world.run(full=True)

    assert set(world.iterable.project.events) == events
