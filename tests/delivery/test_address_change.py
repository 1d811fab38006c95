"""A user's address change: whose an address is, which is looked up, and what is in doubt."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sync.delivery.stop import Stop
from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.delivery.answers import always
from tests.harness import Wire, World, counts
from tests.run.moving import ANN, BOB, BOTH_WAYS, CAT, DAN, MOVE, lost, moves, moving_world, names, quiet, rows_of
from tests.sample_rows import person
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, refused, scripted
from tests.stand_in.names import ProjectType
from tests.stand_in.rules import ProjectRules

LOOK_UP = "/api/users/getByEmail"
EXISTS = refused(400, "EmailAlreadyExists", "already exists")


@BOTH_WAYS
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A sync into an email-based project, one by one or in bulk."""
    return moving_world(tmp_path, monkeypatch, ITERABLE_BULK=str(request.param).lower())


def unconfirmed(world: World, users: int = 1) -> None:
    """So many users have a new address at Iterable, and the answers that said so were lost."""
    world.environ["MAX_RETRIES"] = "1"
    world.rows = [person(n, email=f"old{n}@example.com") for n in range(1, users + 1)]
    world.run()
    world.rows = [person(n, email=f"new{n}@example.com") for n in range(1, users + 1)]
    world.iterable.faults = lost
    world.run()
    world.environ["MAX_RETRIES"] = "3"


def answering(look_up: Callable[[Request], Fault | None], change: Fault | None = EXISTS) -> catalogue.Faults:
    """What is answered to a look-up, and to an address change."""
    return lambda request: look_up(request) if request.path == LOOK_UP else change if request.path == MOVE else None


def look_ups(world: World) -> int:
    """How many requests of the last run were look-ups."""
    return [request.path for request in world.iterable.requests].count(LOOK_UP)


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        pytest.param(catalogue.UNAVAILABLE, 3, id="503"),
        pytest.param(catalogue.NO_ANSWER, 3, id="time-out"),
        pytest.param(catalogue.RESET, 3, id="reset"),
        pytest.param(catalogue.FORBIDDEN, 1, id="403"),
        pytest.param(catalogue.ACTION_NOT_FOUND, 1, id="404"),
        pytest.param(catalogue.PAGE, 1, id="a page"),
        pytest.param(catalogue.UNKNOWN_CODE, 1, id="an unknown code"),
    ],
)
def test_nothing_was_read(world: World, fault: Fault, attempts: int) -> None:
    """The new address exists, and whose it is cannot be read: failed, not rejected; read again, it is ours."""
    unconfirmed(world)
    world.iterable.faults = answering(always(fault))
    for _ in range(2):
        summary = world.run()
        assert (summary.exit_code, look_ups(world)) == (ExitCode.INCOMPLETE, attempts)
        assert counts(summary) == ((0, 0, 0, 1), (0, 1, 0, 0))
        assert "but at Iterable another user has" not in world.log()
    assert world.table("SELECT COUNT(*) FROM failer") == [(1,)]

    world.iterable.faults = answering(always(None))  # type: ignore[arg-type]
    summary = world.run()
    assert (summary.exit_code, summary.moved, names(world)) == (ExitCode.DONE, 1, {"new1@example.com": "1"})
    world.iterable.faults = None
    assert quiet(world)


def test_the_quota_of_look_ups(world: World) -> None:
    """Attempts that ended in 429: the user goes back into the queue, and is looked up again."""
    unconfirmed(world)
    world.iterable.faults = answering(scripted([catalogue.RATE_LIMITED] * 7))
    summary = world.run()

    assert (summary.exit_code, summary.moved, names(world)) == (ExitCode.DONE, 1, {"new1@example.com": "1"})
    assert (look_ups(world), summary.retries) == (8, {"429": 5})


