"""Whose state it is: a sync; what a state of version 1.0.0 becomes; two writers at once."""

from __future__ import annotations

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from sync.rows.source import Column, Kind
from sync.run.exit_codes import ExitCode
from sync.run.lock import LockedError, lock_path, run_lock
from sync.state.destinations import RefusedError, SyncName
from sync.state.file import State, StateError
from sync.state.schema import VERSION
from sync.state.syncs import Recorded, SyncRecord
from tests.harness import TRACK, UPDATE, World, sync_of
from tests.sample_rows import COLUMNS, address, people, person
from tests.state.runs import DELIVERED, FAILED, Runs, answered

URL, SECRET, FIELD = "https://api.iterable.com", "the-key-of-the-project", "recent_page_view"
OLD = Path(__file__).with_name("made_by_1_0_0.sqlite3")


def number(state: State, name: str = "default", key: str = SECRET, destination: str = "", url: str = URL) -> int:
    """The number of a sync at a destination."""
    found: int = SyncRecord(state, SyncName(name, url, key, destination), FIELD).id
    return found


def test_it_never_holds_the_key(path: Path) -> None:
    """A destination is told by the address and a fingerprint of the key, never by the key."""
    with closing(State(path)) as state:
        number(state), number(state, destination="shop")
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert SECRET.encode() not in content
    assert SyncName("a", URL, SECRET).project != SyncName("a", URL, SECRET[:-1] + "1").project


def test_fields_are_on_record_with_the_first_delivery(runs: Runs) -> None:
    """In the commit that records it, so that a run that is killed later fixed the types as well."""
    fields = {"": ["first_name"], "page_view": ["page"], "click": ["x"]}
    runs.begin(people(2), fields=fields)
    users = runs.outbox.claim(1, 1)
    runs.outbox.record([answered(user, FAILED) for user in users])
    assert delivered_fields(runs) == {}
    users = runs.outbox.claim(1, 1)
    runs.outbox.record([answered(user, DELIVERED)._replace(events=(FAILED,)) for user in users])
    assert delivered_fields(runs) == {"": ["first_name"]}

    runs.run(people(2), fields={"": ["plan", "first_name"], "page_view": ["page"]})
    assert delivered_fields(runs) == {"": ["first_name", "plan"], "page_view": ["page"]}


def test_events_that_are_not_settled_are_on_record(runs: Runs) -> None:
    """The run that delivered them was killed: another EVENT_NAME would track them once more."""
    runs.begin(people(2))
    runs.deliver()
    record = SyncRecord(runs.state, SyncName("default", URL, "key"), FIELD)
    with runs.state.transaction():
        record.put(Recorded(event_name="page_view", event_key=("page",)))
    with pytest.raises(RefusedError, match="EVENT_NAME changed from page_view to view: 2 delivered events"):
        record.refuse_new_event_ids("view", ("page",), by_user_id=False, has_address=True)


@pytest.mark.parametrize(
    ("by_user_id", "now", "has_address", "told"),
    [
        (True, True, True, None),
        (True, False, True, "USER_ID_COLUMN is no longer set: 2 delivered events"),
        (False, True, True, None),
        (False, True, False, "EMAIL_COLUMN is no longer in the query: 2 delivered events"),
    ],
)
def test_what_names_the_user_in_an_event_id(
    runs: Runs, by_user_id: bool, now: bool, has_address: bool, told: str | None
) -> None:
    """Events of another name for their user would be tracked once more; an id that joins an address changes none."""
    runs.run(people(2))
    record = SyncRecord(runs.state, SyncName("default", URL, "key"), FIELD)
    with runs.state.transaction():
        record.put(Recorded(event_name="page_view", event_key=("page",), by_user_id=by_user_id))
    with pytest.raises(RefusedError, match=told) if told else nullcontext():
        record.refuse_new_event_ids("page_view", ("page",), by_user_id=now, has_address=has_address)


def test_a_segment_field_has_one_sync(path: Path) -> None:
    """A second sync of the project is told whose it is; one of another project, and another field, are free."""
    with closing(State(path)) as state:
        first, second = (SyncRecord(state, SyncName(name, URL, SECRET), FIELD) for name in ("orders", "views"))
        elsewhere = SyncRecord(state, SyncName("elsewhere", URL, "another"), FIELD)
        with state.transaction():
            first.claim(FIELD)
        for refused in (second.refuse_foreign_field, second.claim):
            with pytest.raises(RefusedError, match=f"{FIELD} of the sync views is written by the sync orders"):
                refused(FIELD)
        for free, field in ((first, FIELD), (second, "another"), (elsewhere, FIELD)):
            free.refuse_foreign_field(field)


