"""What a run tells: to scripts, to the log, to a person, to cron, and in the history."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sync.console import report
from sync.console.report import for_a_person, for_cron, history_table, next_step
from sync.run.exit_codes import ExitCode
from sync.run.summary import OUTCOMES, Summary
from sync.state.exchange import Counts
from sync.state.file import RunRecord

RULE = {"max_retries": 3, "initial_backoff": 1.0, "backoff_factor": 2.0, "request_timeout": 30.0}
DONE = Summary(
    "20260113-143122-a1b2",
    retry_configuration=RULE,
    seconds=12.3456,
    rows=1234,
    users=Counts(delivered=1000, unchanged=234),
    events=Counts(delivered=1200, unchanged=34),
    left_segment=5,
    moved=6,
    second_name_missing=7,
    requests=2210,
    retries={"timeout": 1, "503": 4},
    csv="query_results_20260113_143122.csv",
)
NOTHING = replace(
    DONE, users=Counts(unchanged=1234), events=Counts(unchanged=1234), left_segment=0, moved=0, requests=0
)
STOPPED = replace(
    DONE, exit_code=1, users=Counts(failed=1234), events=Counts(failed=1234), stopped_because="the API is down"
)
REJECTED = replace(DONE, exit_code=3, users=Counts(delivered=1230, rejected=4, newly_rejected=3))
FAILED = replace(
    DONE,
    exit_code=3,
    users=Counts(delivered=1230, failed=4),
    events=Counts(delivered=1230, failed=4),
    failed_because="503 with an empty body",
)
HELD_BACK = replace(DONE, exit_code=3, held_back="600 of the 1,000 users in the segment would leave it in one run")
ALL = [DONE, NOTHING, STOPPED, REJECTED, FAILED, HELD_BACK]
IDS = ["done", "nothing", "stopped", "rejected", "failed", "held-back"]


# -- for cron ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("summary", "why", "step"),
    [
        pytest.param(STOPPED, "the API is down", "run again", id="stopped"),
        pytest.param(REJECTED, "newly rejected: 3 users", "--retry-rejected", id="rejected"),
        pytest.param(
            FAILED,
            "failed: 4 users, 4 events, which the next run sends; the last reason: 503 with an empty body",
            "run again",
            id="failed",
        ),
        pytest.param(HELD_BACK, "600 of the 1,000", "--allow-mass-exit", id="held-back"),
    ],
)
def test_cron(summary: Summary, why: str, step: str) -> None:
    """A mail from cron is three lines: what with the exit code, why, and the next step with the grep for it."""
    what, reason, following = for_cron(summary, "run.log").splitlines()
    assert what.startswith(f"iterable sync: exit code {summary.exit_code}, users delivered=")
    assert reason.startswith("why: ")
    assert why in reason
    assert following.startswith("next: ")
    assert step in following
    assert following.endswith("; details: grep run=20260113-143122-a1b2 run.log")


def test_cron_before_anything_was_read() -> None:
    """A run that did not come to its rows says that nothing was sent, instead of zeros."""
    early = Summary("r1", exit_code=1, stopped_because="No database answers")
    assert for_cron(early, "run.log").splitlines()[0] == "iterable sync: exit code 1, nothing was sent"


# -- for a person --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("summary", "headline"),
    [
        (DONE, "DONE: everything pending was delivered"),
        (NOTHING, "DONE: nothing was pending"),
        (replace(NOTHING, left_segment=1), "DONE: everything pending was delivered"),
        (replace(NOTHING, moved=1), "DONE: everything pending was delivered"),
        (STOPPED, "STOPPED (exit code 1): the API is down"),
        (REJECTED, "FINISHED, BUT SOMETHING NEEDS ATTENTION (exit code 3)"),
        (HELD_BACK, "FINISHED, BUT SOMETHING NEEDS ATTENTION (exit code 3)"),
    ],
)
def test_headline(summary: Summary, headline: str) -> None:
    """The first sentence says what became of the run; only exit code 0 is called done."""
    assert report.headline(summary) == headline
    assert for_a_person(summary, "run.log").splitlines()[1] == headline


@pytest.mark.parametrize("summary", ALL, ids=IDS)
def test_person(summary: Summary) -> None:
    """A person reads counts, retries and their rule, authentication, files, what needs attention, the next step."""
    text = for_a_person(summary, "run.log")
    for words in (
        *OUTCOMES,
        "1,234",
        f"{summary.requests:,} in 12.3 s",
        "503: 4, timeout: 1",
        "max_retries=3, initial_backoff=1, backoff_factor=2, request_timeout=30",
        "API key",
        "query_results_20260113_143122.csv",
        "run.log (grep run=20260113-143122-a1b2)",
        f"Next: {next_step(summary)}",
        *(f"Needs attention: {told}" for told in summary.attention()),
    ):
        assert words in text
    assert all(len(line) <= 120 for line in text.splitlines())
    assert ("left the segment" in text) == bool(summary.left_segment)
    assert ("addresses changed" in text) == bool(summary.moved)
    assert ("second name missing" in text) == bool(summary.second_name_missing)


def test_person_without_much() -> None:
    """What there is not is said or left out: no retries, no CSV, no rejected rows."""
    text = for_a_person(Summary("r1", auth="jwt"), "run.log")
    assert "none was written" in text
    assert "JWT for each user" in text
    assert "rejected rows" not in text
    assert "rejected_rows_x.csv" in for_a_person(replace(REJECTED, rejected_csv="rejected_rows_x.csv"), "run.log")


def test_attention() -> None:
    """What was rejected before, or is unchanged, needs nobody's attention again."""
    assert DONE.attention() == NOTHING.attention() == []
    assert replace(DONE, users=Counts(rejected=5)).attention() == []
    both = replace(FAILED, users=Counts(newly_rejected=1, rejected=1, failed=1), held_back="held back")
    assert len(both.attention()) == 3


