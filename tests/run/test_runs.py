"""The run from its rows to its exit code: outcomes and counting, what stops it, and what cron and people are told."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import db
from sync.api.answers import ApiResult, Verdict, read_answer
from sync.delivery.dispatcher import TICK, Delivery
from sync.delivery.outcome import Result, outcome_of, with_profile_outcome
from sync.delivery.stop import Stop
from sync.rows.payloads import PayloadBuilder
from sync.run import job as job_module
from sync.run.exit_codes import ExitCode
from sync.run.job import Job
from sync.run.settings import load_settings
from sync.run.summary import Summary
from sync.sandbox.answers import Request
from sync.sandbox.faults import Fault, Faults, on, scripted
from sync.state.file import State
from sync.state.outbox import Outbox
from sync.state.owed import Counts, OwedUser, Policy, UserOutcome
from tests import faults as catalogue
from tests.harness import (
    COLUMNS,
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


# -- the canary ----------------------------------------------------------------------------------------------


def test_the_canary_goes_alone(world: World) -> None:
    """Nobody is on the way before the first user was accepted, profile and event."""
    world.environ["WORKERS"] = "16"
    world.rows = people(20)
    world.run()

    assert world.sent[:2] == [(UPDATE, address(1)), (TRACK, address(1))]


def test_a_refused_key_costs_one_request(world: World) -> None:
    """BadApiKey stops at the canary: one request, exit 1, everything still owed and counted as failed."""
    world.environ["WORKERS"] = "16"
    world.rows = people(20)
    world.iterable.faults = always(catalogue.BAD_API_KEY)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 1)
    assert counts(summary) == ((0, 0, 0, 20), (0, 0, 0, 20))
    assert "ITERABLE_API_KEY" in str(summary.stopped_because)
    world.iterable.faults = None
    assert world.run().requests == 40


def test_a_refused_key_costs_one_request_when_all_leave(world: World) -> None:
    """The first of those who leave is a canary as well, when nobody else is owed anything."""
    world.environ["WORKERS"] = "8"
    world.rows = people(8)
    world.run()
    world.rows = []
    world.iterable.faults = always(catalogue.BAD_API_KEY)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 1)


def test_a_rejected_canary_makes_room_for_the_next(world: World) -> None:
    """A canary that is rejected for itself is recorded, and the next user goes alone in its place."""
    world.environ["WORKERS"] = "8"
    world.rows = people(9)
    world.iterable.project.rules.forgotten |= {address(1), address(2), address(3), address(4)}
    summary = world.run()

    assert [who for _, who in world.sent[:6]] == [address(n) for n in (1, 2, 3, 4, 5, 5)]
    assert counts(summary) == ((5, 0, 4, 0), (5, 0, 4, 0))


def test_three_canaries_refused_by_the_project(world: World) -> None:
    """Three in a row rejected for a reason that is the project's: exit 1; the three are rejected, the rest is owed."""
    world.rows = people(10)
    world.iterable.faults = always(catalogue.TYPES_MISMATCHED)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 3)
    assert counts(summary) == ((0, 0, 3, 7), (0, 0, 3, 7))
    assert "RequestFieldsTypesMismatched" in str(summary.stopped_because)


def test_two_canaries_refused_by_the_project(world: World) -> None:
    """Two are not three, and a rejection of another kind between them starts the count anew."""
    world.rows = people(10)
    world.iterable.project.rules.forgotten.add(address(3))
    bad = catalogue.TYPES_MISMATCHED
    world.iterable.faults = scripted([bad, bad, None, bad, bad])
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.INCOMPLETE, ((5, 0, 5, 0), (5, 0, 5, 0)))