def test_an_exit_delivers_no_field(runs: Runs) -> None:
    """It holds the segment field alone, and fixes the type of no other."""
    runs.run(people(2))
    assert [user.leaves for user in runs.run(people(1), fields={"": ["first_name"]})] == [True]
    assert delivered_fields(runs) == {}


def delivered_fields(runs: Runs) -> dict[str, list[str]]:
    """Those on record."""
    (settings,) = runs.state.db.execute("SELECT settings FROM sync WHERE id = ?", (runs.sync,)).fetchone()
    found: dict[str, list[str]] = json.loads(settings).get("delivered_fields", {})
    return found


# -- a state of version 1.0.0 --------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation whose state was written by 1.0.0: users 1 to 12, of whom user 12 failed and 11 was rejected."""
    world = World(tmp_path, monkeypatch, WORKERS="1")
    world.settings.state_file.write_bytes(OLD.read_bytes())
    world.rows = people(12)
    world.iterable.project.rules.forgotten.add("user11@example.com")
    return world


def test_an_upgrade_sends_nothing_again(old: World) -> None:
    """What was delivered is unchanged, what was rejected is remembered, the backlog is pending; a copy is kept."""
    summary = old.run()
    assert (summary.users.delivered, summary.users.unchanged, summary.users.rejected) == (1, 10, 1)
    assert {who for _, who in old.sent} == {"user12@example.com"}
    assert (old.folder / "state.sqlite3.v1").read_bytes()
    assert old.table("PRAGMA user_version") == [(VERSION,)]
    assert old.run().requests == 0


def test_a_backlog_of_1_0_0_whose_row_has_left(old: World) -> None:
    """The profile that failed and its event are sent as the row said, with the segment false."""
    old.rows = people(11)
    assert old.run().exit_code == ExitCode.DONE
    assert old.sent == [(UPDATE, address(12)), (TRACK, address(12))]
    assert old.iterable.requests[0].body.count(b"recent_page_view") == 1
    told = {name: person(12)[name] for name in ("first_name", "last_name", "plan_type")}
    assert old.profiles[address(12)] == {**told, "recent_page_view": False}


def test_a_backlog_of_1_0_0_without_its_segment(old: World) -> None:
    """SEGMENT_FIELD had changed, so that 1.0.0 had taken the old field out of it: it is sent with the new one."""
    pending_without_field(old, "viewed")
    old.environ["SEGMENT_FIELD"] = "viewed"
    old.rows = people(10)
    assert old.run().exit_code == ExitCode.DONE
    told = {name: person(12)[name] for name in ("first_name", "last_name", "plan_type")}
    assert old.profiles[address(12)] == {**told, "viewed": False}


def test_a_backlog_of_1_0_0_that_was_sent_without_the_segment(old: World) -> None:
    """It went out while there was no SEGMENT_FIELD: when that is back, and the row, Iterable is told true."""
    pending_without_field(old, "")
    old.environ["SEGMENT_FIELD"] = ""
    old.rows = people(11)
    old.run()
    assert "recent_page_view" not in old.profiles[address(12)]
    old.environ["SEGMENT_FIELD"] = "recent_page_view"
    old.rows = people(12)
    old.run()
    assert old.profiles[address(12)]["recent_page_view"] is True


def pending_without_field(old: World, field: str) -> None:
    """What the backlog of 1.0.0 is after a run of it with this SEGMENT_FIELD."""
    with closing(sqlite3.connect(old.settings.state_file)) as state, state:
        state.execute("UPDATE destination SET segment_field = ?", (field,))
        state.execute("UPDATE owed_user SET body = json_remove(body, '$.dataFields.recent_page_view')")


def test_members_of_an_old_state_still_leave(old: World) -> None:
    """Membership is taken over as well."""
    del old.rows[0]
    assert old.run().left_segment == 1


@pytest.mark.parametrize("delivered", [True, False])
def test_fields_of_an_old_state(old: World, delivered: bool) -> None:
    """1.0.0 did not say which fields it delivered: whatever is mapped now may have its type, where it delivered any."""
    if not delivered:
        with closing(sqlite3.connect(old.settings.state_file)) as state:
            state.execute("UPDATE profile SET delivered = NULL"), state.execute("UPDATE event SET delivered = NULL")
            state.commit()
    old.environ |= {"USER_FIELDS": "first_name,rating", "EVENT_FIELDS": "page,rating"}
    old.columns = (*COLUMNS, Column("rating", Kind.BOOLEAN))
    old.rows = [person(number, rating=4 if number == 5 else 1) for number in range(1, 11)]
    summary = old.run()

    if delivered:
        assert (summary.exit_code, summary.users.rejected) == (ExitCode.INCOMPLETE, 1)
        assert "rating already has its type at Iterable" in old.log()
    else:
        assert (summary.exit_code, summary.requests) == (ExitCode.USAGE, 0)


