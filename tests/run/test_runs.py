"""The run from its rows to its outcomes: nothing twice, what is rejected, what stays pending, over a real database."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

import db
from sync.rows.source import Column, Kind
from sync.run import connections
from sync.run.exit_codes import ExitCode
from tests.faults import UNAVAILABLE as DOWN
from tests.harness import TRACK, UPDATE, World, about, counts, identity
from tests.mariadb import Server
from tests.process import params_environ
from tests.sample_rows import COLUMNS, T0, address, people, person
from tests.stand_in.faults import on


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


@pytest.mark.parametrize("at", [datetime(9999, 12, 31, 23, 59, 59), datetime(1, 1, 1)], ids=str)
def test_a_placeholder_is_no_event_time(world: World, at: datetime) -> None:
    """A date in the year 9999 or 1: the event is rejected once, and the profile sent; it makes no row the newest."""
    world.rows = [person(1, event_time=at), person(2, first_name="Never", event_time=at), person(2)]
    first = world.run()

    assert (first.exit_code, counts(first)) == (ExitCode.INCOMPLETE, ((2, 0, 0, 0), (1, 0, 2, 0)))
    assert f"event_time is {at}: a date in the year {at.year} is a placeholder and not an event time" in world.log()
    assert (world.profiles[address(1)]["first_name"], world.profiles[address(2)]["first_name"]) == ("Name 1", "Name 2")
    second = world.run()
    assert (second.exit_code, second.requests, second.events.rejected) == (ExitCode.DONE, 0, 2)


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


def test_failed_is_pending(world: World) -> None:
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


@pytest.mark.parametrize(
    "names",
    [{}, {"USER_ID_COLUMN": "id"}, {"USER_ID_COLUMN": "id", "IDENTIFY_BY": "email"}, {"USER_FIELDS": ""}],
    ids=["address", "user id", "both", "events alone"],
)
def test_a_row_that_names_nobody_is_news_once(world: World, names: dict[str, str]) -> None:
    """Whatever its other columns hold, such as the time of the query; the state does not grow."""
    world.environ |= names
    world.columns = (*COLUMNS, Column("now", Kind.DATETIME))
    nobody = {"id": None} if "USER_ID_COLUMN" in names else {}
    for number in range(3):
        world.rows = [
            {**person(1), "now": T0},
            {**person(2, email=None, **nobody), "now": T0 + timedelta(minutes=5 * number)},
        ]
        summary = world.run()
        assert summary.exit_code == (ExitCode.DONE if number else ExitCode.INCOMPLETE)
        assert summary.events.rejected == 1
    assert len(world.table("SELECT 1 FROM known WHERE typeof(key) = 'blob'")) == 2


def test_a_disallowed_event(world: World) -> None:
    """An event that the project disallows is rejected inside a 200; the profile is delivered all the same."""
    world.rows = people(1)
    world.iterable.project.rules.disallowed_events.add("page_view")
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.INCOMPLETE, ((1, 0, 0, 0), (0, 0, 1, 0)))
    assert world.run().requests == 0


def test_what_is_pending_outlives_its_row(world: World) -> None:
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


@pytest.mark.database
def test_over_a_database(mariadb: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample over a database: 8 users; no request in a second run; the user who left, told once."""
    params = mariadb.sample()
    world = World(tmp_path, monkeypatch, **params_environ(params))
    monkeypatch.setattr(connections, "connect", db.connect)

    assert world.main() == ExitCode.DONE
    assert (len(world.profiles), len(world.events)) == (8, 8)
    assert world.main() == ExitCode.DONE
    assert world.sent == []

    mariadb.execute("UPDATE customers SET plan_type = 'free' WHERE id = 1", database=params.database)
    mariadb.execute("UPDATE customers SET first_name = 'Benno' WHERE id = 2", database=params.database)
    assert world.main() == ExitCode.DONE
    assert sorted(who for _, who in world.sent) == ["ada.park@example.com", "ben.ruiz@example.com"]
    assert world.profiles["ada.park@example.com"]["recent_page_view"] is False
