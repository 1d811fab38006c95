"""The canary, and what stops a run at once."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

import pytest

from sync.delivery.turn import ONE_BY_ONE
from sync.delivery.work import Work
from sync.delivery.workers import Workers
from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.delivery.answers import always
from tests.harness import TRACK, UPDATE, World, counts
from tests.sample_rows import T0, address, people, person
from tests.stand_in.faults import Fault, scripted


def test_the_canary_goes_alone(world: World) -> None:
    """Nobody is on the way before the first user was accepted, profile and event."""
    world.environ["WORKERS"] = "16"
    world.rows = people(20)
    world.run()

    assert world.sent[:2] == [(UPDATE, address(1)), (TRACK, address(1))]


@pytest.mark.parametrize("bulk", [False, True], ids=["singly", "bulk"])
def test_nobody_is_given_work_beside_the_canary(world: World, monkeypatch: pytest.MonkeyPatch, bulk: bool) -> None:
    """As long as no canary was accepted, nobody else is at work; from then on everybody is."""
    world.environ |= {"WORKERS": "8", "ITERABLE_BULK": str(bulk)}
    world.rows = people(count := 2_400 if bulk else 40)
    world.iterable.project.rules.forgotten |= {address(1), address(2)}
    beside: list[int] = []
    give = Workers.give

    def given(workers: Workers, work: Work) -> None:
        beside.append(workers.at_work)
        give(workers, work)

    monkeypatch.setattr(Workers, "give", given)
    assert world.run().users.delivered == count - 2
    assert beside[:6] == [0, 0, 0, 0, 1, 2]


def test_a_refused_key_costs_one_request(world: World) -> None:
    """BadApiKey stops at the canary: one request, exit 1, everything still pending and counted as failed."""
    world.environ["WORKERS"] = "16"
    world.rows = people(20)
    world.iterable.faults = always(catalogue.BAD_API_KEY)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 1)
    assert counts(summary) == ((0, 0, 0, 20), (0, 0, 0, 20))
    assert "ITERABLE_API_KEY" in str(summary.stopped_because)
    assert world.table("SELECT * FROM failer") == [], "said of the key, not of the user"
    world.iterable.faults = None
    assert world.run().requests == 40


def test_a_refused_key_costs_one_request_when_all_leave(world: World) -> None:
    """The first of those who leave is a canary as well, when nothing is pending for anybody else."""
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
    """Three in a row rejected for a reason that is the project's: exit 1; three are rejected, the rest is pending."""
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


def test_a_canary_with_many_events(world: World) -> None:
    """One profile and one event, then everybody has a turn; the canary's further events go with theirs."""
    world.environ["WORKERS"] = "1"  # so that the order of the requests is the order of the turns
    world.rows = [person(1, event_time=T0 + timedelta(hours=hour)) for hour in range(300)] + people(40)[1:]

    assert counts(world.run()) == ((40, 0, 0, 0), (339, 0, 0, 0))
    assert world.sent[:2] == [(UPDATE, address(1)), (TRACK, address(1))]
    whose = [who for _, who in world.sent]
    while whose[-1] == address(1):  # nobody else waits any more
        whose.pop()
    in_a_row = [len(list(requests)) for who, requests in groupby(whose) if who == address(1)]
    assert len(in_a_row) > 5 and max(in_a_row) <= 2 + ONE_BY_ONE.events


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        pytest.param(catalogue.BAD_API_KEY, "ITERABLE_API_KEY", id="BadApiKey"),
        pytest.param(catalogue.rate_limited("3600"), "3600 s", id="Retry-After of an hour"),
    ],
)
@pytest.mark.parametrize("at", [1, 8])
def test_what_stops_a_run_at_once(world: World, fault: Fault, word: str, at: int) -> None:
    """A key that is refused by name or an endless wait stops the run at that very request, at whatever user."""
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
    """Users who were claimed and never sent, and whom a refused key turned away, cost no request when their rows are as
    they were delivered.
    """
    world.rows = people(10)
    world.run()
    world.rows = [person(number, first_name="New") for number in range(1, 11)]
    world.iterable.faults = scripted([None, catalogue.BAD_API_KEY])
    assert world.run().requests == 2

    world.iterable.faults = None
    world.rows = people(10)
    world.run()
    assert world.sent == [(UPDATE, address(1))]


@pytest.mark.parametrize("environ", [{}, {"ITERABLE_BULK": "true"}, {"USER_ID_COLUMN": "id", "IDENTIFY_BY": "email"}])
def test_whom_a_refused_key_turned_away_is_not_in_doubt(world: World, environ: dict[str, str]) -> None:
    """A first run with a wrong key leaves a backlog and nothing else: neither its one user nor the next is in doubt."""
    world.environ |= environ
    world.rows = people(10)
    world.iterable.faults = lambda _: catalogue.BAD_API_KEY
    assert world.run().requests == 1

    assert world.table("SELECT COUNT(*), SUM(state) FROM pending") == [(20, 0)]
    for table in ("known", "member", "name"):
        assert world.table(f"SELECT * FROM {table}") == []


def test_what_was_held_when_the_run_was_stopped_is_not_in_doubt(world: World) -> None:
    """Nor do users cost a request who were claimed, and held while it was to be confirmed that the API is down."""
    world.environ |= {"WORKERS": "8", "MAX_RETRIES": "1"}
    world.rows = people(60)
    world.run()
    world.rows = [person(number, first_name="New") for number in range(1, 61)]
    world.iterable.faults = scripted([None, *[catalogue.UNAVAILABLE] * 60])
    assert world.run().exit_code == ExitCode.STOPPED
    tried = set(world.sent)

    world.iterable.faults = None
    world.rows = people(60)
    assert world.run().exit_code == ExitCode.DONE
    assert set(world.sent) == tried


@pytest.mark.parametrize("fault", [catalogue.BAD_API_KEY, catalogue.rate_limited("3600")], ids=str)
@pytest.mark.parametrize("profile", ["first_name", ""], ids=["after the profile", "events only"])
def test_a_stop_is_heeded_between_two_requests_of_one_user(world: World, fault: Fault, profile: str) -> None:
    """An answer that stops the run is the last one, though 300 more events of the user are pending: all are failed."""
    world.environ["USER_FIELDS"] = profile
    world.rows = [person(1, page=f"page {number}") for number in range(300)]
    world.iterable.faults = lambda request: fault if request.path == TRACK else None

    summary = world.run()

    assert [path for path, _ in world.sent].count(TRACK) == 1
    assert summary.exit_code == ExitCode.STOPPED
    assert (summary.events.delivered, summary.events.failed) == (0, 300)
    world.iterable.faults = None
    assert world.run().events.delivered == 300
