"""Several syncs over one state and one project: nothing that one does changes what the state knows of another."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sync.rows.source import Row
from sync.run import settings as config
from sync.run.exit_codes import ExitCode
from sync.run.lock import lock_path, run_lock
from sync.run.settings import load_settings, read_settings
from tests import faults as catalogue
from tests.harness import TRACK, World, about
from tests.sample_rows import address, people, person

ORDERS = {
    "SYNC_NAME": "orders",
    "SEGMENT_FIELD": "ordered_lately",
    "EVENT_NAME": "order_placed",
    "USER_FIELDS": "first_name:name",
}


@pytest.fixture
def views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The default sync, of users 1 to 12."""
    world = World(tmp_path, monkeypatch, WORKERS="1")
    world.rows = people(12)
    return world


@pytest.fixture
def orders(views: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Another sync over the same state, log and project, of users 9 to 20."""
    return beside(views, monkeypatch, [person(n) for n in range(9, 21)], **ORDERS)


def beside(other: World, monkeypatch: pytest.MonkeyPatch, rows: Sequence[Row], **environ: str) -> World:
    """Another installation with the same files and the same Iterable."""
    world = World(other.folder, monkeypatch, **{"WORKERS": "1"} | environ)
    world.iterable, world.rows = other.iterable, list(rows)
    return world


def members(world: World, field: str) -> set[str]:
    """Of whom Iterable holds this field as true."""
    return {who for who, profile in world.profiles.items() if profile.get(field)}


# -- side by side --------------------------------------------------------------------------------------------


def test_alternately(views: World, orders: World) -> None:
    """Users of both are sent once by each, and not again however often the two take turns."""
    assert (views.run().requests, orders.run().requests) == (24, 24)
    for _ in range(3):
        assert (views.run().requests, orders.run().requests) == (0, 0)
    assert len(views.events) == 24
    assert views.profiles[address(10)]["name"] == views.profiles[address(10)]["first_name"]


def test_who_leaves_one_stays_in_the_other(views: World, orders: World) -> None:
    """Each sync takes its own users off its own field, and nobody else's."""
    views.run(), orders.run()
    del views.rows[9], orders.rows[0]  # users 10 and 9, who are in both

    assert (views.run().left_segment, orders.run().left_segment) == (1, 1)
    assert members(views, "recent_page_view") == {address(n) for n in range(1, 13)} - {address(10)}
    assert members(views, "ordered_lately") == {address(n) for n in range(10, 21)}


def test_backlogs_are_paid_by_who_made_them(views: World, orders: World) -> None:
    """The backlog of one sync waits for its own next run, with its own field."""
    views.iterable.faults = lambda _: catalogue.SERVER_ERROR
    views.run()
    views.iterable.faults = None
    assert orders.run().requests == 24
    assert members(views, "recent_page_view") == set()
    assert views.run().exit_code == ExitCode.DONE
    assert len(members(views, "recent_page_view")) == 12


def test_a_segment_field_belongs_to_one_sync(views: World, orders: World) -> None:
    """A second sync that names it is refused before anything is sent, with both names and the way out."""
    views.run()
    orders.environ["SEGMENT_FIELD"] = "recent_page_view"
    for switches in ({}, {"limit": 2}):
        refused = orders.run(**switches)
        assert (refused.exit_code, refused.requests) == (ExitCode.USAGE, 0)
        assert all(word in str(refused.stopped_because) for word in ("orders", "SYNC_NAME=default", "SEGMENT_FIELD"))


def test_a_trial_run_claims_no_field(views: World, orders: World) -> None:
    """A run with --limit needs the field free, and leaves it so."""
    orders.environ["SEGMENT_FIELD"] = "recent_page_view"
    assert orders.run(limit=2).exit_code == ExitCode.DONE
    assert views.run().exit_code == ExitCode.DONE
    assert orders.run().exit_code == ExitCode.USAGE


@pytest.mark.parametrize("key", ["", "another-key-of-the-project-1234567"])
def test_a_field_is_the_projects_whatever_it_is_called(views: World, orders: World, key: str) -> None:
    """Told apart by address and key as well as by name: with the same of either the field is the same."""
    views.environ["DESTINATION"] = "shop"
    views.run()
    orders.environ |= {"SEGMENT_FIELD": "recent_page_view", "DESTINATION": "shop" if key else ""}
    if key:
        orders.environ["ITERABLE_API_KEY"] = key
    assert orders.run().exit_code == ExitCode.USAGE


def test_a_destination_is_named_for_one_sync(views: World, orders: World) -> None:
    """DESTINATION moves the state of the sync that says it, and takes nothing from another."""
    views.run(), orders.run()
    orders.environ["DESTINATION"] = "shop"
    assert (views.run().requests, orders.run().requests) == (0, 0)
    orders.environ["ITERABLE_API_KEY"] = views.iterable.project.rules.api_key = "rotated-key-0123456789"
    assert orders.run().requests == 0


def test_two_runs_at_once(views: World, orders: World) -> None:
    """Of different syncs they go side by side; of one sync the second ends with 4."""
    with run_lock(lock_path(views.settings.state_file)):
        assert views.run().exit_code == ExitCode.LOCKED
        assert orders.run().exit_code == ExitCode.DONE
    with run_lock(lock_path(views.settings.state_file, "orders")):
        assert orders.run().exit_code == ExitCode.LOCKED
        assert views.run().exit_code == ExitCode.DONE


def test_exports_are_told_by_the_exact_name(views: World, orders: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """CSV_KEEP counts a sync's own: `orders` is not `orders_eu`, and the default sync has the plain name."""
    abroad = beside(orders, monkeypatch, [person(30)], **ORDERS | {"SYNC_NAME": "orders_eu", "SEGMENT_FIELD": "eu"})
    for world in (views, orders, abroad):
        world.environ["CSV_KEEP"] = "1"
        world.run(), world.run()
    names = sorted(re.sub(r"_\d{8}_\d{6}.*", "", path.name) for path in views.folder.glob("*.csv"))
    assert names == ["query_results", "query_results_orders", "query_results_orders_eu"]


def test_the_sync_is_in_log_history_and_summary(views: World, orders: World) -> None:
    """The first and the last line of a run, --history and --json name the sync."""
    views.run()
    summary = orders.run()
    assert summary.as_json()["sync"] == "orders"
    own = [line for line in orders.log().splitlines() if line.endswith(f"run={summary.run_id}")]
    assert "sync=orders" in own[0] and "sync=orders" in own[-1]
    assert orders.table("SELECT sync FROM run ORDER BY number") == [("default",), ("orders",)]


# -- a sync whose settings change ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "switches"),
    [
        ({"SEGMENT_FIELD": "trial"}, {"limit": 2}),
        ({"SEGMENT_FIELD": "trial"}, {}),
        ({"SEGMENT_FIELD": ""}, {}),
        ({"USER_FIELDS": ""}, {}),
    ],
    ids=["trial with a limit", "another field", "no field", "events only"],
)
def test_membership_outlives_another_field(views: World, environ: dict[str, str], switches: dict[str, Any]) -> None:
    """When the old field comes back its members are members still, and who has left meanwhile is taken off."""
    views.run()
    usual = dict(views.environ)
    views.environ |= environ
    if "USER_FIELDS" in environ:
        del views.environ["USER_FIELDS"]
        views.environ |= {"USER_FIELDS": ""}
    views.run(**switches)
    views.environ = usual
    del views.rows[:3]
    summary = views.run()

    assert summary.left_segment == 3
    assert members(views, "recent_page_view") == {address(n) for n in range(4, 13)}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("EVENT_KEY", "page,event_time"),
        ("USER_FIELDS", "candidate,plan_type,last_name,first_name"),
        ("EVENT_FIELDS", "event_time,candidate,location,browser,device,page"),
    ],
)
def test_another_order_changes_nothing(views: World, setting: str, value: str) -> None:
    """The order of EVENT_KEY, USER_FIELDS and EVENT_FIELDS is nobody's business but the reader's."""
    views.run()
    views.environ[setting] = value
    assert views.run().requests == 0


