"""The run from its rows to its exit code: outcomes and counting, what stops it, and what cron and people are told."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import db
from sync.run import job as job_module
from sync.run.exit_codes import ExitCode
from sync.sandbox.faults import Fault, Faults, on, scripted
from sync.state.outbox import Outbox
from tests import faults as catalogue
from tests.harness import (
    T0,
    TRACK,
    UPDATE,
    World,
    about,
    address,
    counts,
    identity,
    params_environ,
    people,
    person,
)
from tests.mariadb import Server

DOWN = catalogue.UNAVAILABLE


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation whose workers are one, so that requests come in the order of the result."""
    return World(tmp_path, monkeypatch, WORKERS="1")


def always(fault: Fault) -> Faults:
    """Every request ends like this."""
    return lambda _: fault


# -- nothing twice -------------------------------------------------------------------------------------------


def test_a_profile_and_an_event_for_each(world: World) -> None:
    """Each user's profile goes before the event, and a run in which all is delivered ends with 0."""
    world.rows = people(3)
    summary = world.run()

    assert summary.exit_code == ExitCode.DONE
    assert counts(summary) == ((3, 0, 0, 0), (3, 0, 0, 0))
    assert (summary.rows, summary.requests) == (3, 6)
    assert world.sent == [(path, address(n)) for n in (1, 2, 3) for path in (UPDATE, TRACK)]
    assert world.profiles[address(1)]["recent_page_view"] is True
    assert world.iterable.project.warnings == {}


def test_what_did_not_change_costs_no_request(world: World) -> None:
    """The second run over the same data: 0 requests. A third with 10 changed users and 5 new events: exactly 15."""
    world.rows = people(40)
    world.run()
    assert world.run().requests == 0
    assert world.sent == []

    for number in range(10):
        world.rows[number] = person(number + 1, plan_type="enterprise")
    for number in range(20, 25):
        world.rows[number] = person(number + 1, event_time=T0 + timedelta(days=1))
    third = world.run()

    assert counts(third) == ((10, 30, 0, 0), (5, 35, 0, 0))
    assert third.requests == 15
    assert [path for path, _ in world.sent].count(UPDATE) == 10
    assert len(world.events) == 45


def test_no_rows(world: World) -> None:
    """Nothing to do is also done; the CSV has its header."""
    summary = world.run()

    assert (summary.exit_code, summary.requests, summary.rows) == (ExitCode.DONE, 0, 0)
    assert Path(str(summary.csv)).read_text("utf-8").startswith("id,email,")


def test_rows_of_one_user(world: World) -> None:
    """Two rows, the same row twice and other capitals: one profile with the newest row, every event once."""
    newest = person(1, first_name="Newest", event_time=T0 + timedelta(hours=1))
    world.rows = [person(1), newest, person(1), person(1, email="USER1@example.com")]
    summary = world.run()

    assert summary.rows == 4
    assert world.sent == [(UPDATE, address(1)), (TRACK, address(1)), (TRACK, address(1))]
    assert world.profiles[address(1)]["first_name"] == "Newest"
    assert [event["createdAt"] for event in world.events] == sorted(event["createdAt"] for event in world.events)
    assert world.run().requests == 0


def test_an_event_alone(world: World) -> None:
    """The profile was delivered and the event was not: the next run sends the event alone."""
    world.rows = people(2)
    world.iterable.faults = on(TRACK, about(address(1), DOWN))
    first = world.run()
    assert (first.exit_code, counts(first)) == (ExitCode.INCOMPLETE, ((2, 0, 0, 0), (1, 0, 0, 1)))

    world.iterable.faults = None
    second = world.run()
    assert world.sent == [(TRACK, address(1))]
    assert (second.exit_code, counts(second)) == (ExitCode.DONE, ((0, 2, 0, 0), (1, 1, 0, 0)))


def test_failed_is_owed(world: World) -> None:
    """Spent retries: the profile has failed and its event with it, unsent; the next run sends both."""
    world.rows = people(2)
    world.iterable.faults = about(address(1), DOWN)
    first = world.run()
    assert (first.exit_code, counts(first)) == (ExitCode.INCOMPLETE, ((1, 0, 0, 1), (1, 0, 0, 1)))
    assert world.sent.count((UPDATE, address(1))) == 3
    assert (TRACK, address(1)) not in world.sent
    assert (first.retries, first.requests) == ({"503": 2}, 5)

    world.iterable.faults = None
    assert counts(world.run()) == ((1, 1, 0, 0), (1, 1, 0, 0))