def test_the_quota_after_an_answer_that_was_lost(world: World) -> None:
    """One attempt made the change and its answer was lost, the others ended in 429: from then on it is in doubt."""
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(CAT)
    limit = catalogue.RATE_LIMITED
    script = iter([catalogue.UNAVAILABLE.applied(), limit, limit, *[EXISTS] * 9])
    world.iterable.faults = lambda request: next(script) if request.path == MOVE else None
    summary = world.run()

    assert (summary.exit_code, summary.moved, look_ups(world), names(world)) == (ExitCode.DONE, 1, 1, {CAT: "1"})


def test_what_is_said_of_an_old_address_that_is_unknown(world: World) -> None:
    """The run goes on with the profile; the log says "any more" where an answer that was lost explains it."""
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(CAT)
    world.iterable.faults = scripted([catalogue.UNAVAILABLE.applied()])
    assert world.run().moved == 1
    world.rows = rows_of(DAN)
    world.iterable = Wire(ProjectRules(project_type=ProjectType.EMAIL))
    assert world.run().moved == 0

    assert re.findall(f"Iterable does not know (.*) email={CAT}", world.log()) == [f"{ANN} any more"]
    assert re.findall(f"Iterable does not know (.*) email={DAN}", world.log()) == [CAT]
    assert names(world) == {DAN: "1"}


@pytest.mark.parametrize("fault", [catalogue.BAD_API_KEY, catalogue.rate_limited("3600")], ids=str)
def test_what_stops_a_run_at_once(world: World, fault: Fault) -> None:
    """A key that is refused by name, or an endless wait: the run stops at the first look-up."""
    unconfirmed(world, users=3)
    world.iterable.faults = answering(always(fault))
    summary = world.run()

    assert (summary.exit_code, [request.path for request in world.iterable.requests]) == (1, [MOVE, LOOK_UP])
    assert counts(summary)[0] == (0, 0, 0, 3)
    world.iterable.faults = None
    assert (world.run().exit_code, world.run().requests) == (0, 0)
    assert names(world) == {f"new{n}@example.com": str(n) for n in (1, 2, 3)}


def handed_over(world: World, users: int = 1) -> None:
    """So many addresses were those of users who have left, and then of others, who have new ones now."""
    for ids, name in ((0, "old"), (100, "old"), (100, "new")):
        world.rows = [person(ids + n, email=f"{name}{n}@example.com") for n in range(1, users + 1)]
        if name == "old":
            assert world.run().exit_code == ExitCode.DONE


@pytest.mark.parametrize("fault", [catalogue.UNAVAILABLE, catalogue.PAGE], ids=str)
def test_an_old_address_that_two_users_had(world: World, fault: Fault) -> None:
    """Whose it is cannot be read: nothing is changed, and the user is failed; read again, the address is changed."""
    handed_over(world)
    world.iterable.faults = answering(always(fault), change=None)
    summary = world.run()

    assert (summary.exit_code, moves(world), counts(summary)[0]) == (ExitCode.INCOMPLETE, [], (0, 0, 0, 1))
    world.iterable.faults = None
    assert (world.run().exit_code, names(world)) == (ExitCode.DONE, {"new1@example.com": "101"})


def test_five_look_ups_in_a_row_that_fail(world: World) -> None:
    """They make a run suspicious and stop it, as any calls do: the API is down."""
    handed_over(world, users=40)
    world.iterable.faults = answering(always(catalogue.UNAVAILABLE), change=None)
    summary = world.run()

    assert (summary.exit_code, moves(world), counts(summary)[0]) == (ExitCode.STOPPED, [], (0, 0, 0, 40))
    assert "the API is down: " in str(summary.stopped_because)
    assert "calls in a row failed" in str(summary.stopped_because)
    assert 3 * 5 <= look_ups(world) <= 3 * (5 + 5)