# -- what stops a run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        pytest.param(catalogue.FORBIDDEN, "ITERABLE_API_KEY", id="403"),
        pytest.param(catalogue.ACTION_NOT_FOUND, "ITERABLE_API_BASE_URL", id="404"),
        pytest.param(catalogue.NOT_ALLOWED, "ITERABLE_API_BASE_URL", id="405"),
        pytest.param(catalogue.FOUND, "ITERABLE_API_BASE_URL", id="302"),
        pytest.param(catalogue.JWT_MISSING, "USE_JWT_AUTH", id="a key that wants a JWT"),
        pytest.param(catalogue.rate_limited("3600"), "3600 s", id="Retry-After of an hour"),
    ],
)
@pytest.mark.parametrize("at", [1, 8])
def test_what_stops_a_run(world: World, fault: Fault, word: str, at: int) -> None:
    """Refused credentials, a wrong URL or an endless wait stop the run at that very request, at whatever user."""
    world.rows = people(10)
    world.iterable.faults = scripted([None] * (at - 1) + [fault] * 100)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, at)
    assert word in str(summary.stopped_because)
    assert sum(counts(summary)[0]) == sum(counts(summary)[1]) == 10
    assert summary.users.delivered == at // 2
    world.iterable.faults = None
    rest = world.run()
    assert (rest.exit_code, rest.requests) == (ExitCode.DONE, 20 - (at - 1))
    assert [event["writes"] for event in world.events] == [1] * 10


def test_what_a_stopped_run_did_not_send_is_not_in_doubt(world: World) -> None:
    """Users who were claimed and never sent cost no request when their rows are as they were delivered."""
    world.rows = people(10)
    world.run()
    world.rows = [person(number, first_name="New") for number in range(1, 11)]
    world.iterable.faults = scripted([None, catalogue.BAD_API_KEY])
    assert world.run().requests == 2

    world.iterable.faults = None
    world.rows = people(10)
    world.run()
    assert world.sent == [(UPDATE, address(1)), (UPDATE, address(2))]


def test_an_api_that_is_down(world: World) -> None:
    """Five users in a row with all retries spent stop the run; every unchanged user is still told truly."""
    world.rows = people(4)
    world.run()
    world.rows = people(20)
    world.iterable.faults = always(DOWN)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 5 * 3)
    assert counts(summary) == ((0, 4, 0, 16), (0, 4, 0, 16))
    assert "the API is down: 5 users in a row" in str(summary.stopped_because)


def test_four_in_a_row_are_not_down(world: World) -> None:
    """One user who is accepted between the failing ones starts the count anew."""
    world.rows = people(12)
    well = {address(1), address(6), address(11)}
    world.iterable.faults = lambda request: None if identity(request) in well else DOWN
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.INCOMPLETE, ((3, 0, 0, 9), (3, 0, 0, 9)))


def test_a_refused_jwt(world: World) -> None:
    """A JWT that is refused for three users stops the run; each was made anew once."""
    world.environ.update(USE_JWT_AUTH="true", ITERABLE_JWT_SECRET="s" * 32)
    world.rows = people(10)
    world.iterable.faults = always(catalogue.JWT_SIGNATURE)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 6)
    assert "ITERABLE_JWT_SECRET" in str(summary.stopped_because)
    assert summary.auth == "jwt"


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

    def failing(box: Outbox, argument: Any) -> Any:
        if next(calls) == 2:
            box._claims._db.execute("PRAGMA query_only=ON")
        return original(box, argument)

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
    monkeypatch.setattr("sync.delivery.single.SingleSender._send_one", lambda *_: 1 / 0)
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.STOPPED, ((0, 0, 0, 5), (0, 0, 0, 5)))
    assert "ZeroDivisionError" in str(summary.stopped_because)
    assert all(re.match(r"\d{4}-\d\d-\d\d ", line) for line in world.log().splitlines())


# -- 429 -----------------------------------------------------------------------------------------------------


def test_a_throttled_user_is_queued_again(world: World) -> None:
    """A user whose attempts ended in 429 goes back into the queue: delivered in the end, once, and never failed."""
    world.rows = people(6)
    limit = catalogue.RATE_LIMITED
    asked: dict[tuple[str, str], int] = {}

    def faults(request: Request) -> Fault | None:
        key = (request.path, identity(request))
        asked[key] = asked.get(key, 0) + 1
        return limit if asked[key] <= 7 and identity(request) in {address(2), address(4)} else None

    world.iterable.faults = faults
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.DONE, ((6, 0, 0, 0), (6, 0, 0, 0)))
    assert summary.retries == {"429": 4 * 5}
    assert [event["writes"] for event in world.events] == [1] * 6
    assert max(world.iterable.project.writes.values()) == 1


