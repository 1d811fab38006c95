"""Standard output and error that are closed, full or gone change neither a run nor its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sync.console.screen import forgiving
from sync.run.exit_codes import ExitCode
from tests.harness import KEY, PROJECT, environment, write_env
from tests.sample_rows import person
from tests.stand_in.stand_in import StandIn

WAYS = {
    "all is open": "",
    "error closed": "2>&-",
    "output closed": ">&-",
    "all closed": "<&- >&- 2>&-",
    "output full": ">/dev/full",
    "error full": "2>/dev/full",
    "both full": ">/dev/full 2>&1",
    "nobody reads": "| true",
    "nobody reads either": "2>&1 | true",
}


@pytest.fixture(scope="module")
def iterable() -> Iterator[StandIn]:
    """An Iterable project."""
    with StandIn(api_key=KEY) as running:
        yield running


def ended(folder: Path, way: str, *flags: str) -> int:
    """The exit code of the program with its rows from a file, its output redirected as a shell would."""
    program = [sys.executable, "-m", "tests.program", str(folder / "rows.json"), "--env-file", str(folder / "env")]
    command = ["bash", "-c", f'"$0" "$@" {WAYS[way]}; exit ${{PIPESTATUS[0]}}', *program, *flags]
    environ = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, check=False).returncode


def written(folder: Path, iterable: StandIn, emails: Sequence[str]) -> None:
    """An installation with these users."""
    rows = [person(number, email=email) for number, email in enumerate(emails, 1)]
    (folder / "rows.json").write_text(json.dumps(rows, default=str))
    write_env(folder, environment(folder) | {"ITERABLE_API_BASE_URL": iterable.url})


@pytest.mark.parametrize("way", WAYS)
def test_a_run_ends_as_it_would(tmp_path: Path, iterable: StandIn, way: str) -> None:
    """A run with something to tell on both is done to its end, and its exit code is its own."""
    written(tmp_path, iterable, ["nobody"])

    assert ended(tmp_path, way, "--json") == ExitCode.INCOMPLETE
    assert "Run finished: exit_code=3 sync=default rows=1 " in (tmp_path / "run.log").read_text()


@pytest.mark.parametrize("way", ["error closed", "output full"])
def test_a_run_that_is_done_says_so(tmp_path: Path, iterable: StandIn, way: str) -> None:
    """Exit code 0 stays 0 when the summary is lost."""
    written(tmp_path, iterable, ["ada@example.com"])

    assert ended(tmp_path, way, "--json") == ExitCode.DONE


@pytest.mark.parametrize(
    ("way", "flags", "code"),
    [
        ("nobody reads either", ("--history",), ExitCode.DONE),
        ("both full", ("--history",), ExitCode.DONE),
        ("both full", ("--help",), ExitCode.DONE),
        ("error closed", ("--limit", "none"), ExitCode.USAGE),
        ("both full", ("--limit", "none"), ExitCode.USAGE),
        ("nobody reads either", ("--env-file", "nowhere.env"), ExitCode.USAGE),
    ],
)
def test_other_answers(tmp_path: Path, iterable: StandIn, way: str, flags: tuple[str, ...], code: int) -> None:
    """What is told about something else has the exit code of that, too."""
    written(tmp_path, iterable, ["ada@example.com"])

    assert ended(tmp_path, way, *flags) == code


def test_a_dry_run_that_is_lost(tmp_path: Path, iterable: StandIn) -> None:
    """A dry run's requests are what it is for: a full disk is an error; nobody who reads on is none."""
    written(tmp_path, iterable, ["ada@example.com"])

    assert ended(tmp_path, "output full", "--dry-run") == ExitCode.STOPPED
    for way in ("nobody reads", "output closed", "error closed", "error full"):
        assert ended(tmp_path, way, "--dry-run") == ExitCode.DONE, way


def test_closed_streams_lend_no_file_their_number(tmp_path: Path, iterable: StandIn) -> None:
    """With the streams closed, nothing that is printed lands in the state, the log or the CSV."""
    written(tmp_path, iterable, ["nobody"])

    assert ended(tmp_path, "all closed", "--json") == ExitCode.INCOMPLETE
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert not [name for name, data in files.items() if b'"run_id"' in data and not name.startswith("state")]
    assert not [name for name, data in files.items() if b"iterable sync: exit code" in data]


def test_letters_that_the_terminal_lacks(tmp_path: Path) -> None:
    """What the terminal's language cannot write is escaped, not an error."""
    with (tmp_path / "terminal").open("w", encoding="ascii") as terminal:
        print("Zoë 🌻", file=forgiving(terminal))

    assert (tmp_path / "terminal").read_bytes() == b"Zo\\xeb \\U0001f33b\n"
