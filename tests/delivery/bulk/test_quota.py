"""Retries, the quota, and a stop in the middle of a batch."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sync.delivery.bulk import take_turn_in_bulk
from sync.delivery.rules import StopRules
from sync.delivery.stop import Stop
from sync.delivery.work import Answer, Ended, Gate, Turn, Why, Work
from sync.run.exit_codes import ExitCode
from sync.state.exchange import PendingEvent, PendingUser
from tests import faults as catalogue
from tests.delivery.bulk.requests import (
    EVENTS,
    TYPES,
    USERS,
    holding,
    items,
    lines,
    pending,
    sent,
)
from tests.harness import World, counts
from tests.sample_rows import T0, address, people, person
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, on, scripted


@pytest.mark.parametrize("fault", catalogue.EVERY_TRANSIENT_FAULT, ids=str)
def test_a_passing_trouble_costs_a_retry(world: World, fault: Fault) -> None:
    """Whatever passes is tried again: everybody is delivered, and each event is there once."""
    world.rows = people(50)
    world.iterable.faults = scripted([None, None, fault, None, fault])

    summary = world.run()
    assert summary.exit_code == ExitCode.DONE
    assert counts(summary) == ((50, 0, 0, 0), (50, 0, 0, 0))
    assert sum(summary.retries.values()) == 2
    assert summary.requests == 6
    assert len(world.events) == 50


@pytest.mark.parametrize("path", [USERS, EVENTS])
@pytest.mark.parametrize(
    "fault", [catalogue.SERVER_ERROR, catalogue.ACTION_NOT_FOUND, catalogue.JWT_MISMATCH_400, catalogue.UNKNOWN_CODE]
)
def test_one_record_that_breaks_every_batch(world: World, path: str, fault: Fault) -> None:
    """A batch that fails for whatever reason is halved, until the culprit stands alone and fails for itself."""
    world.rows = people(129)
    culprit = address(100)
    world.iterable.faults = holding(culprit, fault, path)

    summary = world.run()
    assert counts(summary)[path == EVENTS] == (128, 0, 0, 1)
    assert summary.exit_code == ExitCode.INCOMPLETE
    assert summary.requests < 80
    assert pending(world) == {culprit}
    assert world.table("SELECT person FROM failer") == [(culprit,)]


def test_a_batch_that_fails_once_is_delivered_in_halves(world: World) -> None:
    """All attempts of a batch failed: its halves are sent at once, and nobody has to wait for the next run."""
    world.rows = people(20)
    world.iterable.faults = on(USERS, scripted([None, *[catalogue.UNAVAILABLE] * 3]))

    summary = world.run()
    assert counts(summary) == ((20, 0, 0, 0), (20, 0, 0, 0))
    assert [len(batch) for batch in sent(world, USERS)][:4] == [1, 19, 19, 19]
    assert sorted(len(batch) for batch in sent(world, USERS)[4:]) == [9, 10], "both halves"


@pytest.mark.parametrize("culprits", [[0], [1], [40], [99], [7, 60]])
def test_bad_events_of_one_user(world: World, culprits: list[int]) -> None:
    """A user's own events are cut when they fail together: those that are in order are delivered."""
    world.rows = [person(1, page=f"page {n}", event_time=T0 + timedelta(hours=n)) for n in range(300)]
    bad = {f"page {n}" for n in culprits}

    def spoiled(request: Request) -> Fault | None:
        return catalogue.SERVER_ERROR if any(i["dataFields"]["page"] in bad for i in items(request)) else None

    world.iterable.faults = on(EVENTS, spoiled)
    assert counts(world.run()) == ((1, 0, 0, 0), (300 - len(bad), 0, 0, len(bad)))
    assert len(world.events) == 300 - len(bad)


