"""One run at a time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sync.run.lock import LockedError, run_lock

HOLDER = """
import sys
from pathlib import Path
from sync.run.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_run_is_refused(tmp_path: Path) -> None:
    """While one run holds the lock another is refused at once, and told which process since when."""
    path = tmp_path / "state.lock"
    with run_lock(path):
        with pytest.raises(LockedError, match=rf"pid {os.getpid()}, started 2\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d"):
            run_lock(path).__enter__()
        with pytest.raises(LockedError):
            run_lock(path).__enter__()
    with run_lock(path):
        assert path.exists()


def test_lock_dies_with_its_process(tmp_path: Path) -> None:
    """A run that was killed leaves no lock behind, whatever its file still says."""
    path = tmp_path / "state.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    home = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"pid {holder.pid}"):
            run_lock(path).__enter__()
        holder.kill()
    assert str(holder.pid) in path.read_text()
    with run_lock(path):
        assert f"pid {os.getpid()}," in path.read_text()


def test_refused_attempt_leaves_nothing_open(tmp_path: Path) -> None:
    """A refused attempt keeps no file open."""
    path = tmp_path / "state.lock"
    with run_lock(path):
        before = len(list(Path("/dev/fd").iterdir()))
        with pytest.raises(LockedError):
            run_lock(path).__enter__()
        after = len(list(Path("/dev/fd").iterdir()))
    assert before == after


def test_write_that_fails_gives_the_lock_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk raises, and the next attempt finds the lock free."""

    def full(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    path = tmp_path / "state.lock"
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", full)
        with pytest.raises(OSError, match="No space"):
            run_lock(path).__enter__()
    with run_lock(path):
        pass


def test_file_is_private(tmp_path: Path) -> None:
    """The file is its owner's alone, and stays: removing it would let two runs lock two files of one name."""
    path = tmp_path / "state.lock"
    before = os.umask(0)
    try:
        with run_lock(path):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