@pytest.mark.parametrize(
    ("setting", "value"), [("EVENT_KEY", "event_time,page,device"), ("EVENT_KEY", "event_time"), ("EVENT_NAME", "view")]
)
def test_other_event_ids_are_refused(views: World, setting: str, value: str) -> None:
    """What would track delivered events a second time says how many are at stake, and needs --new-event-ids."""
    views.run()
    views.environ[setting] = value
    refused = views.run()
    assert (refused.exit_code, refused.requests) == (ExitCode.USAGE, 0)
    assert "12 delivered events" in str(refused.stopped_because) and "--new-event-ids" in str(refused.stopped_because)
    assert views.main("--dry-run") == ExitCode.USAGE

    assert views.run(new_event_ids=True).events.delivered == 12
    assert views.run().requests == 0


def test_no_events_on_record_no_refusal(views: World) -> None:
    """A first run, or one that delivered no event, may be corrected freely."""
    views.iterable.project.rules.disallowed_events = {"page_view"}
    views.run(limit=2)
    views.environ["EVENT_NAME"] = "view"
    assert views.run().exit_code == ExitCode.DONE


def test_users_who_are_named_by_id_from_now_on(views: World) -> None:
    """Events keep the ids that they have, nobody is told false, and the members under old names are counted."""
    views.run()
    views.environ["USER_ID_COLUMN"] = "id"
    views.iterable.project.profiles.clear()
    summary = views.run()

    assert summary.exit_code == ExitCode.DONE
    assert len(views.events) == 12
    assert summary.left_segment == 0
    assert "12 users of the segment cannot be matched with rows any more" in views.log()
    assert views.run().requests == 0


