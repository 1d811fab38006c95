"""The command line: what it takes, what it refuses, and what it means."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from sync.console.options import EPILOG, VERSION, parse_options
from sync.run.connections import window_start
from sync.run.exit_codes import ExitCode


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        pytest.param(["--check", "--dry-run"], "--dry-run cannot be used with --check", id="two-modes"),
        pytest.param(["--demo", "--history"], "--history cannot be used with --demo", id="two-modes-with-value"),
        pytest.param(["--demo", "--check", "--history", "3"], "--check cannot be used with --demo", id="three-modes"),
        pytest.param(["--json", "--check"], "--json cannot be used with --check", id="json-check"),
        pytest.param(["--json", "--dry-run"], "--json cannot be used with --dry-run", id="json-dry-run"),
        pytest.param(["--json", "--history"], "--json cannot be used with --history", id="json-history"),
        pytest.param(["--json", "--verify"], "--json cannot be used with --verify", id="json-verify"),
        pytest.param(
            ["--same-project", "--new-project"], "--same-project cannot be used with --new-project", id="both"
        ),
        pytest.param(
            ["--full", "--retry-rejected"], "--retry-rejected cannot be used with --full", id="full-of-rejected"
        ),
        pytest.param(
            ["--allow-mass-exit", "--limit", "5"], "--allow-mass-exit cannot be used with --limit", id="exit-limit"
        ),
        pytest.param(
            ["--since", "7d", "--allow-mass-exit"], "--allow-mass-exit cannot be used with --since", id="exit-since"
        ),
        pytest.param(["--dry-run", "--full", "--retry-rejected"], "cannot be used with --full", id="in-a-preview-too"),
        pytest.param(["--demo", "--env-file", "x"], "--env-file cannot be used with --demo", id="demo-with-settings"),
        pytest.param(["--limit", "0"], "whole number from 1", id="limit-0"),
        pytest.param(["--limit", "-1"], "whole number from 1", id="limit-negative"),
        pytest.param(["--limit", "1e3"], "whole number from 1", id="limit-float"),
        pytest.param(["--limit", "1_000"], "whole number from 1", id="limit-underscore"),
        pytest.param(["--limit", "٣"], "whole number from 1", id="limit-arabic"),
        pytest.param(["--limit", "9" * 30], "whole number from 1", id="limit-huge"),
        pytest.param(["--limit", "9" * 5000], "whole number from 1", id="limit-endless"),
        pytest.param(["--limit"], "expected one argument", id="limit-of-nothing"),
        pytest.param(["--history", "0"], "whole number from 1", id="history-0"),
        pytest.param(["--since", "yesterday"], "such as 2026-01-06", id="since-word"),
        pytest.param(["--since", "2026-02-31"], "such as 2026-01-06", id="since-no-day"),
        pytest.param(["--since", "7w"], "such as 2026-01-06", id="since-weeks"),
        pytest.param(["--since", "-7d"], "--since", id="since-negative"),
        pytest.param(["--since", "1.5d"], "such as 2026-01-06", id="since-fraction"),
        pytest.param(["--since", ""], "such as 2026-01-06", id="since-empty"),
        pytest.param(["--since", "0001-01-01"], "such as 2026-01-06", id="since-before-time"),
        pytest.param(["--since", "9999-12-31"], "such as 2026-01-06", id="since-after-time"),
        pytest.param(["--sinc", "7d"], "unrecognized", id="no-abbreviations"),
        pytest.param(["query.sql"], "unrecognized", id="no-positionals"),
    ],
)
def test_wrong_usage(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage ends with exit code 2 and says on standard error what is wrong."""
    with pytest.raises(SystemExit) as caught:
        parse_options(argv)
    assert caught.value.code == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err


def test_no_options() -> None:
    """Without options it is one plain run: nothing is switched on."""
    assert not any(vars(parse_options([])).values())