def test_full(world: World) -> None:
    """--full sends everything again, the events under their ids."""
    world.rows = people(3)
    world.run()
    summary = world.run(full=True)

    assert (summary.requests, summary.exit_code) == (6, ExitCode.DONE)
    assert [event["writes"] for event in world.events] == [2, 2, 2]


# -- rejected ------------------------------------------------------------------------------------------------


def test_rejected_until_it_changes(world: World) -> None:
    """A rejection is new once (exit 3), later known (exit 0, no request), and over when the payload changes."""
    world.rows = people(3)
    world.iterable.project.rules.forgotten.add(address(2))
    first = world.run()
    assert (first.exit_code, counts(first)) == (ExitCode.INCOMPLETE, ((2, 0, 1, 0), (2, 0, 1, 0)))
    assert world.sent.count((UPDATE, address(2))) == 1
    assert (TRACK, address(2)) not in world.sent

    second = world.run()
    assert (second.exit_code, counts(second)) == (ExitCode.DONE, ((0, 2, 1, 0), (0, 2, 1, 0)))
    assert world.sent == []

    world.rows[1] = person(2, first_name="New")
    assert world.run().exit_code == ExitCode.INCOMPLETE
    assert world.sent == [(UPDATE, address(2))]

    world.iterable.project.rules.forgotten.clear()
    world.rows[1] = person(2, first_name="Newer")
    assert counts(world.run()) == ((1, 2, 0, 0), (1, 2, 0, 0))


@pytest.mark.parametrize("switch", ["retry_rejected", "full"])
def test_retry_rejected(world: World, switch: str) -> None:
    """--retry-rejected and --full send again what was rejected; without a reason any more it is delivered."""
    world.rows = people(2)
    world.iterable.project.rules.forgotten.add(address(2))
    world.run()
    assert world.run(**{switch: True}).exit_code == ExitCode.INCOMPLETE
    world.iterable.project.rules.forgotten.clear()
    assert world.run().requests == 0

    summary = world.run(**{switch: True})
    assert summary.exit_code == ExitCode.DONE
    assert {(UPDATE, address(2)), (TRACK, address(2))} <= set(world.sent)
    if switch == "retry_rejected":
        assert len(world.sent) == 2


def test_rows_without_an_address(world: World) -> None:
    """Rows that name nobody are rejected before any request, with the reason in the log and in a file of their own."""
    world.rows = [person(1, email="not an address"), person(2), person(3, email=None), person(4, event_time=None)]
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.INCOMPLETE, ((2, 0, 2, 0), (1, 0, 3, 0)))
    assert world.sent == [(UPDATE, address(2)), (TRACK, address(2)), (UPDATE, address(4))]
    assert "Row rejected before any request" in world.log()
    rejected = Path(str(summary.rejected_csv)).read_text("utf-8").splitlines()
    assert len(rejected) == 4
    assert "not an address" in rejected[1]

    again = world.run()
    assert (again.exit_code, again.requests, again.rejected_csv) == (ExitCode.DONE, 0, None)


def test_a_disallowed_event(world: World) -> None:
    """An event that the project disallows is rejected inside a 200; the profile is delivered all the same."""
    world.rows = people(1)
    world.iterable.project.rules.disallowed_events.add("page_view")
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.INCOMPLETE, ((1, 0, 0, 0), (0, 0, 1, 0)))
    assert world.run().requests == 0


# -- what stays owed -----------------------------------------------------------------------------------------


def test_what_is_owed_outlives_its_row(world: World) -> None:
    """Payloads whose row left the result are delivered by the next plain run, and not by --limit or --since."""
    world.environ["SEGMENT_FIELD"] = ""
    world.rows = people(3)
    world.iterable.faults = on(UPDATE, lambda request: DOWN if identity(request) != address(3) else None)
    world.run()
    world.iterable.faults = None
    world.rows = [person(3)]

    assert world.run(limit=1).requests == 0
    assert world.run(since=timedelta(days=1)).requests == 0
    summary = world.run()
    assert counts(summary) == ((2, 1, 0, 0), (2, 1, 0, 0))
    assert sorted(world.profiles) == [address(1), address(2), address(3)]


def test_limit_reads_no_more(world: World) -> None:
    """--limit N reads N rows, delivers their users, and is recorded as any run."""
    world.rows = people(5)
    summary = world.run(limit=2)

    assert (summary.rows, summary.requests) == (2, 4)
    assert counts(world.run()) == ((3, 2, 0, 0), (3, 2, 0, 0))


