"""How a run ends: what breaks it, and what cron and people are told."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from sync.run.lock import lock_path, run_lock
from sync.run.log import _clock
from sync.state.outbox import Outbox
from tests import faults as catalogue
from tests.faults import UNAVAILABLE as DOWN
from tests.harness import World, about, counts
from tests.sample_rows import address, people, person
from tests.stand_in.faults import Fault, scripted


def test_a_disk_that_is_full_for_the_csv(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CSV that cannot be written stops the run before anything is sent, and leaves no part of it."""
    world.rows = people(3)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sync.rows.export.CsvExport.write_all", full)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 0)
    assert "No space left on device" in str(summary.stopped_because)
    assert list(world.folder.glob("*.csv*")) == []
    assert world.table("SELECT COUNT(*) FROM pending") == [(0,)]


@pytest.mark.parametrize("when", ["claim", "record"])
def test_a_state_that_cannot_be_written_in_mid_run(world: World, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The run stops with exit 1 and says so, nobody sends on blind, counts add up; the next run does the rest."""
    world.environ["WORKERS"] = "4"
    world.rows = people(300)
    original = getattr(Outbox, when)
    calls = iter(range(100))

    def failing(box: Outbox, *arguments: Any) -> Any:
        if next(calls) == 2:
            box._db.execute("PRAGMA query_only=ON")
        return original(box, *arguments)

    monkeypatch.setattr(Outbox, when, failing)
    monkeypatch.setattr("sync.delivery.loop.RECORD_GROUP", 20)
    summary = world.run()
    sent = len(world.sent)

    assert summary.exit_code == ExitCode.STOPPED
    assert "may not be written" in str(summary.stopped_because)
    assert sent < 300
    assert sum(counts(summary)[0]) == sum(counts(summary)[1]) == 300
    monkeypatch.setattr(Outbox, when, original)
    assert world.run().exit_code == ExitCode.DONE
    assert len(world.events) == len(world.profiles) == 300


def test_columns_that_the_query_does_not_give(world: World) -> None:
    """Settings that name columns the query lacks: exit 2, every one of them named, nothing sent."""
    world.rows = people(1)
    world.environ["USER_FIELDS"] = "first_name,shoe_size,hat_size"
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.USAGE, 0)
    assert all(name in str(summary.stopped_because) for name in ("shoe_size", "hat_size"))


def test_a_bug_costs_the_run_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error in a worker stops the run with exit 1; the traceback is in the log, on one line."""
    world.rows = people(5)
    monkeypatch.setattr("sync.delivery.turn._arguments", lambda _: 1 / 0)
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.STOPPED, ((0, 0, 0, 5), (0, 0, 0, 5)))
    assert "ZeroDivisionError" in str(summary.stopped_because)
    assert all(re.match(r"\d{4}-\d\d-\d\d ", line) for line in world.log().splitlines())


