"""Whose state it is: a sync at a destination; what a state of version 1.0.0 becomes; two writers at once."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from sync.run.lock import LockedError, RunLock, lock_path
from sync.state.file import State, StateError
from sync.state.schema import STEPS
from sync.state.syncs import SyncName, SyncRecord
from tests.harness import World, people, sync_of

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


def test_a_state_belongs_to_one_sync_at_one_destination(path: Path) -> None:
    """Another name, key or region is another; the same ones are the same."""
    with closing(State(path)) as state:
        first = number(state)
        others = {number(state, "orders"), number(state, key="other"), number(state, url="https://api.eu.iterable.com")}
        assert number(state) == first
        assert len(others - {first}) == 3


def test_a_name_keeps_the_state_when_the_key_is_rotated(path: Path) -> None:
    """A new name takes over what was known of address and key, for this sync alone, and then outlives the key."""
    with closing(State(path)) as state:
        unnamed, other = number(state), number(state, "orders")
        named = number(state, destination="shop")

        assert named == unnamed
        assert number(state, key="rotated", destination="shop") == named
        assert number(state, key="rotated", destination="second") != named
        assert number(state) != named
        assert number(state, "orders") == other


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
    """What was delivered is unchanged, what was rejected is remembered, what was owed is still owed; a copy is kept."""
    summary = old.run()
    assert (summary.users.delivered, summary.users.unchanged, summary.users.rejected) == (1, 10, 1)
    assert {who for _, who in old.sent} == {"user12@example.com"}
    assert (old.folder / "state.sqlite3.v1").read_bytes()
    assert old.table("PRAGMA user_version") == [(len(STEPS),)]
    assert old.run().requests == 0


def test_members_of_an_old_state_still_leave(old: World) -> None:
    """Membership is taken over as well."""
    del old.rows[0]
    assert old.run().left_segment == 1


def test_whoever_comes_first_takes_it_over(old: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the sync is called; one with another segment field leaves it alone and starts its own."""
    other = World(old.folder, monkeypatch, WORKERS="1", SYNC_NAME="orders", SEGMENT_FIELD="ordered")
    other.rows, other.iterable = people(2), old.iterable
    assert other.run().requests == 4
    old.environ["SYNC_NAME"] = "views"
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
    with RunLock(lock_path(old.settings.state_file)):
        assert old.run().exit_code == ExitCode.LOCKED
    assert old.table("PRAGMA user_version") == [(1,)]
    with (
        pytest.raises(LockedError),
        RunLock(lock_path(old.settings.state_file)),
        closing(State(old.settings.state_file, lambda: RunLock(lock_path(old.settings.state_file)))),
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
    """What was not recorded by then is in doubt, so owed."""
    with closing(State(path, give_up=lambda: True)) as state, closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="in use by another program"):
            sync_of(state)
