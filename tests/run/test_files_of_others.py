"""Files that another user owns, folders that may not be written, file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from sync.run.lock import lock_path
from sync.run.log import LineFormatter, start_logging, stop_logging
from tests.harness import World
from tests.sample_rows import people


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation with three users, whose log has a folder of its own."""
    (tmp_path / "logs").mkdir()
    world = World(tmp_path, monkeypatch, LOG_FILE=str(tmp_path / "logs" / "run.log"), WORKERS="1")
    world.rows = people(3)
    return world


def test_a_log_in_a_folder_that_may_not_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows beyond the size at which it is rotated, and is written on: no run is lost by it."""

    def refuse(source: str, target: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", source, None, target)

    world.run()
    monkeypatch.setattr("sync.run.log.ROTATE_OVER", 10)
    monkeypatch.setattr(os, "rename", refuse)
    summary = world.run()

    assert summary.exit_code == ExitCode.DONE
    first, *_ = [line for line in world.log().splitlines() if line.endswith(f"run={summary.run_id}")]
    assert "Run started" in first
    assert world.log().count("Run started") == world.log().count("Run finished") == 2


def test_a_log_that_is_rotated_from_outside(tmp_path: Path) -> None:
    """Whoever renames the log while a run begins has rotated it: the run writes on into the file that it opened."""
    file = start_logging(tmp_path / "log", "INFO", LineFormatter("r1"))
    try:
        (tmp_path / "log").rename(tmp_path / "log-20260113")
        file.rotate_when_large()
        logging.getLogger("main").info("goes on")
        assert file.failure == ""
    finally:
        stop_logging()

    assert "goes on" in (tmp_path / "log-20260113").read_text()


def test_a_lock_of_another_user(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first run as root leaves files that the cron job may not write: the remedy is their owner."""
    lock, opened = lock_path(world.settings.state_file), os.open

    def refuse(path: Any, *how: Any, **more: Any) -> int:
        if path == lock:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *how, **more)

    monkeypatch.setattr(os, "open", refuse)
    summary = world.run()

    assert summary.exit_code == ExitCode.STOPPED
    assert summary.stopped_because == (
        f"{lock}: Permission denied; check the disk, the path, and the owner and mode of the file and its folder"
    )


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(world: World, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Two runs could not be kept apart, so there is none, and the file is named; the log is written."""

    def refused(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    summary = world.run()

    assert summary.exit_code == ExitCode.STOPPED
    assert f"{lock_path(world.settings.state_file)}: {os.strerror(number)}; " in str(summary.stopped_because)
    assert "Run finished" in world.log()
