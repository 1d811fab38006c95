"""Both names of a user, in each kind of project: whole runs, one by one and in bulk."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from tests.harness import TRACK, UPDATE, Wire, World, counts
from tests.run.moving import ANN, BOB, BOTH_WAYS, CAT, MOVE, as_text, moving_world, names, quiet, rows_of
from tests.sample_rows import T0, people, person
from tests.stand_in.names import Owner, ProjectType
from tests.stand_in.rules import ProjectRules

BY_ID = {"USER_ID_COLUMN": "id", "EMAIL_COLUMN": "email"}
WITH_IDS = pytest.mark.parametrize("kind", [ProjectType.USER_ID, ProjectType.HYBRID], ids=lambda kind: kind.value)


@BOTH_WAYS
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Users are identified by their ids, and their addresses go along."""
    return World(tmp_path, monkeypatch, **BY_ID, ITERABLE_BULK=str(request.param).lower())


def of_type(world: World, kind: ProjectType) -> World:
    """The same, into a project of this kind."""
    world.iterable = Wire(ProjectRules(project_type=kind))
    return world


@WITH_IDS
def test_both_names_are_sent(world: World, kind: ProjectType) -> None:
    """The id is on top, the address in dataFields; the next run sends nothing."""
    of_type(world, kind).rows = people(3)
    summary = world.run()

    assert (summary.exit_code, summary.second_name_missing, counts(summary)[0]) == (0, 0, (3, 0, 0, 0))
    assert names(world) == {f"user{n}@example.com": str(n) for n in (1, 2, 3)}
    assert world.iterable.project.warnings == {}
    assert quiet(world)


@WITH_IDS
def test_an_address_that_changes_is_sent_once(world: World, kind: ProjectType) -> None:
    """The next run sends the new address, by users/update or its bulk form; the events stay what they are."""
    of_type(world, kind).rows = rows_of(ANN, BOB)
    world.run()
    world.rows = rows_of(CAT.title(), BOB)
    summary = world.run()

    assert (counts(summary), summary.moved) == (((1, 1, 0, 0), (0, 2, 0, 0)), 0)
    assert MOVE not in {request.path for request in world.iterable.requests}
    assert names(world) == {CAT: "1", BOB: "2"}
    assert quiet(world)


def test_users_by_id_are_not_sent_again_unasked(world: World) -> None:
    """Until EMAIL_COLUMN is written out, the address is not sent; then each profile goes once more."""
    del world.environ["EMAIL_COLUMN"]
    world.rows = people(2)
    world.run()
    assert {owner.email for owner in world.iterable.project.users.names.owners().values()} == {None}
    assert quiet(world)
    world.environ["EMAIL_COLUMN"] = "email"

    assert counts(world.run()) == ((2, 0, 0, 0), (0, 2, 0, 0))
    assert len(names(world)) == 2


@pytest.mark.parametrize("odd", [None, "", "  ", "junk", "a@b"], ids=repr)
def test_a_row_without_a_usable_address(world: World, odd: str | None) -> None:
    """Only that name is missing: the profile goes without it, the log and the summary say so, null is never sent."""
    world.rows = [person(1, email=odd), person(2)]
    summary = world.run()

    assert (summary.exit_code, counts(summary)[0], summary.second_name_missing) == (0, (2, 0, 0, 0), 1)
    assert [owner.email for owner in world.iterable.project.users.names.owners().values()].count(None) == 1
    assert "Profile without the second name: email is" in world.log()
    assert "Users without a usable second name (address or user id): 1" in world.log()
    assert world.iterable.project.warnings == {}
    assert quiet(world)


def test_an_address_that_is_gone_is_not_taken_away(world: World) -> None:
    """A row whose address became NULL leaves the address at Iterable as it is."""
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(None)

    assert (world.run().exit_code, names(world)) == (0, {ANN: "1"})


def test_two_ids_with_one_address_in_a_project_by_id(world: World) -> None:
    """They are two users, whose address is the same."""
    of_type(world, ProjectType.USER_ID).rows = rows_of(ANN, ANN)
    summary = world.run()

    assert (summary.exit_code, counts(summary)[0]) == (0, (2, 0, 0, 0))
    assert world.iterable.project.users.names.owners() == {"1": Owner(ANN, "1"), "2": Owner(ANN, "2")}
    assert quiet(world)