# -- for scripts and the log ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("summary", ALL, ids=IDS)
def test_json(summary: Summary) -> None:
    """The object of --json has the promised names, and survives JSON."""
    told = summary.as_json()
    assert list(told) == [
        "run_id",
        "sync",
        "exit_code",
        "seconds",
        "rows",
        "users",
        "events",
        "left_segment",
        "moved",
        "second_name_missing",
        "merged_rows",
        "requests",
        "retries",
        "retry_configuration",
        "auth",
        "csv",
        "stopped_because",
        "held_back",
    ]
    assert list(told["users"]) == list(told["events"]) == ["delivered", "unchanged", "rejected", "failed"]
    assert json.loads(json.dumps(told)) == told
    assert (told["stopped_because"] is None) == (summary is not STOPPED)


def test_json_holds_the_counts() -> None:
    """Each number is where it belongs."""
    told = DONE.as_json()
    assert told["users"] == {"delivered": 1000, "unchanged": 234, "rejected": 0, "failed": 0}
    assert told["events"] == {"delivered": 1200, "unchanged": 34, "rejected": 0, "failed": 0}
    assert (told["seconds"], told["rows"], told["left_segment"], told["requests"]) == (12.346, 1234, 5, 2210)
    assert (told["moved"], told["second_name_missing"]) == (6, 7)
    assert told["retries"] == {"503": 4, "timeout": 1}
    assert told["retry_configuration"] == RULE
    assert (told["auth"], told["csv"]) == ("api_key", "query_results_20260113_143122.csv")
    assert replace(DONE, auth="jwt").as_json()["auth"] == "jwt"


def test_exit_code_in_json_is_a_number() -> None:
    """An exit code of the program's own kind is a plain number in JSON."""
    assert '"exit_code": 3' in json.dumps(replace(DONE, exit_code=ExitCode.INCOMPLETE).as_json())


