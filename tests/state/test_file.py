"""The state file: who may read it, copies of it, its schema, and the runs on record."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sync.state import file as state_module
from sync.state.file import State, StateCopy, StateError, read_history
from sync.state.schema import VERSION, bring_up_to_date
from tests.harness import KEY, PROJECT, World, counts, sync_of
from tests.process import without_privilege

URL = "https://api.iterable.com"


SECRET = "3f2e1d0c9b8a79685746352413021100"


OLD = Path(__file__).with_name("made_by_1_0_0.sqlite3")


def listing(folder: Path) -> dict[str, bytes]:
    """Every file with its content; SQLite's index of the log is of no account."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")}


def process(path: Path, program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """What a process of its own, for which file modes count, does with the state at *path*."""
    modules = "import os, sys; from pathlib import Path; from sync.state.file import *; path = Path(sys.argv[1])\n"
    return subprocess.run(
        [sys.executable, "-uc", modules + program, str(path)],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        preexec_fn=without_privilege,
        check=False,
    )


def test_only_the_owner_may_read_it(path: Path) -> None:
    """The state holds addresses: it and SQLite's files beside it have mode 0600, whatever the umask says."""
    before = os.umask(0)
    try:
        with closing(State(path)) as state:
            state.begin_run("one", "2026-01-06 12:00:00")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert modes == dict.fromkeys(("state.sqlite3", "state.sqlite3-wal", "state.sqlite3-shm"), 0o600)


def test_every_commit_reaches_the_disk(path: Path) -> None:
    """A power loss must not bring back what the state had forgotten: WAL with synchronous=FULL."""
    with closing(State(path)) as state:
        assert state.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert state.db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_what_a_run_collects_lies_in_files(path: Path) -> None:
    """SQLite's temporary tables hold the whole result, which may be larger than the memory."""
    with closing(State(path)) as state:
        assert state.db.execute("PRAGMA temp_store").fetchone() == (1,)


def test_looking_changes_nothing(path: Path) -> None:
    """Opened for looking, a state that is not there is empty and is not made."""
    assert read_history(path, 10) == []
    with closing(StateCopy(path)) as copy:
        assert copy.history(10) == []

    assert list(path.parent.iterdir()) == []


def test_a_copy_takes_every_change(path: Path) -> None:
    """Whatever is done to a copy, with the ordinary code, the folder stays as it was, byte for byte."""
    with closing(State(path)) as state:
        number = sync_of(state)
        state.begin_run("one", "2026-01-06 12:00:00")
    before = listing(path.parent)
    with closing(StateCopy(path)) as copy:
        assert sync_of(copy) == number
        copy.begin_run("two", "2026-01-06 12:00:00")
        assert [run.id for run in copy.history(9)] == ["two", "one"]
        assert listing(path.parent) == before

    assert listing(path.parent) == before
    assert [run.id for run in read_history(path, 9)] == ["one"]
    assert listing(path.parent) == before


def test_a_copy_of_a_state_that_is_being_written(path: Path) -> None:
    """It holds what was committed up to then; the writer is neither waited for nor disturbed."""
    with closing(State(path)) as state, closing(sqlite3.connect(path, isolation_level=None)) as writer:
        state.begin_run("one", "2026-01-06 12:00:00")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO run (id, started) VALUES ('two', 'now')")
        with closing(StateCopy(path)) as copy:
            copy.begin_run("other", "2026-01-06 12:00:00")
            assert [run.id for run in copy.history(9)] == ["other", "one"]
        assert [run.id for run in read_history(path, 9)] == ["one"]
        writer.execute("COMMIT")

        assert [run.id for run in state.history(9)] == ["two", "one"]


@pytest.mark.parametrize(("folder", "file"), [(0o755, 0o600), (0o555, 0o444)])
def test_a_state_whose_run_was_killed(path: Path, folder: int, file: int) -> None:
    """What is in SQLite's log beside the file is seen, and neither the file nor the log is changed."""
    run = "State(path).begin_run('killed', '2026-01-06 12:00:00'); os._exit(9)"
    assert process(path, run).returncode == 9
    before = listing(path.parent)
    assert set(before) == {"state.sqlite3", "state.sqlite3-wal"}
    for each in path.parent.iterdir():
        each.chmod(file)
    path.parent.chmod(folder)
    try:
        looked = process(path, "print([run.id for run in StateCopy(path).history(9) + read_history(path, 9)])")
    finally:
        path.parent.chmod(0o755)

    assert looked.stdout == "['killed', 'killed']\n", looked.stderr
    assert listing(path.parent) == before


def test_a_copy_lies_in_a_file_without_a_name(path: Path) -> None:
    """A copy takes no memory for what it holds, and nothing of it is left when the process is killed."""
    with closing(State(path)) as state, state.transaction():
        state.db.execute("INSERT INTO run (id, started) VALUES (?, 'now')", ("x" * 30_000_000,))
    temporary = path.parent / "temporary"
    temporary.mkdir()
    look = (
        "copy = StateCopy(path)\n"
        "for name in os.listdir('/proc/self/fd'):\n"
        "    if '/temporary/' in os.path.realpath(f'/proc/self/fd/{name}'):\n"
        "        found = os.stat(int(name)); print(oct(found.st_mode & 0o777), found.st_nlink, found.st_size)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = process(path, look, TMPDIR=str(temporary))
    mode, names, size = done.stdout.split()
    assert (mode, names) == ("0o600", "0"), done.stderr
    assert int(size) > 30_000_000
    assert list(temporary.iterdir()) == []


def test_a_state_of_1_0_0_is_brought_up_to_date(path: Path) -> None:
    """It has the tables of a new one afterwards, letter for letter."""
    State(path).close()
    with closing(sqlite3.connect(path)) as new:
        wanted = new.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    path.write_bytes(OLD.read_bytes())

    with closing(State(path)) as state:
        assert state.db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert state.db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall() == wanted


def test_the_copy_is_nobody_elses(path: Path) -> None:
    """It holds addresses as well."""
    path.write_bytes(OLD.read_bytes())
    before = os.umask(0)
    try:
        State(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.with_name("state.sqlite3.v1").stat().st_mode) == 0o600


def test_another_process_may_have_made_the_tables(path: Path) -> None:
    """They are made once, and what is in them stays."""
    with closing(State(path)) as state:
        state.begin_run("one", "2026-01-06 12:00:00")
        with state.transaction():
            bring_up_to_date(state.db)
        assert [run.id for run in state.history(9)] == ["one"]


def test_a_mistake_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what another process holds may be free later."""
    with closing(State(path)) as state:
        monkeypatch.setattr("sync.state.file.time.sleep", lambda _: pytest.fail("it was waited for"))
        with pytest.raises(sqlite3.OperationalError, match="syntax error"):
            state._patiently("BEGIN SOON")


def test_a_copy_that_is_there_stays(path: Path) -> None:
    """It is of the state of 1.0.0, however often that is brought up to date."""
    path.write_bytes(OLD.read_bytes())
    copy = path.with_name("state.sqlite3.v1")
    copy.write_bytes(b"the first")

    State(path).close()
    assert copy.read_bytes() == b"the first"


def test_a_copy_is_there_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that ends before the copy is whole leaves the state as it was, and none beside it."""
    path.write_bytes(OLD.read_bytes())

    def ended(*_: object) -> None:
        raise Signal

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", ended)
        with pytest.raises(Signal):
            State(path)
    assert not path.with_name("state.sqlite3.v1").exists()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    State(path).close()
    assert path.with_name("state.sqlite3.v1").exists()


class Signal(BaseException):
    """Stands for what a signal handler raises, at any instruction."""


def test_all_or_nothing(path: Path) -> None:
    """What a block did before a signal ended it is undone, and the state can be used on."""
    with closing(State(path)) as state:
        with pytest.raises(Signal), state.transaction():
            state.db.execute("INSERT INTO run (id, started) VALUES ('lost', 'now')")
            raise Signal

        state.begin_run("kept", "2026-01-06 12:00:00")
        assert [run.id for run in state.history(10)] == ["kept"]


def test_a_commit_that_fails_is_undone(path: Path) -> None:
    """A commit that SQLite refuses leaves no open transaction behind."""
    with closing(State(path)) as state:
        state.db.execute("CREATE TEMP TABLE parent (id INTEGER PRIMARY KEY)")
        state.db.execute("PRAGMA foreign_keys=ON")
        state.db.execute("CREATE TEMP TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(StateError), state.transaction():
            state.db.execute("INSERT INTO child VALUES (1)")

        state.begin_run("kept", "2026-01-06 12:00:00")


def test_history_is_newest_first(path: Path) -> None:
    """The runs in reverse order, each with its summary; one that did not come to its end has none."""
    with closing(State(path)) as state:
        for name in ("first", "killed", "third"):
            state.begin_run(name, f"2026-01-06 12:00:00 {name}")
            if name != "killed":
                state.end_run(name, {"rows": len(name)})

        assert [(run.id, run.summary) for run in state.history(2)] == [("third", {"rows": 5}), ("killed", None)]
        assert len(state.history(10)) == 3


def test_old_runs_are_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history has a bound."""
    monkeypatch.setattr(state_module, "RUNS_KEPT", 3)
    with closing(State(path)) as state:
        for number in range(6):
            state.begin_run(str(number), "2026-01-06 12:00:00")

        assert [run.id for run in state.history(10)] == ["5", "4", "3"]


def _with_room(path: Path, *, left: int) -> tuple[int, int, list[str]]:
    """Let 6,000 payloads of half a page each be delivered, all but `left`: pages before and after, and what is left."""
    with closing(State(path)) as state:
        with state.transaction():
            state.db.executemany(
                "INSERT INTO pending (place, sync, state, person, key, inside, since, body) "
                "VALUES (?, 9, 0, ?, '', 1, 0, ?)",
                ((100 + number, f"user{number}", "x" * 2000) for number in range(6000)),
            )
        before = state.db.execute("PRAGMA page_count").fetchone()[0]
        with state.transaction():
            state.db.execute("DELETE FROM pending WHERE place >= ?", (100 + left,))
        state.give_back_space()
        after = state.db.execute("PRAGMA page_count").fetchone()[0]
        return before, after, [who for (who,) in state.db.execute("SELECT person FROM pending WHERE sync = 9")]


def test_space_of_what_was_delivered_is_given_back(path: Path) -> None:
    """The backlog of a large run does not stay in the file for ever, and nothing else is lost with it."""
    before, after, kept = _with_room(path, left=3)

    assert after < before / 10
    assert kept == ["user0", "user1", "user2"]
    assert path.stat().st_size < 4096 * before / 10


def test_space_for_the_next_run_is_kept(path: Path) -> None:
    """Less than half of the file, however much that is, waits for the next deliveries."""
    before, after, kept = _with_room(path, left=3600)

    assert after == before
    assert len(kept) == 3600


def test_space_is_given_back_by_a_file_that_did_it_page_by_page(path: Path) -> None:
    """1.0.0 made files that keep a map of their pages for that; it goes as well."""
    path.write_bytes(OLD.read_bytes())
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    before, after, kept = _with_room(path, left=3)

    assert (after < before / 10, kept) == (True, ["user0", "user1", "user2"])
    with closing(State(path)) as state:
        assert state.db.execute("PRAGMA auto_vacuum").fetchone() == (0,)
        assert state.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_state_knows_a_destination_s_own_deliveries(world: World) -> None:
    """Another project has nothing yet: everything is sent there, and the first project's state stays."""
    world.run()
    world.environ["ITERABLE_API_KEY"] = "another-key"
    world.iterable.project.rules.api_key = "another-key"
    assert world.run(new_project=True).requests == 6

    world.environ["ITERABLE_API_KEY"] = world.iterable.project.rules.api_key = KEY
    assert counts(world.run()) == ((0, 3, 0, 0), (0, 3, 0, 0))
