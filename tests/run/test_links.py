"""Files that are reached by a symbolic link, as deployments make them for what all releases share."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from sync.run.lock import lock_path, run_lock
from tests.harness import World
from tests.sample_rows import people


@pytest.fixture
def linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation whose state is `release/state.sqlite3`, a link to `shared/state.sqlite3`."""
    for name in ("shared", "release"):
        (tmp_path / name).mkdir()
    link = tmp_path / "release" / "state.sqlite3"
    link.symlink_to(tmp_path / "shared" / "state.sqlite3")
    world = World(tmp_path, monkeypatch, STATE_FILE=str(link))
    world.rows = people(3)
    return world


def test_one_lock_whatever_the_way(linked: World) -> None:
    """A run by the link and a run by the file itself are two runs of one sync: the second is refused."""
    with run_lock(lock_path(linked.folder / "shared" / "state.sqlite3")):
        assert linked.run().exit_code == ExitCode.LOCKED
    with run_lock(lock_path(linked.folder / "release" / "state.sqlite3")):
        linked.environ["STATE_FILE"] = str(linked.folder / "shared" / "state.sqlite3")
        assert linked.run().exit_code == ExitCode.LOCKED
    assert linked.run().exit_code == ExitCode.DONE


def test_everything_lies_beside_the_file(linked: World) -> None:
    """The link's folder gets nothing, may be read-only, and the state is private as ever."""
    assert linked.run().exit_code == ExitCode.DONE
    assert [path.name for path in (linked.folder / "release").iterdir()] == ["state.sqlite3"]
    assert (linked.folder / "release" / "state.sqlite3").is_symlink()
    assert stat.S_IMODE((linked.folder / "shared" / "state.sqlite3").stat().st_mode) == 0o600


# -- the log -------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation whose log is large, and is reached by the link `log`."""
    world = World(tmp_path, monkeypatch, LOG_FILE=str(tmp_path / "log"))
    (tmp_path / "shared.log").write_bytes(b"x" * 1000)
    monkeypatch.setattr("sync.run.log.ROTATE_OVER", 999)
    return world


def test_a_linked_log_is_rotated_and_the_link_stays(large: World) -> None:
    """The file at the end of the links gets a number, and the next line goes to a new one in its place."""
    link = large.folder / "log"
    (large.folder / "other").symlink_to("shared.log")
    link.symlink_to(large.folder / "other")
    assert large.run().exit_code == ExitCode.DONE

    assert link.is_symlink() and (large.folder / "other").is_symlink()
    assert (large.folder / "shared.log.1").read_bytes() == b"x" * 1000
    assert all(words in (large.folder / "shared.log").read_text() for words in ("Run started", "Run finished"))
    assert stat.S_IMODE((large.folder / "shared.log").stat().st_mode) == 0o600


def test_links_in_a_circle(large: World) -> None:
    """A log that leads nowhere is told, and nothing is done."""
    (large.folder / "log").symlink_to("other")
    (large.folder / "other").symlink_to("log")
    summary = large.run()
    assert summary.exit_code == ExitCode.STOPPED
    assert f"{large.folder / 'log'}: Too many levels of symbolic links" in str(summary.stopped_because)