def test_the_database_goes_away(world: World) -> None:
    """Gone in mid-query: exit 1, nothing sent, no CSV, nobody leaves; the next run does it all."""
    world.rows = people(30)
    world.run()
    world.rows = [person(number, first_name="New") for number in range(1, 41)]
    world.breaks_after = 20
    before = sorted(path.name for path in world.folder.glob("*.csv"))
    summary = world.run()

    assert (summary.exit_code, summary.requests, summary.csv) == (ExitCode.STOPPED, 0, None)
    assert "lost" in str(summary.stopped_because)
    assert sorted(path.name for path in world.folder.glob("*.csv*")) == before

    world.breaks_after = None
    assert counts(world.run()) == ((40, 0, 0, 0), (10, 30, 0, 0))


# -- leaving the segment -------------------------------------------------------------------------------------


def test_leaving_the_segment(world: World) -> None:
    """A user who left the result gets the field false, once, and is counted; a return makes it true again."""
    world.rows = people(5)
    world.run()
    world.rows = people(4)
    summary = world.run()
    assert (summary.left_segment, summary.requests, summary.exit_code) == (1, 1, ExitCode.DONE)
    assert world.profiles[address(5)]["recent_page_view"] is False
    assert world.profiles[address(5)]["first_name"] == "Name 5"

    assert world.run().requests == 0
    world.rows = people(5)
    assert world.run().requests == 1
    assert world.profiles[address(5)]["recent_page_view"] is True


@pytest.mark.parametrize("switches", [{"limit": 9}, {"since": timedelta(days=1)}], ids=["--limit", "--since"])
def test_nobody_leaves_in_a_run_that_sees_a_part(world: World, switches: dict[str, Any]) -> None:
    """--limit and --since read a part: who is missing there has not left."""
    world.rows = people(5)
    world.run()
    world.rows = people(4)

    assert (world.run(**switches).requests, world.profiles[address(5)]["recent_page_view"]) == (0, True)


def test_nobody_leaves_in_a_stopped_run(world: World) -> None:
    """A run that was stopped sends no exits; the next complete one does."""
    world.rows = people(5)
    world.run()
    world.rows = [person(number, first_name="New") for number in range(1, 5)]
    world.iterable.faults = always(catalogue.BAD_API_KEY)
    assert world.run().exit_code == ExitCode.STOPPED
    assert world.profiles[address(5)]["recent_page_view"] is True

    world.iterable.faults = None
    assert world.run().left_segment == 1