def test_rows_that_fall_together(views: World) -> None:
    """Two views at the same time and page from two devices are one event: counted, and the first such row is named."""
    views.rows = [person(1), person(1, device="phone"), person(2), person(2), person(3), person(3, device="tv")]
    summary = views.run()

    assert (summary.events.delivered, summary.merged_rows, summary.as_json()["merged_rows"]) == (3, 2, 2)
    (line,) = [line for line in views.log().splitlines() if "Rows with the same EVENT_KEY as another row" in line]
    assert ": 2 (the first is row 2 of the result)" in line


# -- rejected, and asked for again ---------------------------------------------------------------------------


def test_an_event_whose_row_left_while_its_profile_was_rejected(views: World) -> None:
    """--retry-rejected brings it back: profile with the field false, for the user is no longer in the result."""
    views.rows = people(3)
    views.iterable.faults = about(address(2), catalogue.SERVER_ERROR, TRACK)
    views.run()
    views.rows = [person(2, first_name="New", page="settings"), *people(3)[::2]]
    views.iterable.faults = None
    views.iterable.project.rules.forgotten.add(address(2))
    views.run()
    views.rows = people(3)[::2]
    views.run()
    views.iterable.project.rules.forgotten.clear()
    assert views.run().requests == 0, "rejected is remembered"

    assert views.run(retry_rejected=True).exit_code == ExitCode.DONE
    pages = [event["dataFields"]["page"] for event in views.events if event["email"] == address(2)]
    assert sorted(pages) == ["pricing", "settings"]
    assert views.profiles[address(2)]["recent_page_view"] is False


def test_an_exit_that_was_rejected(views: World) -> None:
    """Who could not be taken off the segment is, when it is asked for again."""
    views.run()
    del views.rows[0]
    views.iterable.project.rules.forgotten.add(address(1))
    assert views.run().users.rejected == 1
    views.iterable.project.rules.forgotten.clear()
    assert views.run().requests == 0
    assert views.run(retry_rejected=True).left_segment == 1
    assert views.profiles[address(1)]["recent_page_view"] is False


# -- the name ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name"),
    [("orders.env", "orders"), (".env.orders", "orders"), ("a.b-c_1.env", "a.b-c_1"), (".env", ""), ("settings", "")],
)
def test_the_env_file_names_its_sync(tmp_path: Path, file: str, name: str) -> None:
    """`orders.env` and `.env.orders` describe the sync orders; any other name has to be said with SYNC_NAME."""
    path = tmp_path / file
    path.write_text("DB_USER=a\nDB_NAME=b\nITERABLE_API_KEY=k\n")
    settings, problems = read_settings(path, {})
    assert settings.sync_name == name
    assert [problem.split()[0] for problem in problems] == ([] if name else ["SYNC_NAME"])
    assert load_settings(path, {"SYNC_NAME": "said"}).sync_name == "said"


@pytest.mark.parametrize("spelling", ["up", "link", "folder", "linked .env", "its target"])
def test_the_file_beside_main_py_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    """The `.env` beside main.py is known by what it is, however its path is spelt: its sync is the default one."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "query.sql").touch()
    real = elsewhere / "shared.env" if spelling in ("linked .env", "its target") else home / ".env"
    real.write_text("DB_USER=a\nDB_NAME=b\nITERABLE_API_KEY=k\n")
    if real != home / ".env":
        (home / ".env").symlink_to(real)
    (elsewhere / "orders.env").symlink_to(home / ".env")
    (tmp_path / "current").symlink_to(home)
    monkeypatch.setattr(config, "HOME", home)
    monkeypatch.chdir(elsewhere)
    paths = {
        "up": Path("../home/.env"),
        "link": Path("orders.env"),
        "folder": tmp_path / "current" / ".env",
        "linked .env": home / ".env",
        "its target": real,
    }
    assert load_settings(paths[spelling], {}).sync_name == "default"


def test_no_file_is_the_default_sync() -> None:
    """Settings from the environment alone are those of the default sync."""
    given = {"DB_USER": "a", "DB_NAME": "b", "ITERABLE_API_KEY": "k"}
    assert load_settings(Path(os.devnull), given).sync_name == "default"


@pytest.mark.parametrize("name", ["a b", "a/b", "../x", "é", "x" * 65])
def test_names_that_cannot_be_used(name: str) -> None:
    """A name is part of file names and labels."""
    _, problems = read_settings(
        Path(os.devnull), {"SYNC_NAME": name, "DB_USER": "a", "DB_NAME": "b", "ITERABLE_API_KEY": "k"}
    )
    assert [problem.split()[0] for problem in problems] == ["SYNC_NAME"]