class Clock:
    """Seconds that a test moves on."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Script:
    """A sender whose answers come from a list by user; time passes with each call."""

    batch_size = 1

    def __init__(self, clock: Clock, answer: Callable[[str], int], seconds: float = 40.0) -> None:
        self.clock, self.answer, self.seconds = clock, answer, seconds
        self.sent: list[str] = []

    def send(self, users: Sequence[OwedUser]) -> list[Result]:
        """One call a user, for the profile and its events together."""
        return [self._send(user) for user in users]

    def _send(self, user: OwedUser) -> Result:
        self.clock.now += self.seconds
        self.sent.append(user.identity)
        status = self.answer(user.identity)
        body = b'{"code":"Success"}' if status == 200 else b"{}"
        call = ApiResult(read_answer(status, body), 1)
        if call.verdict is Verdict.THROTTLED:
            nothing = UserOutcome(replace(user, profile=None, events=()), None, ())
            return Result(nothing, user, call.verdict, "429", [call])
        told = outcome_of(call)
        return Result(UserOutcome(user, told, (told,) * len(user.events)), None, call.verdict, "", [call])


def deliver(path: Path, count: int, sender: Script | Silent, stop: Stop | None = None) -> Delivery:
    """A delivery of *count* users on the sender's clock, to its end."""
    state = State(path / "state.sqlite3")
    box = Outbox(state, state.destination("https://api.iterable.com", "key"), Policy(segment_field="s"), 20_000)
    job = Job(load_settings(Path(os.devnull), {"DB_USER": "a", "DB_NAME": "b", "ITERABLE_API_KEY": "c"}))
    builder = PayloadBuilder(job.mapping(), COLUMNS)
    box.load(builder.build(row) for row in people(count))
    delivery = Delivery(sender, box, stop or Stop(), workers=1, clock=sender.clock)
    delivery.run(box.plan())
    state.close()
    return delivery


def test_throttled_for_ten_minutes(tmp_path: Path) -> None:
    """When nothing at all was accepted for more than 10 minutes the run stops, and says so; all are owed."""
    sender = Script(Clock(), lambda _: 429)
    tally = deliver(tmp_path, 3, sender).tally

    assert "accepted nothing for 10 minutes" in str(tally.stopped_because)
    assert 15 <= len(sender.sent) <= 17
    assert (tally.users, tally.events) == (Counts(failed=3), Counts(failed=3))


def test_throttled_while_others_are_accepted(tmp_path: Path) -> None:
    """As long as anything is accepted within 10 minutes a throttled user waits, for an hour if need be."""
    turns = iter(range(10_000))
    sender = Script(Clock(), lambda who: 200 if who != address(2) or next(turns) > 30 else 429)
    tally = deliver(tmp_path, 100, sender).tally

    assert tally.stopped_because is None
    assert sender.sent.count(address(2)) == 32
    assert (tally.users, tally.events) == (Counts(delivered=100), Counts(delivered=100))


class Silent:
    """A sender that gets no answer until `let_go`."""

    batch_size = 1

    def __init__(self) -> None:
        self.clock = time.monotonic
        self.let_go = threading.Event()

    def send(self, users: Sequence[OwedUser]) -> list[Result]:
        """Wait."""
        self.let_go.wait(5)
        failed = outcome_of(ApiResult(read_answer(503, b""), 1))
        return [Result(with_profile_outcome(user, failed), None, Verdict.RETRYABLE, "") for user in users]


def test_a_signal_at_the_end_of_a_tick(tmp_path: Path) -> None:
    """A signal whose handling outlasts the wait for results is no reason to wait for ever: the grace still counts."""
    stop, sender = Stop(), Silent()

    def handle(*_: object) -> None:
        time.sleep(2 * TICK)
        stop.set("interrupted", grace=0.1)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 2 * TICK)
    began = time.monotonic()
    try:
        tally = deliver(tmp_path, 3, sender, stop).tally
    finally:
        signal.signal(signal.SIGALRM, before)
        sender.let_go.set()

    assert time.monotonic() - began < 2
    assert (tally.users, tally.events) == (Counts(failed=3), Counts(failed=3))


