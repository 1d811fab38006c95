"""What stops a run after it was made sure of, and what costs one user alone."""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile
from typing import Any

import pytest

from sync.delivery.turn import ONE_BY_ONE
from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.delivery.answers import always
from tests.harness import TRACK, UPDATE, World, about, counts, identity
from tests.sample_rows import T0, address, people, person
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, Faults, on, scripted

DOWN = catalogue.UNAVAILABLE


FIREWALL = catalogue.page(403, "blocked by the firewall")


def those(numbers: range, fault: Fault) -> Faults:
    """Every request of these users ends like this."""
    odd = {address(number) for number in numbers}
    return lambda request: fault if identity(request) in odd else None


FAULTS = [
    pytest.param(DOWN, 3, "the API is down", id="503"),
    pytest.param(catalogue.NO_ANSWER, 3, "the API is down", id="time-out"),
    pytest.param(catalogue.FORBIDDEN, 1, "ITERABLE_API_KEY", id="403"),
    pytest.param(catalogue.ACTION_NOT_FOUND, 1, "ITERABLE_API_BASE_URL", id="404"),
    pytest.param(catalogue.NOT_ALLOWED, 1, "ITERABLE_API_BASE_URL", id="405"),
    pytest.param(catalogue.FOUND, 1, "ITERABLE_API_BASE_URL", id="302"),
    pytest.param(catalogue.JWT_MISSING, 1, "USE_JWT_AUTH", id="a key that wants a JWT"),
    pytest.param(catalogue.PAGE, 1, "not understood", id="a page"),
    pytest.param(catalogue.UNKNOWN_CODE, 1, "not understood", id="an unknown code"),
]


@pytest.mark.parametrize(
    ("fault", "attempts", "word", "before"),
    [pytest.param(*one.values, number % 2 * 3, id=one.id) for number, one in enumerate(FAULTS)],
)
@pytest.mark.parametrize("bulk", [False, True], ids=["singly", "bulk"])
def test_an_api_that_fails_for_everybody(
    world: World, fault: Fault, attempts: int, word: str, bulk: bool, before: int
) -> None:
    """Five calls in a row and five users drawn at random: at most ten users, and the sentence says what it was."""
    world.environ["ITERABLE_BULK"] = str(bulk)
    world.rows = people(before)
    world.run()
    world.rows = people(40)
    world.iterable.faults = always(fault)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 10 * attempts)
    assert counts(summary) == ((0, before, 0, 40 - before), (0, before, 0, 40 - before))
    assert word in str(summary.stopped_because) and "10 calls in a row failed" in str(summary.stopped_because)
    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE
    assert [event["writes"] for event in world.events] == [1] * 40


@pytest.mark.parametrize("bulk", [False, True], ids=["singly", "bulk"])
def test_an_api_that_goes_down_in_the_middle(world: World, monkeypatch: pytest.MonkeyPatch, bulk: bool) -> None:
    """The same in the middle of a run; in bulk a batch is a call, and single users are sampled from it."""
    world.environ |= {"ITERABLE_BULK": str(bulk), "WORKERS": "1"}
    monkeypatch.setattr("sync.run.steps.BULK_WORKERS", 1)  # of several, some may be on the wire as the fifth call fails
    world.rows = people(count := 2_500 if bulk else 40)
    world.iterable.faults = scripted([None] * 4 + [DOWN] * 10_000)
    summary = world.run()

    assert (summary.exit_code, "the API is down" in str(summary.stopped_because)) == (ExitCode.STOPPED, True)
    assert summary.requests == 4 + 3 * (5 + 5)
    assert sum(counts(summary)[0]) == sum(counts(summary)[1]) == count
    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE


