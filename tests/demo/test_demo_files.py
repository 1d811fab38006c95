"""What a demo leaves, and what it removes of the one before."""

from __future__ import annotations

from pathlib import Path

import pytest

import main
from sync.demo import demonstration as demo
from sync.run.exit_codes import ExitCode
from sync.run.lock import run_lock


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's folder."""
    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "demo_output")
    return tmp_path / "demo_output"


def test_state_goes_and_lock_stays(output: Path) -> None:
    """The second demo starts afresh, under the same lock file: two processes never lock two files of one name."""
    assert main.main(["--demo", "--json"]) == ExitCode.DONE
    lock = output / "demo_state.sqlite3.lock"
    before = lock.stat().st_ino

    assert main.main(["--demo", "--json"]) == ExitCode.DONE
    assert lock.stat().st_ino == before


def test_demo_beside_a_demo(output: Path) -> None:
    """While another demo runs, its state is left alone, and the second one ends as a locked run does."""
    output.mkdir()
    state = output / "demo_state.sqlite3"
    with run_lock(output / "demo_state.sqlite3.lock"):
        state.write_bytes(b"in use")

        assert main.main(["--demo", "--json"]) == ExitCode.LOCKED
        assert state.read_bytes() == b"in use"