ONLY_RUNS = ("--new-event-ids", "--same-project", "--new-project")
SENDING = (*ONLY_RUNS, "--full", "--retry-rejected", "--allow-mass-exit", "--csv x")
IGNORED = {
    "--demo": ONLY_RUNS,
    "--check": (*SENDING, "--limit 5"),
    "--dry-run": ("--csv x",),
    "--history": (*SENDING, "--limit 5", "--since 7d", "--bulk"),
    "--verify": SENDING,
}
HEEDED = (*SENDING, "--limit 5", "--since 7d", "--bulk")


@pytest.mark.parametrize("mode", ["", *IGNORED])
@pytest.mark.parametrize("flag", HEEDED)
def test_modes(mode: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A run and each mode go with the flags that they heed, and refuse those that they would ignore, by name."""
    argv = [*mode.split(), *flag.split()]
    if flag not in IGNORED.get(mode, ()):
        assert getattr(parse_options(argv), flag.split()[0][2:].replace("-", "_"))
        return
    with pytest.raises(SystemExit) as caught:
        parse_options(argv)
    assert caught.value.code == ExitCode.USAGE
    assert f"{flag.split()[0]} cannot be used with {mode}" in capsys.readouterr().err


def test_json_goes_with_a_run() -> None:
    """--json is for runs, the demo's too."""
    assert parse_options(["--json"]).json
    assert parse_options(["--json", "--demo"]).json


def test_history_without_a_number() -> None:
    """--history alone shows ten runs."""
    assert parse_options(["--history"]).history == 10
    assert parse_options(["--history", "3"]).history == 3


def test_paths() -> None:
    """Paths are kept as they were typed: they count from the current directory, not from main.py's folder."""
    options = parse_options(["--csv", "out/x.csv", "--env-file", "my.env"])
    assert (options.csv, options.env_file) == (Path("out/x.csv"), Path("my.env"))


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("7d", timedelta(days=7)),
        ("36h", timedelta(hours=36)),
        ("90m", timedelta(minutes=90)),
        ("99999d", timedelta(days=99999)),
        ("2026-01-06", datetime(2026, 1, 6)),
        ("2026-01-06T14:31", datetime(2026, 1, 6, 14, 31)),
        ("2026-01-06 14:31:22+01:00", datetime(2026, 1, 6, 13, 31, 22, tzinfo=UTC)),
        ("1000-01-01", datetime(1000, 1, 1)),
        ("9998-12-31", datetime(9998, 12, 31)),
    ],
)
def test_since(text: str, since: object) -> None:
    """--since takes a day, a moment, or a length in days, hours or minutes; each has a window in every zone."""
    parsed = parse_options(["--since", text]).since
    assert parsed == since
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        assert parsed is not None
        assert window_start(parsed, ZoneInfo(zone), datetime.now(UTC)).astimezone(ZoneInfo(zone))


def test_window() -> None:
    """A day begins in DB_TIMEZONE, a moment with a zone is itself, a length counts back from now."""
    now, berlin = datetime(2026, 7, 10, 12, tzinfo=UTC), ZoneInfo("Europe/Berlin")
    assert window_start(timedelta(days=7), berlin, now) == datetime(2026, 7, 3, 12, tzinfo=UTC)
    assert window_start(datetime(2026, 7, 6), berlin, now) == datetime(2026, 7, 5, 22, tzinfo=UTC)
    assert window_start(datetime(2026, 7, 6), UTC, now) == datetime(2026, 7, 6, tzinfo=UTC)
    aware = datetime(2026, 7, 6, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert window_start(aware, berlin, now) == datetime(2026, 7, 5, 15, tzinfo=UTC)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version and exits 0."""
    with pytest.raises(SystemExit) as caught:
        parse_options(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"main.py {VERSION}\n"


def test_help_tells_the_exit_codes() -> None:
    """The last line of --help names every exit code."""
    assert set(map(int, re.findall(r"\d+", EPILOG))) == set(ExitCode)
