"""NULL_MEANS: what a NULL column does to its field at Iterable, in whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sync.rows.payloads import Reading
from sync.rows.source import Column, Kind, Row
from sync.run import verify as verification
from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.harness import TRACK, UPDATE, World, asked, counts
from tests.run.moving import BOTH_WAYS, moving_world
from tests.sample_rows import COLUMNS, address, person
from tests.stand_in.users import Profile

EXTRA = (
    *(Column(name, Kind.TEXT) for name in ("city", "street", "note")),
    Column("born", Kind.DATE),
    Column("likes", Kind.JSON),
    Column("visits", Kind.INTEGER),
)
NULLS = dict.fromkeys((column.name for column in EXTRA), None)


@BOTH_WAYS
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A sync that keeps what is NULL, one by one and in bulk."""
    made = World(tmp_path, monkeypatch, NULL_MEANS="keep", WORKERS="1", ITERABLE_BULK=str(request.param).lower())
    made.columns = (*COLUMNS, *EXTRA)
    return made


def row(number: int, **changes: Any) -> Row:
    """A row whose further columns are all NULL, but for the changes."""
    return person(number, **{**NULLS, **changes})


def bodies(world: World, *paths: str) -> list[dict[str, Any]]:
    """What the last run sent, item by item; of these single endpoints, or their bulk ones."""
    wanted = {*paths, *({UPDATE: "/api/users/bulkUpdate", TRACK: "/api/events/trackBulk"}[path] for path in paths)}
    found: list[dict[str, Any]] = []
    for request in world.iterable.requests:
        if request.path in wanted:
            body = request.json()
            found += next((body[key] for key in ("users", "events") if key in body), [body])
    return found


def sent_fields(world: World) -> list[dict[str, Any]]:
    """The data fields of the profiles that the last run sent."""
    return [body["dataFields"] for body in bodies(world, UPDATE)]


def test_a_null_is_not_sent(world: World) -> None:
    """Neither in the profile nor in the event; what Iterable has stays, and the segment field is sent all the same."""
    world.rows = [row(1, candidate="alpha")]
    world.run()
    world.rows = [row(1, candidate=None, plan_type="free")]
    world.run()

    assert sent_fields(world) == [
        {"first_name": "Name 1", "last_name": "Test", "plan_type": "free", "recent_page_view": True}
    ]
    (event,) = bodies(world, TRACK)
    assert set(event["dataFields"]) == {"page", "device", "browser", "location", "event_time"}
    assert world.profiles[address(1)]["candidate"] == "alpha"


def test_a_null_clears_by_default(world: World) -> None:
    """Without the setting it is sent as null, in profiles and events."""
    del world.environ["NULL_MEANS"]
    world.rows = [row(1, candidate="alpha")]
    world.run()
    world.rows = [row(1)]
    world.run()

    assert sent_fields(world)[0]["candidate"] is None
    assert bodies(world, TRACK)[0]["dataFields"]["candidate"] is None
    assert "candidate" not in world.profiles[address(1)]


def test_a_value_that_becomes_null(world: World) -> None:
    """The profile is sent once more, without it, and then it is unchanged; and once more when the value is back."""
    world.environ["EVENT_FIELDS"] = "page"
    world.rows = [row(1, candidate="alpha")]
    world.run()
    world.rows = [row(1)]
    world.run()
    assert [("candidate" in fields) for fields in sent_fields(world)] == [False]
    assert counts(world.run()) == ((0, 1, 0, 0), (0, 1, 0, 0))
    world.rows = [row(1, candidate="alpha")]
    world.run()
    assert [fields["candidate"] for fields in sent_fields(world)] == ["alpha"]


def test_objects(world: World) -> None:
    """An object is sent with the members that it has, and merged with what Iterable has; without any it is not sent."""
    world.environ["USER_FIELDS"] = "city:address.city,street:address.street,note:a.b.c,born:a.b.d,visits"
    world.rows = [row(1, city="Oslo", street="Main St 1", note="x", visits=1)]
    world.run()
    world.rows = [row(1, street="Side St 2", visits=2)]
    world.run()

    assert sent_fields(world) == [{"address": {"street": "Side St 2"}, "visits": 2, "recent_page_view": True}]
    assert bodies(world, UPDATE)[0]["mergeNestedObjects"] is True
    assert world.profiles[address(1)]["address"] == {"city": "Oslo", "street": "Side St 2"}
    assert world.profiles[address(1)]["a"] == {"b": {"c": "x"}}


def test_a_row_of_nothing_but_nulls(world: World) -> None:
    """The user comes to be at Iterable, for the event needs one; both bodies are whole."""
    world.environ |= {"USER_FIELDS": "city:address.city,born", "SEGMENT_FIELD": "", "EVENT_FIELDS": "note:a.b"}
    world.rows = [row(1)]
    assert world.run().exit_code == ExitCode.DONE

    assert [body["dataFields"] for body in bodies(world, UPDATE, TRACK)] == [{}, {}]
    assert world.profiles == {address(1): {}}


def test_no_field_is_filled_from_an_older_row(world: World) -> None:
    """The profile is the newest row's, whatever older ones say where it is NULL."""
    world.rows = [row(1, candidate="alpha", event_time=person(0)["event_time"]), row(1)]
    world.run()
    assert ["candidate" in fields for fields in sent_fields(world)] == [False]