def test_whoever_comes_first_takes_it_over(old: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the sync is called; one with another segment field leaves it alone and starts its own."""
    other = World(old.folder, monkeypatch, WORKERS="1", SYNC_NAME="orders", SEGMENT_FIELD="ordered")
    other.rows, other.iterable = people(2), old.iterable
    assert other.run().requests == 4
    old.environ["SYNC_NAME"] = "views"
    old.run()
    assert {who for _, who in old.sent} == {"user12@example.com"}


@pytest.mark.parametrize("environ", [{}, {"DESTINATION": "shop"}], ids=["no name", "named at the same time"])
def test_a_key_rotated_with_the_upgrade(old: World, environ: dict[str, str]) -> None:
    """What 1.0.0 delivered is something to lose as well: the operator is asked before anybody takes it over."""
    old.environ |= {"ITERABLE_API_KEY": "rotated-key-0123456789", **environ}
    old.iterable.project.rules.api_key = "rotated-key-0123456789"
    del old.rows[0]
    refused = old.run()
    assert (refused.exit_code, refused.requests) == (ExitCode.USAGE, 0)
    assert "with 11 users, 11 members of the segment and 10 events, last used 20" in str(refused.stopped_because)

    summary = old.run(same_project=True)
    assert (summary.left_segment, summary.users.delivered, summary.users.unchanged) == (1, 1, 9)


def test_the_usual_port_of_an_old_state(old: World) -> None:
    """1.0.0 put the port on record that goes without saying; it is the same project."""
    with closing(State(old.settings.state_file)) as state:
        state.db.execute("UPDATE sync SET project = replace(project, '.com#', '.com:443#')")
        state.db.execute("UPDATE sync SET destination = project")
    old.run()
    assert {who for _, who in old.sent} == {"user12@example.com"}


def test_an_old_key_order_keeps_its_ids(old: World) -> None:
    """1.0.0 made ids in the order of EVENT_KEY; the first run after the upgrade puts that order on record."""
    old.run()
    old.environ["EVENT_KEY"] = "page,event_time"
    assert old.run().requests == 0


def test_no_upgrade_under_a_run_of_1_0_0(old: World) -> None:
    """Its lock is the default sync's; a sync of another name does not take the state from under it."""
    old.environ |= {"SYNC_NAME": "orders", "SEGMENT_FIELD": "ordered"}
    with run_lock(lock_path(old.settings.state_file)):
        assert old.run().exit_code == ExitCode.LOCKED
    assert old.table("PRAGMA user_version") == [(1,)]
    with (
        pytest.raises(LockedError),
        run_lock(lock_path(old.settings.state_file)),
        closing(State(old.settings.state_file, lambda: run_lock(lock_path(old.settings.state_file)))),
    ):
        pass


# -- two writers ---------------------------------------------------------------------------------------------


def test_a_writer_waits_for_the_others_commit(path: Path) -> None:
    """However long the other takes, nothing is lost: here the other commits while the first waits."""
    with closing(State(path)) as state, closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO segment_claim VALUES ('a', 1)")
        asked = threading.Event()
        state._give_up = lambda: asked.set() or False  # type: ignore[func-returns-value]
        commit = threading.Thread(target=lambda: (asked.wait(5), other.execute("COMMIT")))
        commit.start()
        sync_of(state)
        commit.join()
        assert state.db.execute("SELECT COUNT(*) FROM segment_claim").fetchone() == (1,)


def test_many_make_a_state_at_once(path: Path) -> None:
    """Syncs that meet for the first time over a state that is not there yet: one makes it, and all have it."""
    together = threading.Barrier(6)

    def begin(name: str) -> int:
        together.wait(10)
        with closing(State(path)) as state:
            state.begin_run(name, "2026-01-06 12:00:00", name)
            return sync_of(state, name)

    with ThreadPoolExecutor() as pool:
        assert len(set(pool.map(begin, "abcdef"))) == 6


def test_after_a_signal_the_wait_ends(path: Path) -> None:
    """What was not recorded by then is unconfirmed, so pending."""
    with closing(State(path, give_up=lambda: True)) as state, closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="in use by another program"):
            sync_of(state)