# -- many events of one user ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param(None, ((1, 0, 0, 0), (10, 0, 0, 0)), id="all delivered"),
        pytest.param(on(UPDATE, always(DOWN)), ((0, 0, 0, 1), (0, 0, 0, 10)), id="profile failed"),
        pytest.param(on(UPDATE, always(catalogue.FORGOTTEN)), ((0, 0, 1, 0), (0, 0, 10, 0)), id="profile rejected"),
        pytest.param(on(TRACK, scripted([catalogue.NO_CODE])), ((1, 0, 0, 0), (9, 0, 0, 1)), id="one event failed"),
    ],
)
def test_many_events_of_one_user(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: Faults | None, expected: Any
) -> None:
    """Events that come in parts have one outcome each: the profile's when it was not accepted, unsent."""
    monkeypatch.setattr("sync.state.claims.EVENTS_AT_ONCE", 4)
    world.rows = [person(1, event_time=T0 + timedelta(seconds=second)) for second in range(10)]
    world.iterable.faults = fault
    summary = world.run()

    assert counts(summary) == expected
    assert sum(path == TRACK for path, _ in world.sent) == (10 if summary.users.delivered else 0)


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


# -- any answers over any users ------------------------------------------------------------------------------

ANSWERS = (
    None,
    None,
    catalogue.LOST_ANSWER,
    catalogue.UNAVAILABLE,
    catalogue.NO_ANSWER_APPLIED,
    catalogue.RATE_LIMITED,
    catalogue.FORGOTTEN,
    catalogue.CUT_JSON,
    catalogue.PAGE,
    catalogue.TYPES_MISMATCHED_500,
    catalogue.BAD_API_KEY,
    catalogue.ACTION_NOT_FOUND,
    catalogue.DISALLOWED_EVENT,
)
STOPS = {catalogue.BAD_API_KEY.name, catalogue.ACTION_NOT_FOUND.name}


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    answers=st.lists(st.sampled_from(ANSWERS), max_size=60),
    users=st.lists(st.integers(1, 9), max_size=15),
    workers=st.sampled_from(["1", "3"]),
)
def test_any_answers_over_any_users(
    tmp_path_factory: pytest.TempPathFactory, answers: list[Fault | None], users: list[int], workers: str
) -> None:
    """Every user has one outcome, counts add up, the exit code follows, nothing goes out after a stop, and after a
    fault-free second run nothing is missing and no event is there twice.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(tmp_path_factory.mktemp("any"), monkeypatch, WORKERS=workers)
        world.rows = [person(number, page=f"page {place % 3}") for place, number in enumerate(users)]
        world.iterable.faults = scripted(answers)
        first = world.run()
        events = len({(row["id"], row["page"]) for row in world.rows})
        assert [sum(told) for told in counts(first)] == [len(set(users)), events]
        check_exit_code(first)
        if workers == "1":
            check_stop(world)

        world.iterable.faults = None
        second = world.run(retry_rejected=True)
        assert second.exit_code == ExitCode.DONE
        assert sorted(world.profiles) == sorted(address(number) for number in set(users))
        assert len(world.events) == events
        assert world.run().requests == 0


def check_exit_code(summary: Summary) -> None:
    """Stopped: 1; otherwise 3 when anything was newly rejected or failed, else 0."""
    open_ends = summary.users.failed + summary.events.failed + summary.users.rejected + summary.events.rejected
    wanted = ExitCode.STOPPED if summary.stopped_because else ExitCode.INCOMPLETE if open_ends else ExitCode.DONE
    assert summary.exit_code == wanted


def check_stop(world: World) -> None:
    """The request that stops the run is its last one."""
    faults = [request.fault for request in world.iterable.requests]
    assert not any(name in STOPS for name in faults[:-1])


@pytest.mark.parametrize("fault", [catalogue.BAD_API_KEY, catalogue.rate_limited("3600")], ids=str)
@pytest.mark.parametrize("profile", ["first_name", ""], ids=["after the profile", "events only"])
def test_a_stop_is_heeded_between_two_requests_of_one_user(world: World, fault: Fault, profile: str) -> None:
    """An answer that stops the run is the last one, though the same user is owed 300 more events; all are failed."""
    world.environ["USER_FIELDS"] = profile
    world.rows = [person(1, page=f"page {number}") for number in range(300)]
    world.iterable.faults = lambda request: fault if request.path == TRACK else None

    summary = world.run()

    assert [path for path, _ in world.sent].count(TRACK) == 1
    assert summary.exit_code == ExitCode.STOPPED
    assert (summary.events.delivered, summary.events.failed) == (0, 300)
    world.iterable.faults = None
    assert world.run().events.delivered == 300


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