def test_no_look_up_once_the_run_is_to_stop(world: World) -> None:
    """A stop between the change and the look-up is heeded; the change stays in doubt, though it is made in this run."""
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(CAT)
    struck = threading.Event()

    def strike(request: Request) -> Fault | None:
        if request.path == MOVE and not struck.is_set():
            struck.set()
            return catalogue.UNAVAILABLE.applied()
        return EXISTS if request.path == MOVE else None

    world.iterable.faults = strike
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sync.delivery.address_change._is_taken", _stopping_all(patch))
        summary = world.run()
    assert (summary.exit_code, look_ups(world)) == (ExitCode.STOPPED, 0)

    world.iterable.faults = answering(always(None))  # type: ignore[arg-type]
    assert (world.run().exit_code, look_ups(world), names(world)) == (ExitCode.DONE, 1, {CAT: "1"})


def _stopping_all(patch: pytest.MonkeyPatch) -> Callable[[object], bool]:
    """An answer that says the address is taken, while the run is told to stop."""
    stops: list[Stop] = []
    made = Stop.__init__

    def make(stop: Stop) -> None:
        stops.append(stop)
        made(stop)

    patch.setattr(Stop, "__init__", make)

    def taken(_call: object) -> bool:
        for stop in stops:
            stop.set("the test says so")
        return True

    return taken


def test_another_user_has_the_address(world: World) -> None:
    """Such a change is rejected, with the way out. Nobody looks whose the address is, for nothing is in doubt."""
    world.rows = [person(1, email="old1@example.com")]
    world.iterable.faults = None
    world.run()
    world.rows = [person(1, email="new1@example.com")]
    world.iterable.faults = answering(always(catalogue.BAD_API_KEY))
    summary = world.run()

    assert (summary.exit_code, look_ups(world), counts(summary)[0]) == (ExitCode.INCOMPLETE, 0, (0, 0, 1, 0))
    assert "but at Iterable another user has new1@example.com: merge the two there" in world.log()


def test_a_jwt_enabled_key_may_not_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks then what the key may not read, which would stop the run: the address is taken for another's."""
    world = moving_world(tmp_path, monkeypatch, USE_JWT_AUTH="true", ITERABLE_JWT_SECRET="s" * 32)
    world.iterable.faults = None
    unconfirmed(world)
    world.iterable.faults = answering(always(catalogue.BAD_API_KEY))
    summary = world.run()

    assert (summary.exit_code, look_ups(world), counts(summary)[0]) == (ExitCode.INCOMPLETE, 0, (0, 0, 1, 0))
    assert "but at Iterable another user has new1@example.com: merge the two there" in world.log()


def test_a_change_that_failed_leaves_nothing_under_the_new_address(world: World) -> None:
    """Neither a profile was sent there nor is the user in the segment there: who leaves leaves under the old one."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = rows_of(CAT, BOB)
    world.iterable.faults = answering(always(None), catalogue.PAGE)  # type: ignore[arg-type]
    assert world.run().exit_code == ExitCode.INCOMPLETE
    world.iterable.faults = None
    world.rows = rows_of(CAT, BOB)[1:]
    assert world.run().left_segment == 1
    assert names(world) == {ANN: "1", BOB: "2"}
    assert (world.profiles[ANN]["recent_page_view"], world.profiles[BOB]["recent_page_view"]) == (False, True)


def test_a_stop_between_two_old_addresses(world: World) -> None:
    """The first attempt made the change, and the second found nobody: though the next old address is not tried, the
    change is in doubt, and the user is found when the address changes once more."""
    world.rows = rows_of(ANN)
    world.run()
    world.environ["MAX_RETRIES"] = "1"
    world.rows = rows_of(CAT)
    world.iterable.faults = lambda request: catalogue.UNAVAILABLE if request.path == MOVE else None
    world.run()
    world.environ["MAX_RETRIES"] = "3"
    world.rows = rows_of(BOB)
    world.iterable.faults = scripted([catalogue.UNAVAILABLE.applied()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sync.delivery.address_change._is_unknown", _stopping_all(patch))
        assert world.run().exit_code == ExitCode.STOPPED
    assert (moves(world), names(world)) == ([(ANN, BOB), (ANN, BOB)], {BOB: "1"})

    world.iterable.faults = None
    world.rows = rows_of(DAN)
    assert (world.run().exit_code, names(world)) == (ExitCode.DONE, {DAN: "1"})
