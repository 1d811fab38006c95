"""Files that are reached by a symbolic link, as deployments make them for what all releases share."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from sync.run.lock import RunLock, lock_path
from tests.harness import World, people


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
    with RunLock(lock_path(linked.folder / "shared" / "state.sqlite3")):
        assert linked.run().exit_code == ExitCode.LOCKED
    with RunLock(lock_path(linked.folder / "release" / "state.sqlite3")):
        linked.environ["STATE_FILE"] = str(linked.folder / "shared" / "state.sqlite3")
        assert linked.run().exit_code == ExitCode.LOCKED
    assert linked.run().exit_code == ExitCode.DONE


def test_everything_lies_beside_the_file(linked: World) -> None:
    """The link's folder gets nothing, may be read-only, and the state is private as ever."""
    assert linked.run().exit_code == ExitCode.DONE
    assert [path.name for path in (linked.folder / "release").iterdir()] == ["state.sqlite3"]
    assert (linked.folder / "release" / "state.sqlite3").is_symlink()
    assert stat.S_IMODE((linked.folder / "shared" / "state.sqlite3").stat().st_mode) == 0o600
