"""A run in which nothing was accepted: its exit code, its cause, and one number of users everywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from sync.rows.source import Row
from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.delivery.answers import always
from tests.harness import TRACK, UPDATE, World, whom
from tests.run.moving import ANN, BOB, CAT, DAN, MOVE, moving_world, rows_of
from tests.sample_rows import T0, address, people, person
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, Faults, bulk_result, on

DOWN = always(catalogue.UNAVAILABLE)
JWT = {"USE_JWT_AUTH": "true", "ITERABLE_JWT_SECRET": "s" * 32}
BULK = {"ITERABLE_BULK": "true"}
WAYS = [
    pytest.param({}, DOWN, "the API is down", id="singly"),
    pytest.param(BULK, DOWN, "the API is down", id="bulk"),
    pytest.param(JWT, always(catalogue.JWT_SIGNATURE), "ITERABLE_JWT_SECRET", id="JWT"),
]


class Told(NamedTuple):
    """What one run said, and where."""

    code: int
    users: dict[str, int]
    events: dict[str, int]
    because: str | None
    last_line: str
    mail: str


@pytest.fixture
def run(world: World, capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """One run by the command line, from cron, and all that it said."""

    def one(*flags: str) -> Told:
        code = world.main("--json", *flags)
        out, mail = capsys.readouterr()
        told = json.loads(out)
        last = world.log().splitlines()[-1]
        return Told(code, told["users"], told["events"], told["stopped_because"], last, mail)

    return one


def new_views(numbers: range) -> list[Row]:
    """The profiles of these users as they were, and a new event of each."""
    return [person(number, event_time=T0 + timedelta(days=1, seconds=number)) for number in numbers]


def check(told: Told, cause: str, users: int, events: int) -> None:
    """Exit code 1; the cause and the numbers of the summary stand in every place."""
    assert (told.code, told.users["failed"], told.events["failed"]) == (ExitCode.STOPPED, users, events)
    assert (told.users["delivered"], told.events["delivered"]) == (0, 0)
    for text in (str(told.because), told.last_line, told.mail):
        assert cause in text
        numbers = [users, events] if users and events else [users or events]
        (said,) = re.findall(r"nothing was accepted, and (\d+) (?:users|events) failed(?: \((\d+) events\))?", text)
        assert [int(number) for number in said if number] == numbers
    assert f"users_failed={users} " in told.last_line and f"events_failed={events} " in told.last_line


@pytest.mark.parametrize(("environ", "faults", "cause"), WAYS)
@pytest.mark.parametrize("count", [2, 5, 9])
def test_every_run_exits_1_for_as_long_as_it_lasts(
    world: World, run: Callable[..., Told], environ: dict[str, str], faults: Faults, cause: str, count: int
) -> None:
    """More than one user failed and nothing was accepted: exit 1 and the cause, also of users who failed before."""
    world.environ |= environ
    world.rows = people(count)
    world.iterable.faults = faults
    for _ in range(4):
        check(run(), cause, count, count)

    world.iterable.faults = None
    assert run().code == ExitCode.DONE


@pytest.mark.parametrize(("environ", "faults", "cause"), WAYS)
def test_more_users_than_a_stopped_run_tries(
    world: World, run: Callable[..., Told], environ: dict[str, str], faults: Faults, cause: str
) -> None:
    """Whether a run is stopped or tries them all, as the limit doubles: exit 1, and all who failed are counted."""
    world.environ |= environ
    world.rows = people(30)
    world.iterable.faults = faults
    for _ in range(5):
        told = run()
        assert (told.code, told.users["failed"]) == (ExitCode.STOPPED, 30)
        assert all(cause in text for text in (str(told.because), told.last_line, told.mail))
        assert "users_failed=30 " in told.last_line and "failed=30;" in told.mail


@pytest.mark.parametrize(("environ", "faults", "cause"), WAYS)
def test_after_a_trial_the_number_is_that_of_all_who_failed(
    world: World, run: Callable[..., Told], environ: dict[str, str], faults: Faults, cause: str
) -> None:
    """Users who failed in a run with --limit count in the next as the others do, and in another one with --limit."""
    world.environ |= environ
    world.rows = people(8)
    world.iterable.faults = faults
    for flags, count in ((["--limit", "5"], 5), ([], 8), (["--limit", "5"], 5), ([], 8)):
        told = run(*flags)
        assert (told.users["failed"], told.events["failed"]) == (count, count)
        check(told, cause, count, count)


@pytest.mark.parametrize(("environ", "faults", "cause"), WAYS)
@pytest.mark.parametrize(
    ("pending", "failed"),
    [
        pytest.param({"EVENT_NAME": ""}, (8, 0), id="profiles only"),
        pytest.param({"USER_FIELDS": "", "SEGMENT_FIELD": ""}, (0, 8), id="events only"),
        pytest.param(new_views(range(1, 9)), (0, 8), id="a new event of each"),
        pytest.param([*new_views(range(1, 9)), *people(10)[8:]], (2, 10), id="some of them new"),
        pytest.param([], (8, 0), id="all leave the segment"),
    ],
)
def test_whatever_was_pending(
    world: World,
    run: Callable[..., Told],
    environ: dict[str, str],
    faults: Faults,
    cause: str,
    pending: dict[str, str] | list[Row],
    failed: tuple[int, int],
) -> None:
    """The rule and the numbers hold for profiles, events and segment exits."""
    world.environ |= environ
    world.rows = people(8)
    if isinstance(pending, dict):
        world.environ |= pending
    else:
        assert run().code == ExitCode.DONE
        world.rows = pending
    world.iterable.faults = faults
    for _ in range(3):
        check(run("--allow-mass-exit"), cause, *failed)


def nobody_found(request: Request) -> Fault:
    """A bulk answer by which Iterable knows none of these users."""
    return bulk_result(0, len(whom(request)), failedUpdates={"notFoundEmails": whom(request)})


@pytest.mark.parametrize(
    ("environ", "faults", "cause"),
    [
        pytest.param(JWT, on(TRACK, always(catalogue.JWT_UNKNOWN_USER)), "Email could not be found", id="JWT"),
        pytest.param(BULK, always(bulk_result(0, 8)), "its counts do not add up", id="misfit"),
        pytest.param(BULK, on("/api/events/trackBulk", nobody_found), "(notFoundEmails)", id="not found"),
    ],
)
def test_the_cause_is_what_was_answered(
    world: World, run: Callable[..., Told], environ: dict[str, str], faults: Faults, cause: str
) -> None:
    """Also where the API answers, and what it says is about each user: nobody is told that it is down."""
    world.environ |= environ
    world.rows = people(3)
    run()
    world.rows = new_views(range(1, 4))
    world.iterable.faults = faults
    for _ in range(3):
        told = run()
        check(told, cause, 0, 3)
        assert "API is down" not in told.mail


PROFILES, EVENTS = ({UPDATE, "/api/users/bulkUpdate"}, {TRACK, "/api/events/trackBulk"})


def down_for(who: str, paths: set[str]) -> Faults:
    """Every request to these paths fails that holds this user, alone or among others."""
    return lambda request: catalogue.UNAVAILABLE if request.path in paths and who in whom(request) else None


@pytest.mark.parametrize("environ", [{}, BULK], ids=["singly", "bulk"])
@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("paths", [PROFILES, EVENTS], ids=["profile", "event"])
def test_one_stubborn_user_alone(
    world: World, run: Callable[..., Told], environ: dict[str, str], count: int, paths: set[str]
) -> None:
    """It is about this user: exit 3 in every run, and the cause is told all the same."""
    world.environ |= environ
    world.rows = people(count)
    world.iterable.faults = down_for(address(1), paths)
    for _ in range(4):
        told = run()
        assert (told.code, told.because) == (ExitCode.INCOMPLETE, None)
        assert "failed_because='503 with an empty body'" in told.last_line
        assert "failed: " in told.mail and " users, 1 events, which the next run sends; " in told.mail
        assert "the last reason: 503 with an empty body" in told.mail


@pytest.mark.parametrize("environ", [{}, BULK], ids=["singly", "bulk"])
def test_one_stubborn_user_with_many_events(world: World, run: Callable[..., Told], environ: dict[str, str]) -> None:
    """So many calls of one user fail that they would stop a run: not of one who failed before, and is alone."""
    world.environ |= environ
    world.rows = [*people(8), *(person(1, page=f"page {number}") for number in range(40))]
    world.iterable.faults = down_for(address(1), EVENTS)
    for _ in range(4):
        told = run()
        assert (told.code, told.because, told.events["failed"]) == (ExitCode.INCOMPLETE, None, 41)
        assert "failed_because='503 with an empty body'" in told.last_line


def test_several_calls_of_one_user_are_one_user(world: World, run: Callable[..., Told]) -> None:
    """Users are counted, not calls: three events of one user that fail make nobody else a failure."""
    world.rows = people(3)
    run()
    world.rows = [*people(3), *(person(1, page=f"page {number}") for number in range(3))]
    world.iterable.faults = DOWN

    for _ in range(3):
        assert run().code == ExitCode.INCOMPLETE


@pytest.mark.parametrize("others", [0, 1])
def test_links_of_a_chain_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], others: int
) -> None:
    """They are failed, unsent, and do not make several of one; where several failed, the number is that of all."""
    world = moving_world(tmp_path, monkeypatch)
    new = [person(9, first_name="New")] * others
    world.rows = [*rows_of(ANN, BOB, CAT), *[person(9)] * others]
    assert world.main() == ExitCode.DONE
    world.rows = [*rows_of(BOB, CAT, DAN), *new]
    world.iterable.faults = DOWN
    for _ in range(3):
        capsys.readouterr()
        code = world.main()
        mail = capsys.readouterr().err

        assert [path for path, _ in world.sent if path == MOVE] == [MOVE] * 3, "the last link alone, with its retries"
        assert (code, "503 with an empty body" in mail) == (ExitCode.STOPPED if others else ExitCode.INCOMPLETE, True)
        assert f"failed: {3 + others} users" in mail or f"and {3 + others} users failed" in mail
