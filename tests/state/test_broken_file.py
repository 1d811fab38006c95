"""State files that cannot be used: each is one sentence with what to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from sync.state.file import State, StateCopy, StateError, read_history
from sync.state.schema import VERSION
from tests.harness import World
from tests.sample_rows import people


@contextmanager
def somebody_else() -> Iterator[None]:
    """Root may do everything, so as root the block runs as nobody."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def refusal(path: Path, use: Callable[[Path], object] = State) -> str:
    """The sentence with which the state at *path* is refused."""
    with pytest.raises(StateError) as caught:
        use(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def history(path: Path) -> object:
    """The last runs, looked up as `--history` does."""
    return read_history(path, 10)


@pytest.mark.parametrize("version", [VERSION + 1, -1])
def test_another_schema_version(path: Path, version: int) -> None:
    """A state of a version yet to come is refused with both numbers and what to do; it is left alone."""
    State(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={version}")

    sentence = refusal(path)

    assert f"version {version} of" in sentence
    assert f"version {VERSION}" in sentence
    assert "move the file away" in sentence
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)


@pytest.mark.parametrize("has_copy", [True, False], ids=["beside its copy of 1.0.0's", "alone"])
def test_a_schema_that_was_never_released(path: Path, has_copy: bool) -> None:
    """It is refused and left alone, and the message says what to put in its place."""
    State(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={VERSION - 1}")
    if has_copy:
        path.with_name("state.sqlite3.v1").touch()

    sentence = refusal(path)
    assert f"never released (version {VERSION - 1} of" in sentence
    assert ("put state.sqlite3.v1" if has_copy else "restore a backup") in sentence
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION - 1,)


def test_another_program_s_database(path: Path) -> None:
    """An SQLite file of another program is refused and not touched."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE recipe (id)")
    before = path.read_bytes()

    assert "another program" in refusal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("use", [State, StateCopy, history])
def test_not_a_database(path: Path, use: Callable[[Path], object]) -> None:
    """A file that is not SQLite is refused and not touched."""
    path.write_text("email,name\n" * 100, encoding="utf-8")
    before = path.read_bytes()

    assert "is not an SQLite file; restore a backup and run once with --full" in refusal(path, use)
    assert path.read_bytes() == before


@pytest.mark.parametrize("part", [0.001, 0.05, 0.3, 0.6, 0.95])
def test_a_truncated_state(world: World, part: float) -> None:
    """A state that lost its end is damaged: exit 1 with what to do, nothing sent; never a traceback."""
    world.rows = people(100)
    world.run()
    path = world.settings.state_file
    os.truncate(path, int(path.stat().st_size * part))
    world.rows = people(101)

    summary = world.run()

    assert summary.exit_code == ExitCode.STOPPED
    assert "move the file away" in str(summary.stopped_because)
    assert world.sent == []
    assert "Traceback" not in world.log()


def test_an_empty_state_file_starts_anew(world: World) -> None:
    """A state of no bytes is a new one: everything is sent again, under the same event ids."""
    world.run()
    held = world.events
    world.settings.state_file.write_bytes(b"")

    summary = world.run()

    assert summary.exit_code == ExitCode.DONE
    assert summary.requests == 6
    assert [event["id"] for event in world.events] == [event["id"] for event in held]


def test_a_state_that_may_not_be_written(world: World) -> None:
    """A read-only state stops the run before anything is read or sent, exit 1 with the remedy."""
    world.run()
    path = world.settings.state_file
    world.folder.chmod(0o777)
    for file in world.folder.iterdir():
        file.chmod(0o666)
    path.chmod(0o444)
    world.rows = people(4)
    world.folder.parent.chmod(0o755)
    with somebody_else():
        sentence = refusal(path)

    assert "may not be read or written; check the owner and mode" in sentence


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A wrong path is told as such."""
    assert "check" in refusal(tmp_path / "nowhere" / "state.sqlite3")


def test_a_state_in_use_by_another_program(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the file locked is to be ended: the run does not go on without its state."""
    with closing(State(path)) as state, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        state.db.execute("PRAGMA busy_timeout=0")
        monkeypatch.setattr("sync.state.file.PATIENCE", 0.0)
        with pytest.raises(StateError, match="in use by another program"):
            state.begin_run("one", "2026-01-06 12:00:00")


def test_no_temporary_folder(path: Path) -> None:
    """A unit that may write its own folder alone cannot collect rows: it is the temporary folder that is missing."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_GETTEMPPATH"
    told = pytest.raises(StateError, match=r"needs a temporary folder .*: PrivateTmp=true")
    with closing(State(path)) as state, told, state.errors_explained():
        raise error


def test_a_full_disk(path: Path) -> None:
    """A disk that fills is said to be full; what was committed before stays, and nothing half of what was not."""
    with closing(State(path)) as state:
        state.begin_run("first", "2026-01-06 12:00:00")
        state.db.execute(f"PRAGMA max_page_count={state.db.execute('PRAGMA page_count').fetchone()[0]}")
        with pytest.raises(StateError, match="the disk is full \\(its own, or"), state.transaction():
            state.db.execute("INSERT INTO run (id, started) VALUES ('second', 'now')")
            state.db.execute("INSERT INTO run (id, started) VALUES ('third', ?)", ("x" * 100_000,))

        assert [run.id for run in state.history(10)] == ["first"]
        state.end_run("first", {"rows": 1})
        assert state.history(1)[0].summary == {"rows": 1}