def test_two_ids_with_one_address_in_a_hybrid_project(world: World) -> None:
    """The second is a conflict: rejected with both names, tried again every run, and new once."""
    of_type(world, ProjectType.HYBRID).rows = rows_of(ANN, ANN, BOB)
    first, second = world.run(), world.run()

    assert (first.exit_code, second.exit_code) == (ExitCode.INCOMPLETE, ExitCode.DONE)
    assert counts(first)[0] == (2, 0, 1, 0)
    assert counts(second)[0] == (0, 2, 1, 0)
    assert world.sent != []
    ((reason,),) = world.table("SELECT DISTINCT reason FROM pending WHERE reason IS NOT NULL")
    assert f"address {ANN} and user id 2" in reason

    world.rows = rows_of(CAT, ANN, BOB)
    assert (world.run().exit_code, names(world)) == (0, {CAT: "1", ANN: "2", BOB: "3"})
    assert quiet(world)


@pytest.mark.parametrize("events", [2, 30], ids=["more than a canary's", "more than are in memory"])
def test_a_conflict_of_a_user_with_many_events(world: World, events: int) -> None:
    """The events share the conflict of their profile, and are new once with it, however many there are."""
    of_type(world, ProjectType.HYBRID).rows = rows_of(ANN)
    world.run()
    later = [T0 + timedelta(minutes=minute) for minute in range(events)]
    world.rows = [*rows_of(ANN), *(person(2, email=ANN, event_time=moment) for moment in later)]
    first, second = world.run(), world.run()

    assert (first.exit_code, counts(first)[1]) == (ExitCode.INCOMPLETE, (0, 1, events, 0))
    assert (second.exit_code, counts(second)[1]) == (ExitCode.DONE, (0, 1, events, 0))


@pytest.mark.parametrize("names", [{"EMAIL_COLUMN": ""}, {"IDENTIFY_BY": "email"}], ids=["by id", "by address"])
def test_an_id_that_looks_like_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: dict[str, str]) -> None:
    """An id is sent letter for letter, also one that begins as the state writes what names nobody."""
    world = World(tmp_path, monkeypatch, USER_ID_COLUMN="id", **names)
    world.columns = [as_text(column) for column in world.columns]
    world.rows = [person(1, id="5"), person(2, id="?:5")]
    assert world.run().exit_code == ExitCode.DONE
    sent = [json.loads(request.body) for request in world.iterable.requests if request.path == UPDATE]
    assert [body.get("userId") or body["dataFields"]["userId"] for body in sent] == ["5", "?:5"]


@pytest.mark.parametrize("event_name", ["", "page_view"])
def test_from_addresses_to_ids_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event_name: str) -> None:
    """A sync that knew users by address, and now knows no address any more, goes on."""
    world = World(tmp_path, monkeypatch, EVENT_NAME=event_name)
    world.rows = people(3)
    world.run()
    world.environ |= {"USER_ID_COLUMN": "id", "EMAIL_COLUMN": ""}
    assert world.run(new_event_ids=True).exit_code == ExitCode.DONE
    assert len(world.profiles) >= 3


def test_a_conflict_s_events_come_with_it(world: World) -> None:
    """When the name is free, the profile is taken, and the events that waited go with it."""
    of_type(world, ProjectType.HYBRID).rows = rows_of(ANN, ANN)
    world.run()
    world.iterable.project.delete_user(ANN)
    world.rows = rows_of(None, ANN)
    summary = world.run()

    assert (summary.exit_code, counts(summary)[1]) == (0, (1, 1, 0, 0))


def test_the_dry_run_shows_both_names(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """And how many lack one."""
    world.rows = rows_of(ANN, None)
    assert world.main("--dry-run") == 0
    told = capsys.readouterr()

    bodies = [json.loads(line)["body"] for line in told.out.splitlines()]
    users = [user for body in bodies for user in body.get("users", [body]) if "dataFields" in user]
    profiles = [user for user in users if "eventName" not in user and "events" not in user]
    assert [(user["userId"], user["dataFields"].get("email", "-")) for user in profiles] == [("1", ANN), ("2", "-")]
    assert "Users without a usable second name (address or user id): 1" in told.err


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"IDENTIFY_BY": "phone"}, "IDENTIFY_BY is 'phone'; it must be email or user_id"),
        ({"IDENTIFY_BY": "user_id", "USER_ID_COLUMN": ""}, "IDENTIFY_BY is user_id, but USER_ID_COLUMN is empty"),
        ({"IDENTIFY_BY": "email", "EMAIL_COLUMN": ""}, "IDENTIFY_BY is email, but EMAIL_COLUMN is empty"),
        ({"USER_FIELDS": "email"}, "name the column in EMAIL_COLUMN, and both names are sent"),
        ({"EMAIL_COLUMN": "id"}, "EMAIL_COLUMN names id, which is integer"),
        ({"EMAIL_COLUMN": "mail"}, "EMAIL_COLUMN names the column mail, which is missing"),
    ],
)
def test_settings_that_do_not_fit(
    world: World, capsys: pytest.CaptureFixture[str], environ: dict[str, str], words: str
) -> None:
    """Each is told before anything is sent, with the setting that is meant."""
    world.environ |= environ
    world.rows = people(1)

    assert world.main() == ExitCode.USAGE
    assert words in capsys.readouterr().err