def test_event_ids_are_as_before(world: World) -> None:
    """An event that is sent again without its NULL overwrites the one that is there."""
    world.environ |= {"NULL_MEANS": "clear", "EVENT_KEY": "event_time,candidate"}
    world.rows = [row(1), row(2, candidate="alpha")]
    world.run()
    before = set(world.iterable.project.events)
    world.environ["NULL_MEANS"] = "keep"
    assert counts(world.run()) == ((1, 1, 0, 0), (1, 1, 0, 0))
    assert set(world.iterable.project.events) == before


def test_a_change_of_the_setting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends what holds a NULL, either way, and nothing else; after that, no payload is made to know a row."""
    whole = [row(number, candidate="alpha") for number in range(1, 8)]
    world.rows = [*whole[:-2], row(6, candidate="alpha", last_name=None), row(7, candidate="alpha", device=None)]
    world.run()
    for meaning in ("clear", "keep", "clear"):
        world.environ["NULL_MEANS"] = meaning
        assert counts(world.run()) == ((1, 6, 0, 0), (1, 6, 0, 0))
        assert {body["email"] for body in bodies(world, UPDATE)} == {address(6)}
        assert {body["email"] for body in bodies(world, TRACK)} == {address(7)}
        with monkeypatch.context() as patch:
            patch.setattr(Reading, "payloads", lambda *_: pytest.fail("a payload was made"))
            assert counts(world.run()) == ((0, 7, 0, 0), (0, 7, 0, 0))


def test_a_change_of_the_setting_and_what_was_rejected(world: World) -> None:
    """What Iterable refused is tried again if the setting changes its payload, and only then."""
    world.environ["EVENT_NAME"] = ""
    world.rows = [row(1, candidate="alpha"), row(2), row(3)]
    world.iterable.project.rules.forgotten = {address(1), address(2)}
    world.run()
    world.environ["NULL_MEANS"] = "clear"
    assert counts(world.run())[0] == (1, 0, 2, 0)
    assert {body["email"] for body in bodies(world, UPDATE)} == {address(2), address(3)}


def test_a_change_of_the_setting_and_what_is_pending(world: World) -> None:
    """A user of the result gets what the row says under the new setting; what is as delivered before is not sent."""
    world.environ |= {"NULL_MEANS": "clear", "EVENT_NAME": ""}
    world.rows = [row(1), row(2)]
    world.run()
    world.environ["NULL_MEANS"] = "keep"
    world.iterable.faults = lambda _request: catalogue.SERVER_ERROR
    world.run(limit=1)
    world.iterable.faults = None
    world.environ["NULL_MEANS"] = "clear"
    assert asked(world) == {(UPDATE, address(1))}
    assert counts(world.run())[0] == (1, 1, 0, 0)
    assert [fields["candidate"] for fields in sent_fields(world)] == [None]


def test_reading_back(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """--verify compares what was sent, and says nothing of a field that was not; nor is there anything to repair."""
    monkeypatch.setattr(verification, "VISIBLE_AFTER", 0.0)
    monkeypatch.setattr(verification, "make_client", world.client)
    world.environ["USER_FIELDS"] = "candidate,city:address.city,street:address.street,likes,born"
    world.rows = [row(1, candidate="alpha", city="Oslo", born="0000-00-00"), row(2, likes="null"), *map(row, (3, 4))]
    world.run()
    world.rows = [row(number) for number in (1, 2, 3, 4)]
    world.run()
    stored = world.iterable.project.users.stored
    stored[address(3)] = Profile({**stored[address(3)].data, "candidate": "beta", "address": {"city": "Bonn"}}, 0, None)
    capsys.readouterr()

    assert world.main("--verify", "all") == ExitCode.DONE
    assert capsys.readouterr().out == "4 of 4 users are the same at Iterable and in the database\n"
    world.environ["NULL_MEANS"] = "clear"
    world.run()
    stored[address(3)] = Profile({**stored[address(3)].data, "candidate": "beta"}, 0, None)
    assert world.main("--verify", "all") == ExitCode.INCOMPLETE
    assert f'{address(3)}: candidate: sent null, found "beta"' in capsys.readouterr().out


def test_a_dry_run(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It shows the bodies without what is NULL, as the run sends them."""
    world.rows = [row(1), row(2, candidate="alpha")]
    assert world.main("--dry-run") == ExitCode.DONE
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    world.run()
    assert [line["body"] for line in printed] == [request.json() for request in world.iterable.requests]
    assert "null" not in json.dumps(printed)


def test_an_address_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is changed at Iterable as ever, and the profile goes there without what is NULL."""
    world = moving_world(tmp_path, monkeypatch, NULL_MEANS="keep")
    world.rows = [person(1, candidate="alpha")]
    world.run()
    world.rows = [person(1, email="new@example.com", candidate=None)]
    assert world.run().moved == 1
    assert world.profiles["new@example.com"]["candidate"] == "alpha"


@pytest.mark.parametrize(
    ("meaning", "problem"), [("Keep", ""), ("", ""), ("drop", "NULL_MEANS is 'drop'; it must be clear or keep")]
)
def test_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meaning: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two words in any case; empty is the default; another word is a problem that says them."""
    world = World(tmp_path, monkeypatch, NULL_MEANS=meaning)
    assert world.main() == (ExitCode.USAGE if problem else ExitCode.DONE)
    assert problem in capsys.readouterr().err