def test_mass_exit(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty table upstream: nobody leaves, exit 3 with the numbers and the option, which then lets it through."""
    world.rows = people(12)
    world.run()
    world.rows = []

    assert world.main() == ExitCode.INCOMPLETE
    told = capsys.readouterr()
    assert "12 of the 12 users" in told.err
    assert "--allow-mass-exit" in told.err
    assert world.sent == []
    assert "WARNING - Mass exit held back: 12 of the 12" in world.log()

    assert world.main("--allow-mass-exit") == ExitCode.DONE
    assert len(world.sent) == 12
    assert not any(data["recent_page_view"] for data in world.profiles.values())


def test_a_renamed_segment(world: World) -> None:
    """A changed SEGMENT_FIELD is warned about: the old field stays as it is at Iterable, nobody is told to leave."""
    world.rows = people(3)
    world.run()
    world.environ["SEGMENT_FIELD"] = "viewed"
    world.rows = people(2)
    summary = world.run()

    assert (summary.requests, summary.left_segment) == (2, 0)
    assert "SEGMENT_FIELD changed from recent_page_view to viewed" in world.log()
    assert world.profiles[address(3)] == {**world.profiles[address(3)], "recent_page_view": True}
    assert world.run().requests == 0
    world.rows = people(1)
    assert world.run().left_segment == 1
    assert world.profiles[address(2)]["viewed"] is False


def test_changed_fields(world: World) -> None:
    """A changed USER_FIELDS sends the profiles again; a changed EVENT_FIELDS the events, under the ids they had."""
    world.rows = people(3)
    world.run()
    ids = [event["id"] for event in world.events]
    world.environ["USER_FIELDS"] = "first_name"
    assert [path for path, _ in (world.run(), world.sent)[1]] == [UPDATE] * 3

    world.environ["EVENT_FIELDS"] = "page"
    world.run()
    assert [path for path, _ in world.sent] == [TRACK] * 3
    assert [event["id"] for event in world.events] == ids


def test_without_profiles_or_without_events(world: World) -> None:
    """An empty EVENT_NAME sends profiles alone, an empty USER_FIELDS events alone."""
    world.rows = people(2)
    world.environ["EVENT_NAME"] = ""
    assert counts(world.run()) == ((2, 0, 0, 0), (0, 0, 0, 0))

    world.environ.update(EVENT_NAME="page_view", USER_FIELDS="", SEGMENT_FIELD="")
    assert counts(world.run()) == ((0, 0, 0, 0), (2, 0, 0, 0))


# -- what breaks a run ---------------------------------------------------------------------------------------


def test_a_disk_that_is_full_for_the_csv(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CSV that cannot be written stops the run before anything is sent, and leaves no part of it."""
    world.rows = people(3)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sync.rows.export.CsvExport.write", full)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 0)
    assert "No space left on device" in str(summary.stopped_because)
    assert list(world.folder.glob("*.csv*")) == []
    assert world.table("SELECT COUNT(*) FROM owed_user") == [(0,)]


@pytest.mark.parametrize("when", ["claim", "record"])
def test_a_state_that_cannot_be_written_in_mid_run(world: World, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The run stops with exit 1 and says so, nobody sends on blind, counts add up; the next run does the rest."""
    world.environ["WORKERS"] = "4"
    world.rows = people(300)
    original = getattr(Outbox, when)
    calls = iter(range(100))

    def failing(box: Outbox, *arguments: Any) -> Any:
        if next(calls) == 2:
            box._claims._db.execute("PRAGMA query_only=ON")
        return original(box, *arguments)

    monkeypatch.setattr(Outbox, when, failing)
    monkeypatch.setattr("sync.delivery.dispatcher.RECORD_GROUP", 20)
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
    monkeypatch.setattr("sync.delivery.single.SingleSender._send", lambda *_: 1 / 0)
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.STOPPED, ((0, 0, 0, 5), (0, 0, 0, 5)))
    assert "ZeroDivisionError" in str(summary.stopped_because)
    assert all(re.match(r"\d{4}-\d\d-\d\d ", line) for line in world.log().splitlines())


# -- what is told --------------------------------------------------------------------------------------------


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
        pytest.param(catalogue.BAD_API_KEY, 1, ("refused the credentials", "still owed"), id="stopped"),
        pytest.param(catalogue.FORGOTTEN, 3, ("newly rejected", "--retry-rejected"), id="rejected"),
        pytest.param(DOWN, 3, ("owed, the next run sends them", "run again"), id="failed"),
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
    *("run_id", "exit_code", "seconds", "rows", "users", "events", "left_segment", "requests"),
    *("retries", "retry_configuration", "auth", "csv", "stopped_because"),
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
    columns = ("start", "seconds", "rows", "delivered", "unchanged", "rejected", "failed", "exit code")
    assert all(name in header for name in columns)
    assert newest.split()[3:] == ["3", "1+1", "2+2", "0+0", "0+0", "0"]
    assert oldest.split()[3:] == ["2", "2+2", "0+0", "0+0", "0+0", "0"]
    assert "users+events" in note
    assert world.main("--history", "1") == ExitCode.DONE
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_history_before_the_first_run(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a state there is no history, and looking for it makes none."""
    assert world.main("--history") == ExitCode.DONE
    assert "start" in capsys.readouterr().out
    assert not world.settings.state_file.exists()


def test_first_and_last_line_of_the_log(world: World) -> None:
    """The first line of a run names both ends, the last counts and gives the exit code, also when the run fails."""
    world.rows = people(2)
    first = world.run()
    world.breaks_after = 0
    second = world.run()

    for summary in (first, second):
        lines = [line for line in world.log().splitlines() if line.endswith(f"run={summary.run_id}")]
        assert "from memory://rows to https://api.iterable.com" in lines[0]
        assert f"exit_code={int(summary.exit_code)} rows={summary.rows} users_delivered=" in lines[-1]
    assert "stopped_because=" in lines[-1]


def test_a_clock_that_jumps_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs whose clock went back a year see what was delivered, and deliver what is new."""
    world.rows = people(3)
    world.run()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 366 * 86_400)
    world.rows = people(4)

    assert world.run().requests == 2


# -- over a real database ------------------------------------------------------------------------------------


@pytest.mark.database
def test_over_a_database(mariadb: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample over a database: 8 users; no request in a second run; the user who left, told once."""
    params = mariadb.sample()
    world = World(tmp_path, monkeypatch, **params_environ(params))
    monkeypatch.setattr(job_module, "connect", db.connect)

    assert world.main() == ExitCode.DONE
    assert (len(world.profiles), len(world.events)) == (8, 8)
    assert world.main() == ExitCode.DONE
    assert world.sent == []

    mariadb.execute("UPDATE customers SET plan_type = 'free' WHERE id = 1", database=params.database)
    mariadb.execute("UPDATE customers SET first_name = 'Benno' WHERE id = 2", database=params.database)
    assert world.main() == ExitCode.DONE
    assert sorted(who for _, who in world.sent) == ["ada.park@example.com", "ben.ruiz@example.com"]
    assert world.profiles["ada.park@example.com"]["recent_page_view"] is False