def test_the_sibling_of_a_failed_half_is_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So one culprit, wherever it stands, never makes three calls fail in a row."""
    monkeypatch.setattr("sync.run.steps.BULK_WORKERS", 1)
    world.rows = people(9)
    world.iterable.faults = holding(address(2), catalogue.UNKNOWN_CODE)

    assert counts(world.run())[0] == (8, 0, 0, 1)
    numbers = [[int(who[4:].partition("@")[0]) for who in batch] for batch in sent(world, USERS)]
    assert numbers == [[1], [*range(2, 10)], [2, 3, 4, 5], [6, 7, 8, 9], [2, 3], [4, 5], [2], [3]]


@pytest.mark.parametrize("each", [1, 3])
def test_a_sampled_user_has_one_call(world: World, each: int) -> None:
    """Five calls in a row, and one of each of five sampled users, though these have several events in memory."""
    world.environ |= {"USER_FIELDS": "", "SEGMENT_FIELD": "", "MAX_RETRIES": "1"}
    world.rows = [person(n, page=f"page {page}") for n in range(1, 42) for page in range(each)]
    world.iterable.faults = scripted([None, *[catalogue.UNAVAILABLE] * 100])
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 1 + 5 + 5)


def test_throttled_users_are_queued_again(world: World) -> None:
    """Attempts that ended in 429 are about the quota: nobody fails for them, and nobody is called undelivered."""
    world.rows = people(30)
    world.iterable.faults = on(USERS, scripted([None, *[catalogue.RATE_LIMITED] * 3]))

    summary = world.run()
    assert counts(summary) == ((30, 0, 0, 0), (30, 0, 0, 0))
    assert summary.exit_code == ExitCode.DONE
    assert not lines(world, "bulk - ERROR")


@pytest.mark.parametrize("path", [USERS, EVENTS])
def test_a_throttled_batch_stays_a_batch(world: World, path: str) -> None:
    """The quota is 5 and 10 requests a second: users who wait for it are sent together again, not one by one."""
    world.rows = people(30)
    world.iterable.faults = on(path, scripted([None, *[catalogue.RATE_LIMITED] * 3]))

    assert world.run().exit_code == ExitCode.DONE
    assert [len(batch) for batch in sent(world, path)] == [1, 29, 29, 29, 29]


def test_a_throttled_event_is_not_overtaken(world: World) -> None:
    """A user's later events wait for the throttled one: oldest first, also through the queue."""
    world.rows = [person(n, email=address(n % 2)) for n in range(8)]
    world.iterable.faults = on(EVENTS, scripted([None] * 4 + [None] + [catalogue.RATE_LIMITED] * 3))

    assert counts(world.run())[1] == (8, 0, 0, 0)
    accepted = [
        item
        for request in world.iterable.requests
        if request.path == EVENTS and request.status == 200
        for item in items(request)
    ]
    for number in (0, 1):
        times = [item["createdAt"] for item in accepted if item["email"] == address(number)]
        assert times == sorted(times) and len(times) == 4


def test_a_stop_in_the_middle(world: World) -> None:
    """A run that is told to stop sends nothing more: what was answered is recorded, all else is pending."""
    world.rows = people(2_100)
    world.iterable.faults = on(USERS, scripted([None, None, catalogue.BAD_API_KEY]))
    summary = world.run()

    delivered, _, rejections, failed = counts(summary)[0]
    assert summary.exit_code == ExitCode.STOPPED
    assert delivered + failed == 2_100 and rejections == 0
    assert delivered >= 1 and failed >= 99
    world.iterable.faults = None
    again = counts(world.run())
    assert again[0] == (failed, delivered, 0, 0)
    assert len(world.events) == 2_100 and max(event["writes"] for event in world.events) == 1


def test_a_turn_that_is_stopped_makes_no_request(world: World) -> None:
    """Once the run is to stop, a batch under way sends no half and no event; all of it is left."""
    stop = Stop()
    client = world.client(world.settings, stop)
    world.iterable.faults = lambda _request: stop.set("enough") or TYPES  # type: ignore[func-returns-value]
    users = tuple(PendingUser(address(n), f'{{"email":"{address(n)}"}}', (PendingEvent(b"1", "{}"),)) for n in range(8))
    said: list[Answer] = []
    turn = Turn(Work(users), Gate(StopRules(), stop, lambda: 0.0), said.append)
    with pytest.raises(Ended) as ended:
        take_turn_in_bulk(turn, client)

    assert (ended.value.why, len(world.iterable.requests)) == (Why.STOPPED, 1)
    assert [work.users for work in turn.left] == [users[:4], users[4:]]
    assert [(answer.outcomes, answer.attempted) for answer in said] == [((), list(users))]