@pytest.mark.parametrize("summary", ALL, ids=IDS)
def test_log_line(summary: Summary) -> None:
    """A run's last log line gives the exit code and every count as key=value, and the cause of an exit code but 0."""
    fields: dict[str, Any] = dict(part.partition("=")[::2] for part in summary.log_line().split(" ") if "=" in part)
    assert fields["exit_code"] == str(summary.exit_code)
    for kind, counts in (("users", summary.users), ("events", summary.events)):
        assert [int(fields[f"{kind}_{word}"]) for word in OUTCOMES] == [getattr(counts, word) for word in OUTCOMES]
    assert (fields["rows"], fields["seconds"], fields["auth"]) == ("1234", "12.35", "api_key")
    assert fields["retries"] == "503:4,timeout:1"
    assert fields["retry_configuration"] == "max_retries=3,initial_backoff=1,backoff_factor=2,request_timeout=30"
    causes = (
        "stopped_because='the API is down'",
        "failed_because='503 with an empty body'",
        "newly_rejected='3 users, 0 events; the reasons are in the log'",
        "held_back='600 of the 1,000 users",
    )
    assert sum(cause in summary.log_line() for cause in causes) == bool(summary.exit_code)


# -- the history ---------------------------------------------------------------------------------------------------


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's clock is five hours behind UTC, in summer four."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_history_of_a_killed_run() -> None:
    """A run without an end is in the table, and nothing is claimed of it."""
    line = history_table([RunRecord("r1", "2026-01-13 14:31:22", "", None)]).splitlines()[1]
    assert line.startswith("2026-01-13 09:31:22  r1 ")
    assert line.split()[3:11] == ["-"] * 8
    assert line.endswith("  it was killed, or is still running")


@pytest.mark.usefixtures("in_new_york")
def test_history() -> None:
    """The table has a line for each run in the order given: on the machine's clock, with id, counts, code and cause."""
    runs = [
        RunRecord("r3", "2026-07-14 14:31:22", "orders", STOPPED.for_history()),
        RunRecord("r2", "2026-01-13 14:31:22", "default", FAILED.for_history()),
        RunRecord("r1", "2026-01-01 02:00:00", "default", DONE.for_history()),
    ]
    header, third, second, first, foot = history_table(runs).splitlines()
    assert header.split() == ["start", "run", "sync", "seconds", "rows", *OUTCOMES, "exit", "code", "cause"]
    assert first.split()[:6] == ["2025-12-31", "21:00:00", "r1", "default", "12.3", "1234"]
    assert first.split()[6:] == ["1000+1200", "234+34", "0+0", "0+0", "0"]
    assert second.startswith("2026-01-13 09:31:22  r2 ")
    assert second.endswith(f" 3  {FAILED.cause}") and "failed: 4 users, 4 events" in second
    assert third.startswith("2026-07-14 10:31:22  r3 ")
    assert third.endswith(" 1234+1234          1  the API is down")
    assert len({line.index("  " + word) for line, word in ((header, "cause"), (third, "the API"))}) == 1
    assert "users+events" in foot and "times are local" in foot


@pytest.mark.parametrize("summary", [REJECTED, FAILED, HELD_BACK, STOPPED], ids=IDS[2:])
def test_every_cause_is_in_the_history(summary: Summary) -> None:
    """Whatever the exit code, the history has the words that cron mails."""
    (line,) = history_table([RunRecord("r1", "2026-01-13 14:31:22", "", summary.for_history())]).splitlines()[1:-1]
    assert for_cron(summary, "run.log").splitlines()[1] == f"why: {line.partition(f' {summary.exit_code}  ')[2]}"


def test_history_of_an_earlier_version() -> None:
    """Runs whose record has no cause have it where they were stopped."""
    told = {**STOPPED.as_json(), "stopped_because": "line one\n\x1b[31mline two"}
    assert (
        history_table([RunRecord("r1", "2026-01-13 14:31:22", "", told)])
        .splitlines()[1]
        .endswith(r"  1  line one \x1b[31mline two")
    )
    assert history_table([RunRecord("r1", "2026-01-13 14:31:22", "", DONE.as_json())]).splitlines()[1].endswith("  0")


def test_history_without_runs() -> None:
    """Before the first run it says so, instead of showing an empty table."""
    assert history_table([]) == "no run is on record"