# -- identified by address, in bulk and one by one, signed in by JWT


def test_tokens_claim_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of a move claims the old address, those of the profile and the event the new one."""
    secret = "2EB6A2F34691492F81A819AEDA32427F"
    jwt = {"USE_JWT_AUTH": "true", "ITERABLE_JWT_SECRET": secret, "ITERABLE_API_KEY": "mobile-key-of-12"}
    world = moving_world(tmp_path, monkeypatch, **jwt)
    rules = ProjectRules(jwt_api_key="mobile-key-of-12", jwt_secret=secret, project_type=ProjectType.EMAIL)
    world.iterable = Wire(rules)
    world.rows = rows_of(ANN)
    assert world.run().exit_code == 0
    world.rows = [*rows_of(CAT), person(1, email=CAT, page="settings", event_time=T0 + timedelta(hours=1))]
    summary = world.run()

    assert (summary.exit_code, summary.moved, names(world)) == (0, 1, {CAT: "1"})
    assert [request.path for request in world.iterable.requests] == [MOVE, UPDATE, TRACK]


@pytest.mark.parametrize("number", [1, 2**53 + 1, "007"], ids=repr)
def test_ids_that_are_numbers(world: World, number: Any) -> None:
    """An id is text at Iterable, digit for digit."""
    if isinstance(number, str):
        world.columns = [as_text(column) for column in world.columns]
    world.rows = [person(1, id=number, email=ANN)]
    world.run()

    assert names(world) == {ANN: str(number)}


def test_another_way_to_identify(world: World) -> None:
    """Who was known by the id is a member no more by that name: nobody is told false for it, and a warning counts."""
    of_type(world, ProjectType.HYBRID).rows = rows_of(ANN, BOB)
    world.run()
    events = set(world.iterable.project.events)
    world.environ["IDENTIFY_BY"] = "email"
    summary = world.run()

    assert (summary.exit_code, summary.left_segment, counts(summary)[0]) == (0, 0, (2, 0, 0, 0))
    assert set(world.iterable.project.events) == events
    assert "2 users of the segment cannot be matched with rows any more" in world.log()
    assert all(profile["recent_page_view"] for profile in world.profiles.values())
    assert quiet(world)


def test_an_address_that_changed_while_ids_identified(world: World) -> None:
    """It was sent with the profile then: there is nothing to change when addresses identify again."""
    of_type(world, ProjectType.HYBRID).rows = rows_of(ANN, BOB)
    world.environ["IDENTIFY_BY"] = "email"
    world.run()
    world.environ["IDENTIFY_BY"] = "user_id"
    world.rows = rows_of(CAT, BOB)
    world.run()
    world.environ["IDENTIFY_BY"] = "email"

    assert (world.run().exit_code, names(world)) == (ExitCode.DONE, {CAT: "1", BOB: "2"})
    assert MOVE not in {request.path for request in world.iterable.requests}


def test_without_the_user_id_events_would_have_other_ids(world: World) -> None:
    """Such a run is refused, and says so."""
    world.rows = people(2)
    world.run()
    del world.environ["USER_ID_COLUMN"]
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.USAGE, 0)
    told = "USER_ID_COLUMN is no longer set: 2 delivered events would get new ids"
    assert told in str(summary.stopped_because)


def test_addresses_identify_again(world: World) -> None:
    """By address, by id, and by address again: an address that changes after that is changed at Iterable."""
    of_type(world, ProjectType.HYBRID).rows = rows_of(ANN, BOB)
    for way in ("email", "user_id", "email"):
        world.environ["IDENTIFY_BY"] = way
        assert world.run().exit_code == ExitCode.DONE
    world.environ["MOVE_SETTLE_SECONDS"] = "0"
    world.rows = rows_of(CAT, BOB)

    assert (world.run().moved, names(world)) == (1, {CAT: "1", BOB: "2"})
    assert quiet(world)