@pytest.mark.parametrize("bulk", [False, True], ids=["singly", "bulk"])
@pytest.mark.parametrize("profile", ["first_name", ""], ids=["after the profile", "events only"])
def test_an_api_that_goes_down_inside_one_user(world: World, profile: str, bulk: bool) -> None:
    """One user with 300 events, and from the second event on nothing is answered: a few calls, exit 1, all pending."""
    world.environ |= {"ITERABLE_BULK": str(bulk), "USER_FIELDS": profile, "SEGMENT_FIELD": ""}
    world.rows = [person(1, page=f"page {number}") for number in range(300)]
    world.iterable.faults = scripted([None] * (2 if profile else 1) + [DOWN] * 1_000)
    summary = world.run()

    assert (summary.exit_code, "the API is down" in str(summary.stopped_because)) == (ExitCode.STOPPED, True)
    assert summary.requests <= 2 + 3 * 5
    assert counts(summary)[1] == (1, 0, 0, 299)


def test_the_run_goes_on_when_somebody_who_is_drawn_is_answered(world: World) -> None:
    """One user who is accepted between the failing ones starts the count anew."""
    world.rows = people(12)
    well = {address(1), address(6), address(11)}
    world.iterable.faults = lambda request: None if identity(request) in well else DOWN
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.INCOMPLETE, ((3, 0, 0, 9), (3, 0, 0, 9)))


@pytest.mark.parametrize(
    ("fault", "odd", "users", "runs"),
    [
        pytest.param(FIREWALL, range(1, 2), 12, 1, id="a firewall dislikes a name"),
        pytest.param(catalogue.SERVER_ERROR, range(1, 6), 12, 1, id="500 GenericError for the first 5 of 12"),
        pytest.param(catalogue.SERVER_ERROR, range(4, 9), 12, 1, id="for five in the middle"),
        pytest.param(catalogue.SERVER_ERROR, range(8, 13), 12, 1, id="for the last five"),
        pytest.param(catalogue.UNKNOWN_CODE, range(1, 21), 26, 3, id="an unknown code for the first 20 of 26"),
        pytest.param(catalogue.ACTION_NOT_FOUND, range(7, 8), 26, 1, id="a JSON 404 for one of 26"),
        pytest.param(catalogue.JWT_SIGNATURE, range(1, 4), 12, 1, id="a refused JWT for the first 3 of 12"),
        pytest.param(catalogue.SERVER_ERROR, range(1, 61), 70, 4, id="the first 60 of 70"),
    ],
)
@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"WORKERS": "1"}, id="singly"),
        pytest.param({"WORKERS": "8"}, id="eight at once"),
        pytest.param({"ITERABLE_BULK": "true"}, id="bulk"),  # which has a number of workers of its own
    ],
)
def test_users_who_always_fail(
    world: World, fault: Fault, odd: range, users: int, runs: int, environ: dict[str, str]
) -> None:
    """They keep nobody from being served; once all others are, they alone fail: exit 3 if it is one, 1 if more."""
    world.environ |= environ
    world.rows = people(users)
    bad = {address(number) for number in odd}
    world.iterable.faults = lambda request: fault if bad & whom(request) else None
    for _ in range(runs):
        summary = world.run()
    assert sorted(world.profiles) == sorted(address(n) for n in range(1, users + 1) if n not in odd)
    assert summary.users.failed == len(odd)
    assert summary.exit_code == (ExitCode.INCOMPLETE if summary.users.delivered else ExitCode.STOPPED)
    again = world.run()
    alone = ExitCode.INCOMPLETE if len(odd) == 1 else ExitCode.STOPPED
    assert (again.exit_code, again.users.delivered, again.users.failed) == (alone, 0, len(odd))


def whom(request: Request) -> set[str]:
    """The users whom a request is about, one or many."""
    body = request.json()
    items = next((body[key] for key in ("users", "events") if key in body), [body])
    return {item["email"] for item in items}