def test_cron_hears_nothing_of_success(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0: not a byte on either stream, even when a retry was needed."""
    world.rows = people(2)
    world.iterable.faults = scripted([DOWN])

    assert world.main() == ExitCode.DONE
    assert capsys.readouterr() == ("", "")
    assert "Retryable error 503 from users/update" in world.log()


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        pytest.param(catalogue.BAD_API_KEY, 1, ("refused the credentials", "still pending"), id="stopped"),
        pytest.param(catalogue.FORGOTTEN, 3, ("newly rejected", "--retry-rejected"), id="rejected"),
        pytest.param(DOWN, 3, ("which the next run sends", "run again"), id="failed"),
    ],
)
def test_cron_hears_two_or_three_lines(
    world: World, capsys: pytest.CaptureFixture[str], fault: Fault, code: int, words: tuple[str, ...]
) -> None:
    """Otherwise: two or three lines on standard error, with what, why and the next step."""
    world.rows = people(2)
    world.iterable.faults = about(address(1), fault)

    assert world.main() == code
    told = capsys.readouterr()
    assert told.out == ""
    assert 2 <= len(told.err.splitlines()) <= 3
    assert f"exit code {code}" in told.err
    assert all(word in told.err for word in words)


KEYS = (
    *("run_id", "sync", "exit_code", "seconds", "rows", "users", "events", "left_segment", "moved"),
    *("second_name_missing", "merged_rows", "requests"),
    *("retries", "retry_configuration", "auth", "csv", "stopped_because", "held_back"),
)


def test_json(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """--json: one object with exactly these keys, nothing else on standard output."""
    world.rows = [*people(2), person(3, email="nobody")]
    world.iterable.faults = scripted([DOWN])
    assert world.main("--json") == ExitCode.INCOMPLETE
    told = json.loads(capsys.readouterr().out)

    assert tuple(told) == KEYS
    assert told["users"] == told["events"] == {"delivered": 2, "unchanged": 0, "rejected": 1, "failed": 0}
    assert (told["rows"], told["requests"], told["retries"], told["auth"]) == (3, 5, {"503": 1}, "api_key")
    assert (told["exit_code"], told["stopped_because"], told["left_segment"]) == (3, None, 0)
    assert told["retry_configuration"]["max_retries"] == 3
    assert Path(told["csv"]).exists()


def test_json_of_a_run_that_was_stopped(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A stopped run says why in the same object."""
    world.rows = people(1)
    world.breaks_after = 0
    assert world.main("--json") == ExitCode.STOPPED
    told = json.loads(capsys.readouterr().out)

    assert tuple(told) == KEYS
    assert "lost" in told["stopped_because"]
    assert (told["csv"], told["rows"]) == (None, 0)


def test_history(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """--history N: the last N runs, newest first, with start, seconds, rows, outcomes and exit code."""
    world.rows = people(2)
    world.main()
    world.rows = people(3)
    world.main()
    capsys.readouterr()

    assert world.main("--history", "2") == ExitCode.DONE
    header, newest, oldest, note = capsys.readouterr().out.splitlines()
    columns = ("start", "run", "sync", "seconds", "rows", "delivered", "unchanged", "rejected", "failed", "exit code")
    assert all(name in header for name in columns)
    assert newest.split()[5:] == ["3", "1+1", "2+2", "0+0", "0+0", "0"]
    assert oldest.split()[5:] == ["2", "2+2", "0+0", "0+0", "0+0", "0"]
    assert "users+events" in note
    assert world.main("--history", "1") == ExitCode.DONE
    assert len(capsys.readouterr().out.splitlines()) == 3


def change_zone() -> None:
    """Take over TZ; what the log made of this second in another zone is forgotten."""
    time.tzset()
    _clock.cache_clear()


@pytest.mark.parametrize(("zone", "offset"), [("America/New_York", "-0[45]:00"), ("Asia/Kolkata", r"\+05:30")])
def test_history_and_log_have_one_clock(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], zone: str, offset: str
) -> None:
    """Log, history and the CSV's name tell one time, the machine's, whose offset is in the log's first line."""
    world.rows = [person(1), person(2, email="nobody")]
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        change_zone()
        assert world.main() == ExitCode.INCOMPLETE
        capsys.readouterr()
        world.main("--history")
        now = time.strftime("%Y-%m-%d %H:%M")
    change_zone()
    first, *_, last = world.log().splitlines()
    run_id = last.rpartition("run=")[2]
    line = capsys.readouterr().out.splitlines()[1]
    (csv,) = world.folder.glob("query_results_*.csv")

    assert re.search(rf" sync=default utc_offset={offset} run={run_id}$", first)
    assert line.split()[2] == run_id and "  3  newly rejected: 1 users, 1 events" in line
    moments = [
        datetime.strptime(text, form)
        for text, form in (
            (first[:19], "%Y-%m-%d %H:%M:%S"),
            (line[:19], "%Y-%m-%d %H:%M:%S"),
            (csv.stem[-15:], "%Y%m%d_%H%M%S"),
            (run_id[:15], "%Y%m%d-%H%M%S"),
            (now, "%Y-%m-%d %H:%M"),
        )
    ]
    assert max(moments) - min(moments) < timedelta(minutes=5)


def test_history_before_the_first_run(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a state there is no history, and looking for it makes none."""
    assert world.main("--history") == ExitCode.DONE
    assert "no run is on record" in capsys.readouterr().out
    assert not world.settings.state_file.exists()


def test_first_and_last_line_of_the_log(world: World) -> None:
    """The first line of a run names both ends, the last counts and gives the exit code, also when the run fails."""
    world.rows = people(2)
    first = world.run()
    world.breaks_after = 0
    second = world.run()

    for summary in (first, second):
        lines = [line for line in world.log().splitlines() if line.endswith(f"run={summary.run_id}")]
        assert "from memory://rows to https://api.iterable.com" in lines[0] and " sync=default " in lines[0]
        assert f"exit_code={int(summary.exit_code)} sync=default rows={summary.rows} users_delivered=" in lines[-1]
    assert "stopped_because=" in lines[-1]


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_every_run_has_its_first_and_its_last_line(world: World, level: str) -> None:
    """Whatever LOG_LEVEL says, a good run, a failed one and one that met a lock have both, in the format of the log."""
    world.rows = people(1)
    world.environ["LOG_LEVEL"] = level
    assert world.main() == ExitCode.DONE
    world.breaks_after = 0
    assert world.main() == ExitCode.STOPPED
    with run_lock(lock_path(world.settings.state_file)):
        assert world.main() == ExitCode.LOCKED
    runs: dict[str, list[str]] = {}
    for line in world.log().splitlines():
        runs.setdefault(line.rpartition("run=")[2], []).append(line)

    assert len(runs) == 3
    for (first, *rest, last), code in zip(runs.values(), (0, 1, 4), strict=True):
        assert " - main - INFO - Run started: from mysql://app@localhost:3306/shop to https://" in first
        assert f" - main - {'ERROR' if code else 'INFO'} - Run finished: exit_code={code} " in last
        assert level in ("DEBUG", "INFO") or not any(" - INFO - " in line for line in rest)


def test_a_clock_that_jumps_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs whose clock went back a year see what was delivered, and deliver what is new."""
    world.rows = people(3)
    world.run()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 366 * 86_400)
    world.rows = people(4)

    assert world.run().requests == 2
