"""What libraries warn of is not on standard error, which cron mails; during a run it is in the log."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from tests.harness import PROJECT, World, write_env
from tests.sample_rows import people
from tests.stand_in.answers import Request

ODD_CHARDET = "__version__ = '99.0'\ndef detect(text): return {}\n"
"""A version that `requests`, when it is loaded, finds too new for itself, and warns of."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation whose database is away, with three users in its rows."""
    world = World(tmp_path, monkeypatch, DB_PORT="1", DB_HOST="127.0.0.1")
    world.rows = people(3)
    return world


def test_a_library_that_warns_when_it_is_loaded(world: World) -> None:
    """Cron hears what became of the run and nothing else."""
    (world.folder / "chardet.py").write_text(ODD_CHARDET)
    command = [sys.executable, str(PROJECT / "main.py"), "--env-file", str(write_env(world.folder, world.environ))]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(world.folder)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == ExitCode.STOPPED
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["iterable sync", "why", "next"]


@pytest.mark.usefixtures("heard")
def test_a_library_that_warns_in_mid_run(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes during the run is one line of the log, before its last line; the run ends as it would."""

    def warning(_request: Request) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old\nways", DeprecationWarning, stacklevel=1)

    world.iterable.faults = warning
    assert world.main() == ExitCode.DONE
    assert capsys.readouterr().err == ""
    told = [line for line in world.log().splitlines()[:-1] if r"DeprecationWarning: old\nways" in line]
    assert len(told) == 6 and all(" - py.warnings - WARNING - " in line and " run=" in line for line in told)