@pytest.mark.parametrize("bulk", [False, True], ids=["singly", "bulk"])
def test_a_known_failer_comes_last(world: World, monkeypatch: pytest.MonkeyPatch, bulk: bool) -> None:
    """Who failed is served after everybody else, and does not stop a run; once delivered, the name is good again."""
    world.environ |= {"ITERABLE_BULK": str(bulk), "WORKERS": "1"}
    monkeypatch.setattr("sync.run.steps.BULK_WORKERS", 1)  # of two, either may be the first on the wire
    world.rows = people(8)
    bad = {address(1), address(2)}
    world.iterable.faults = lambda request: DOWN if bad & whom(request) else None
    world.run()
    world.rows = [person(n, first_name="New") for n in range(1, 9)]
    world.run()
    before_them = takewhile(lambda request: not bad & whom(request), world.iterable.requests)
    assert set().union(*map(whom, before_them)) == {address(n) for n in range(3, 9)}

    world.iterable.faults = None
    world.run()
    world.rows = [person(n, first_name="Newer") for n in range(1, 9)]
    world.run()
    assert whom(world.iterable.requests[0]) == {address(1)}


@pytest.mark.parametrize("number", [1, 12], ids=["the first", "the last"])
@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_user_whose_events_always_fail(world: World, number: int, workers: str) -> None:
    """The turn ends after five calls; the others are served, and the run ends with 3."""
    world.environ["WORKERS"] = workers
    views = [person(number, event_time=T0 + timedelta(hours=hour)) for hour in range(40)]
    world.rows = [row for one in people(12) for row in (views if one["id"] == number else [one])]
    world.iterable.faults = about(address(number), DOWN, TRACK)
    summary = world.run()

    assert (summary.exit_code, summary.stopped_because) == (ExitCode.INCOMPLETE, None)
    assert counts(summary) == ((12, 0, 0, 0), (11, 0, 0, 40))
    assert world.sent.count((TRACK, address(number))) == 5 * 3


def test_the_row_doubles_while_runs_are_stopped(world: World) -> None:
    """Each run in a row that the rule stopped tries twice as many; a run that is not stopped begins anew."""
    world.environ["MAX_RETRIES"] = "1"
    world.rows = people(200)
    world.iterable.faults = always(DOWN)
    assert [world.run().requests for _ in range(4)] == [5 + 5, 10 + 5, 20 + 5, 40 + 5]
    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE
    world.rows = [person(n, first_name="New") for n in range(1, 201)]
    world.iterable.faults = always(DOWN)
    assert world.run().requests == 5 + 5


def test_a_refused_jwt(world: World) -> None:
    """A JWT that is refused for everybody stops the run after ten users; each was made anew once."""
    world.environ.update(USE_JWT_AUTH="true", ITERABLE_JWT_SECRET="s" * 32)
    world.rows = people(20)
    world.iterable.faults = always(catalogue.JWT_SIGNATURE)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 20)
    assert "ITERABLE_JWT_SECRET" in str(summary.stopped_because)
    assert summary.auth == "jwt"


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
    monkeypatch.setattr("sync.run.steps.ONE_BY_ONE", ONE_BY_ONE._replace(events=4))
    world.rows = [person(1, event_time=T0 + timedelta(seconds=second)) for second in range(10)]
    world.iterable.faults = fault
    summary = world.run()

    assert counts(summary) == expected
    assert sum(path == TRACK for path, _ in world.sent) == (10 if summary.users.delivered else 0)


@pytest.mark.parametrize("bulk", [False, True], ids=["singly", "bulk"])
def test_all_events_of_a_rejected_profile_are_counted(world: World, bulk: bool) -> None:
    """Also those beyond what is in memory at a time: the counts add up."""
    world.environ["ITERABLE_BULK"] = str(bulk)
    world.rows = [person(1, event_time=T0 + timedelta(minutes=minute)) for minute in range(1_200)] + people(3)[1:]
    world.iterable.project.rules.forgotten.add(address(1))
    summary = world.run()

    assert counts(summary) == ((2, 0, 1, 0), (2, 0, 1_200, 0))
    assert (summary.users.newly_rejected, summary.events.newly_rejected) == (1, 1_200)
