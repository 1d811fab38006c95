"""Where a run could have believed too much: what was sent and never answered, what was owed and left its row, who is
to blame for an answer, and what a bug or a signal leaves behind.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import main
from iterable_client import IterableClient
from sync.delivery.dispatcher import Delivery
from sync.delivery.outcome import Result
from sync.delivery.stop import Stop
from sync.run import steps as sync
from sync.run.exit_codes import ExitCode
from sync.run.job import Job
from sync.run.settings import Settings, load_settings
from sync.run.signals import Interrupted, Interruption
from sync.sandbox import demo
from sync.sandbox.answers import Request
from sync.sandbox.faults import Fault, Faults, on, scripted
from sync.sandbox.rules import ProjectRules
from sync.sandbox.stand_in import StandIn
from sync.state.debts import Debts
from sync.state.file import State, StateError
from sync.state.outbox import Outbox
from sync.state.owed import OwedUser
from tests import faults as catalogue
from tests.harness import (
    PROJECT,
    TRACK,
    UPDATE,
    Rows,
    Wire,
    World,
    about,
    address,
    counts,
    environment,
    free_port,
    identity,
    people,
    person,
    wait_until,
)

DOWN = catalogue.UNAVAILABLE
SIGTERM = 128 + signal.SIGTERM
BULK_UPDATE, BULK_TRACK = "/api/users/bulkUpdate", "/api/events/trackBulk"
WAYS = pytest.mark.parametrize("bulk", [False, True], ids=["one by one", "bulk"])


class Died(BaseException):
    """The process ended here."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation with one worker, so that requests come in the order of the result."""
    return World(tmp_path, monkeypatch, WORKERS="1")


def whom(request: Request) -> list[str]:
    """The users that a request is about, single or bulk."""
    body = request.json()
    return [str(item["email"]) for item in body.get("users") or body.get("events") or [body]]


def asked(world: World) -> set[tuple[str, str]]:
    """What the last run sent, as paths of the single endpoints, whichever were used."""
    single = {BULK_UPDATE: UPDATE, BULK_TRACK: TRACK}
    requests = world.iterable.requests
    return {(single.get(request.path, request.path), who) for request in requests for who in whom(request)}


def segments_sent(world: World) -> dict[str, list[Any]]:
    """What the last run said of the segment, by user and in order."""
    said: dict[str, list[Any]] = {}
    for request in world.iterable.requests:
        if request.path == UPDATE:
            said.setdefault(identity(request), []).append(request.json()["dataFields"].get("recent_page_view"))
    return said


# -- 1: in doubt after an attempt, whatever the quota says ----------------------------------------------------


@WAYS
@pytest.mark.parametrize("kind", ["profile", "event"])
def test_throttled_after_an_answer_was_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, bulk: bool
) -> None:
    """A is held, B is applied and its answer lost, then 429 and back into the queue, and a signal stops the run while
    the user waits there: who goes back to A is not unchanged, but sent again.
    """
    world.environ["ITERABLE_BULK"] = str(bulk).lower()
    world.rows = people(3)
    world.run()
    column = {"profile": "first_name", "event": "browser"}[kind]
    world.rows[0] = person(1, **{column: "B"})
    world.iterable.faults = scripted([catalogue.LOST_ANSWER, catalogue.RATE_LIMITED, catalogue.RATE_LIMITED])
    _stop_while_queued(monkeypatch)
    stopped = world.run()
    assert (stopped.exit_code, len(world.iterable.requests)) == (SIGTERM, 3)
    assert _held_of(world, kind, column) == "B"

    world.iterable.faults = None
    world.rows = people(3)
    assert world.run().exit_code == ExitCode.DONE
    assert asked(world) == {(UPDATE if kind == "profile" else TRACK, address(1))}
    assert _held_of(world, kind, column) == person(1)[column]


def _stop_while_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next user who has to wait for the quota goes back into the queue just as the run gets a signal."""
    may_wait = Delivery._may_wait

    def struck(self: Delivery, user: OwedUser) -> bool:
        monkeypatch.setattr(Delivery, "_may_wait", may_wait)
        may = may_wait(self, user)
        signal.raise_signal(signal.SIGTERM)
        wait_until(self._stop.is_set)
        return may

    monkeypatch.setattr(Delivery, "_may_wait", struck)


def _held_of(world: World, kind: str, column: str) -> Any:
    """What Iterable holds in this field of user 1, or of the user's event."""
    if kind == "profile":
        return world.profiles[address(1)][column]
    (event,) = (event for event in world.events if event["email"] == address(1))
    return event["dataFields"][column]


# -- 2: what a switch made owed -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["profile", "event"])
def test_retry_rejected_that_fails_stays_owed(world: World, kind: str) -> None:
    """What --retry-rejected took up and could not deliver is owed by the next plain run."""
    world.rows = people(2)
    rules = world.iterable.project.rules
    spoiled, name = (rules.forgotten, address(2)) if kind == "profile" else (rules.disallowed_events, "page_view")
    spoiled.add(name)
    assert world.run().exit_code == ExitCode.INCOMPLETE
    spoiled.clear()
    assert world.run().requests == 0
    world.iterable.faults = about(address(2), DOWN)
    failed = world.run(retry_rejected=True)
    assert (failed.exit_code, failed.events.failed) == (ExitCode.INCOMPLETE, 1)

    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE
    assert world.sent == [(UPDATE, address(2)), (TRACK, address(2))][kind == "event" :]
    assert (len(world.profiles), len(world.events)) == (2, 2)


@pytest.mark.parametrize("well", [0, 4], ids=["before anybody", "after two users"])
def test_full_that_was_stopped_stays_owed(world: World, well: int) -> None:
    """Whom a stopped --full did not reach the next plain run sends, the rejected among them; nobody else."""
    world.rows = people(8)
    world.iterable.project.rules.forgotten.add(address(7))
    world.run()
    world.iterable.project.rules.forgotten.clear()
    world.iterable.faults = scripted([None] * well + [catalogue.BAD_API_KEY] * 20)
    assert world.run(full=True).exit_code == ExitCode.STOPPED

    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE
    reached = well // 2
    assert world.sent == [(path, address(n)) for n in range(reached + 1, 9) for path in (UPDATE, TRACK)]
    assert world.run().requests == 0


# -- 3: a bug after the request -------------------------------------------------------------------------------


@WAYS
def test_a_bug_after_the_request(world: World, monkeypatch: pytest.MonkeyPatch, bulk: bool) -> None:
    """An unexpected error once Iterable has the request leaves the user in doubt: back to A is sent again."""
    world.environ["ITERABLE_BULK"] = str(bulk).lower()
    world.rows = people(3)
    world.run()
    sender = "sync.delivery.bulk.BulkSender" if bulk else "sync.delivery.single.SingleSender"
    with monkeypatch.context() as broken:
        _break_after_sending(broken, sender)
        world.rows[0] = person(1, first_name="B", browser="B")
        assert world.run().exit_code == ExitCode.STOPPED
    assert [_held_of(world, "profile", "first_name"), _held_of(world, "event", "browser")] == ["B", "B"]

    world.rows = people(3)
    assert world.run().exit_code == ExitCode.DONE
    assert asked(world) == {(UPDATE, address(1)), (TRACK, address(1))}
    assert [_held_of(world, "profile", "first_name"), _held_of(world, "event", "browser")] == ["Name 1", "Firefox"]


def _break_after_sending(monkeypatch: pytest.MonkeyPatch, sender: str) -> None:
    """The sender does its work and fails before it can tell."""
    from sync.delivery import bulk, single

    kind: Any = {
        "sync.delivery.bulk.BulkSender": bulk.BulkSender,
        "sync.delivery.single.SingleSender": single.SingleSender,
    }[sender]
    real: Callable[[Any, Sequence[OwedUser]], list[Result]] = kind.send

    def send(self: Any, users: Sequence[OwedUser]) -> list[Result]:
        real(self, users)
        raise RuntimeError("after the request")

    monkeypatch.setattr(kind, "send", send)


# -- 4: a token for a user who was just created ---------------------------------------------------------------

JWT_KEY, JWT_SECRET = "jwt-key-of-the-project", "s" * 32


@pytest.fixture
def jwt_world(world: World) -> World:
    """An installation that signs in by JWT."""
    world.environ.update(USE_JWT_AUTH="true", ITERABLE_JWT_SECRET=JWT_SECRET, ITERABLE_API_KEY=JWT_KEY)
    world.iterable = Wire(ProjectRules(jwt_api_key=JWT_KEY, jwt_secret=JWT_SECRET))
    world.rows = people(8)
    return world


def not_found(times: int) -> Faults:
    """The first *times* events of each user are answered that the token's user could not be found."""
    seen: Counter[str] = Counter()

    def fault(request: Request) -> Fault | None:
        seen[identity(request)] += 1
        return catalogue.JWT_UNKNOWN_USER if seen[identity(request)] <= times else None

    return on(TRACK, fault)


@pytest.mark.parametrize("times", [1, 2])
def test_a_token_of_a_user_who_is_not_found_yet(jwt_world: World, times: int) -> None:
    """A user who was just created may not be found for seconds: tried again with backoff, within MAX_RETRIES."""
    jwt_world.iterable.faults = not_found(times)
    summary = jwt_world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.DONE, ((8, 0, 0, 0), (8, 0, 0, 0)))
    assert summary.requests == 8 * (2 + times)
    assert len(jwt_world.waits) == 8 * times
    assert jwt_world.waits[0] == pytest.approx(0.05, rel=0.11)
    assert len(jwt_world.events) == 8


def test_a_token_of_a_user_who_is_never_found(jwt_world: World) -> None:
    """If it stays so, these events have failed and are owed; the run is not stopped and no profile is kept back."""
    jwt_world.iterable.faults = not_found(1000)
    summary = jwt_world.run()

    assert (summary.exit_code, summary.stopped_because) == (ExitCode.INCOMPLETE, None)
    assert counts(summary) == ((8, 0, 0, 0), (0, 0, 0, 8))
    assert summary.requests == 8 * (1 + 3)
    jwt_world.iterable.faults = None
    assert jwt_world.run().exit_code == ExitCode.DONE
    assert jwt_world.sent == [(TRACK, address(number)) for number in range(1, 9)]


# -- 5: perhaps in the segment --------------------------------------------------------------------------------


def test_a_rejection_does_not_settle_the_segment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent with the segment true and the process died; then the changed row is rejected, which applies nothing: the
    user may be in the segment still, and the exit is owed when the row has left the result.
    """
    world.rows = people(2)
    world.run()
    world.rows = people(3)

    def died(*_: object) -> None:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(Outbox, "record", died)
        with pytest.raises(Died):
            world.run()
    assert world.profiles[address(3)]["recent_page_view"] is True

    world.rows = [*people(2), person(3, first_name="New")]
    world.iterable.project.rules.forgotten.add(address(3))
    assert counts(world.run())[0] == (0, 2, 1, 0)
    world.iterable.project.rules.forgotten.clear()
    world.rows = people(2)
    assert world.run().left_segment == 1
    assert world.profiles[address(3)]["recent_page_view"] is False
    assert world.run().requests == 0


# -- 6: who does not understand whom --------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("many", [5, 10])
def test_users_with_a_code_nobody_knows(world: World, many: int, bulk: bool) -> None:
    """A JSON answer with an unknown code is the API speaking of its user: these fail, all others are delivered."""
    world.environ["ITERABLE_BULK"] = str(bulk).lower()
    world.rows = people(20)
    odd = {address(number) for number in range(1, many + 1)}
    world.iterable.faults = lambda request: catalogue.UNKNOWN_CODE if odd & set(whom(request)) else None
    summary = world.run()

    assert (summary.exit_code, summary.stopped_because) == (ExitCode.INCOMPLETE, None)
    assert counts(summary) == ((20 - many, 0, 0, many), (20 - many, 0, 0, many))
    world.iterable.faults = None
    assert counts(world.run())[0] == (many, 20 - many, 0, 0)


@WAYS
@pytest.mark.parametrize("fault", [catalogue.PAGE, catalogue.EMPTY], ids=str)
def test_five_answers_that_are_no_api(world: World, fault: Fault, bulk: bool) -> None:
    """A proxy's or a maintenance page, or nothing at all, five times in a row: the API is not there, the run stops."""
    world.environ["ITERABLE_BULK"] = str(bulk).lower()
    world.rows = people(20)
    world.iterable.faults = lambda _: fault
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.STOPPED, 5)
    assert counts(summary) == ((0, 0, 0, 20), (0, 0, 0, 20))


# -- 7: this machine needs no proxy ---------------------------------------------------------------------------


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request for another machine goes to a proxy that is not there; waits take no time."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")
    from sync.run.job import make_client

    def client(settings: Settings, stop: Stop) -> IterableClient:
        made = make_client(settings, stop)
        made._sleep = lambda _: stop.is_set()
        return made

    monkeypatch.setattr(sync, "make_client", client)


@pytest.mark.usefixtures("dead_proxy")
def test_the_demo_needs_no_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo runs where the environment names a proxy."""
    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "demo_output")

    assert main.main(["--demo", "--json"]) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["retries"], told["users"]["failed"]) == ({"503": 1}, 0)


@pytest.mark.usefixtures("dead_proxy")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_base_url_on_this_machine_needs_no_proxy(tmp_path: Path, host: str) -> None:
    """A run against this machine speaks to it directly."""
    with StandIn() as iterable:
        environ = {**environment(tmp_path), "ITERABLE_API_BASE_URL": iterable.url.replace("127.0.0.1", host)}
        job = Job(load_settings(Path(os.devnull), environ), source=partial(Rows, people(3)))
        summary = sync.run(job)

        assert (summary.exit_code, summary.retries) == (ExitCode.DONE, {})
        assert len(iterable.requests) == 6


# -- 8: owed, and gone from the result ------------------------------------------------------------------------

CARRIED = pytest.mark.parametrize(
    "fault", [catalogue.BAD_API_KEY, DOWN, catalogue.LOST_ANSWER], ids=["never taken", "refused", "taken and not told"]
)


@CARRIED
def test_a_debt_whose_row_has_left(world: World, capsys: pytest.CaptureFixture[str], fault: Fault) -> None:
    """What is still owed to a user who has left the result goes out with the segment false, once, with the events;
    the dry run says the same.
    """
    world.rows = people(3)
    world.iterable.faults = lambda _: fault
    stopped = world.run()
    assert stopped.users.failed == 3
    world.iterable.faults = None
    world.rows = [person(3)]
    assert world.main("--dry-run") == ExitCode.DONE
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    summary = world.run()

    assert segments_sent(world) == {address(1): [False], address(2): [False], address(3): [True]}
    assert sorted(world.sent) == sorted((path, address(n)) for n in (1, 2, 3) for path in (UPDATE, TRACK))
    assert sorted((line["path"], line["body"]["email"]) for line in printed) == sorted(world.sent)
    assert {line["body"]["email"]: line["body"]["dataFields"]["recent_page_view"] for line in printed[::2]} == {
        who: said[0] for who, said in segments_sent(world).items()
    }
    assert summary.users.delivered + summary.left_segment == 3
    assert (summary.exit_code, summary.events.delivered, len(world.events)) == (ExitCode.DONE, 3, 3)
    assert [world.profiles[address(n)]["first_name"] for n in (1, 2, 3)] == ["Name 1", "Name 2", "Name 3"]
    assert world.run().requests == 0


@CARRIED
def test_a_debt_whose_row_comes_back(world: World, fault: Fault) -> None:
    """A row that is there again is told as true, like any other."""
    world.rows = people(2)
    world.iterable.faults = lambda _: fault
    world.run()
    world.iterable.faults = None
    world.rows = [person(2)]
    world.run()
    world.rows = people(2)
    world.run()

    assert world.sent == [(UPDATE, address(1))]
    assert world.profiles[address(1)]["recent_page_view"] is True


@CARRIED
def test_a_debt_while_a_mass_exit_is_held_back(world: World, fault: Fault) -> None:
    """Held back, nobody is told that these users are in the segment; allowed, they are told that they are not."""
    world.rows = people(12)
    world.run()
    world.rows = people(15)
    world.iterable.faults = lambda request: fault if identity(request) in map(address, (13, 14, 15)) else None
    world.run()
    before = {number: world.profiles.get(address(number)) for number in (13, 14, 15)}
    world.iterable.faults = None
    world.rows = [person(1)]
    held = world.run()
    assert (held.exit_code, bool(held.held_back)) == (ExitCode.INCOMPLETE, True)
    assert True not in [said for told in segments_sent(world).values() for said in told]
    assert {number: world.profiles.get(address(number)) for number in (13, 14, 15)} == before

    allowed = world.run(allow_mass_exit=True)
    assert (allowed.exit_code, allowed.users.delivered + allowed.left_segment) == (ExitCode.DONE, 14)
    assert segments_sent(world) == {address(number): [False] for number in range(2, 16)}
    assert len(world.events) == 15


def test_a_debt_and_a_renamed_segment(world: World) -> None:
    """A debt from before SEGMENT_FIELD changed says nothing of the old field, and false for the new one."""
    world.rows = people(2)
    world.iterable.faults = lambda _: catalogue.BAD_API_KEY
    world.run()
    world.iterable.faults = None
    world.rows = [person(2)]
    world.environ |= {"SEGMENT_FIELD": "viewed"}
    world.run()

    assert world.profiles[address(1)]["viewed"] is False
    assert "recent_page_view" not in world.profiles[address(1)]


def test_answers_of_no_use_from_the_first_user_on(world: World) -> None:
    """When nobody's answer can be used, the run stops after 20 users instead of asking for everybody, one by one."""
    world.rows = people(30)
    world.iterable.faults = lambda _: catalogue.refused(400, "error.unheard", "what?")
    summary = world.run()

    assert (summary.exit_code, summary.requests, summary.users.failed) == (ExitCode.STOPPED, 20, 30)
    assert "answers of no use" in str(summary.stopped_because)


def test_an_understood_answer_breaks_the_row_of_failures(world: World) -> None:
    """Four users with all retries spent, one who is answered, four again: the API is not down."""
    world.rows = people(9)
    world.environ |= {"MAX_RETRIES": "1"}
    down, odd = catalogue.UNAVAILABLE, catalogue.refused(400, "error.unheard", "what?")
    world.iterable.faults = scripted([down] * 4 + [odd] + [down] * 4)
    summary = world.run()

    assert (summary.exit_code, summary.requests) == (ExitCode.INCOMPLETE, 9)


# -- 9: bugs outside a run ------------------------------------------------------------------------------------


def broken(*_: object, **__: object) -> Any:
    """What nobody foresaw."""
    raise ZeroDivisionError("nobody foresaw it")


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("--check", "sync.console.check.findings"),
        ("--check", "main.check_everything"),
        ("--history", "sync.console.history.read_history"),
        ("--dry-run", "sync.console.dry_run._requests"),
        ("--dry-run", "sync.state.outbox.Outbox.plan"),
        ("--demo", "sync.sandbox.demo.load_settings"),
    ],
)
def test_a_bug_costs_one_line(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    part: str,
) -> None:
    """A bug outside a run is told in one line, with exit code 1 and without a traceback."""
    world.rows = people(2)
    monkeypatch.setattr(demo, "OUTPUT", world.folder / "demo_output")
    monkeypatch.setattr(part, broken)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's would hide what logging prints without any
    code = main.main([flag]) if flag == "--demo" else world.main(flag)

    assert code == ExitCode.STOPPED
    check_one_line(capsys, "nobody foresaw it")


def test_a_file_in_the_way_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file where the demo's folder belongs is told in one line that names it."""
    (tmp_path / "demo_output").write_text("mine")
    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "demo_output")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    assert main.main(["--demo"]) == ExitCode.STOPPED
    check_one_line(capsys, "demo_output")
    assert (tmp_path / "demo_output").read_text() == "mine"


def check_one_line(capsys: pytest.CaptureFixture[str], words: str) -> None:
    """One line says it, after what the demo says of itself."""
    told = capsys.readouterr()
    assert "Traceback" not in told.out + told.err
    lines = [line for line in told.err.splitlines() if words in line]
    assert len(lines) == 1
    assert told.err.splitlines()[-1] == lines[0]


# -- 10: flags that mean nothing together ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        ("--full", "--history"),
        ("--check", "--limit", "5"),
        ("--check", "--full"),
        ("--dry-run", "--csv", "x"),
    ],
    ids=" ".join,
)
def test_flags_that_would_be_ignored(world: World, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]) -> None:
    """A flag that its mode would ignore is wrong usage, and both are named."""
    with pytest.raises(SystemExit) as caught:
        world.main(*flags)

    assert caught.value.code == ExitCode.USAGE
    told = capsys.readouterr().err.splitlines()[-1]
    assert all(flag in told for flag in flags if flag.startswith("--"))
    assert not world.settings.log_file.exists() and not world.settings.state_file.exists()


# -- 11: a bug is found -----------------------------------------------------------------------------------------


@WAYS
def test_grep_finds_a_bug_and_its_user(world: World, monkeypatch: pytest.MonkeyPatch, bulk: bool) -> None:
    """`grep "Unexpected error"` gives the one line with the user and the traceback."""
    world.environ["ITERABLE_BULK"] = str(bulk).lower()
    world.rows = people(3)
    monkeypatch.setattr(
        "sync.delivery.bulk.BulkSender.send" if bulk else "sync.delivery.single.SingleSender.send", broken
    )
    world.run()

    (line,) = [line for line in world.log().splitlines() if "Unexpected error" in line]
    assert f" email={address(1)}" in line
    assert "Traceback" in line and "ZeroDivisionError: nobody foresaw it" in line


# -- 12: a signal while the result is settled -------------------------------------------------------------------


Way = Callable[[pytest.MonkeyPatch], Callable[..., None]]


def _raised(_: pytest.MonkeyPatch) -> Callable[..., None]:
    """What a handler does."""

    def interrupted(*_: object) -> None:
        raise Interrupted(signal.SIGTERM)

    return interrupted


def _struck(_: pytest.MonkeyPatch) -> Callable[..., None]:
    """A real signal."""
    return lambda *_: signal.raise_signal(signal.SIGTERM)


COUNTING = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n{}) SELECT MAX(x) FROM n"


def _signal_soon() -> None:
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()


def test_a_signal_ends_a_long_statement(tmp_path: Path) -> None:
    """A statement of the state's that would run for ever is ended by the signal, and what it did is taken back."""
    stop = Stop()
    with closing(State(tmp_path / "state.sqlite3")) as state:
        state.hear_signals()
        interruption = Interruption(stop)
        with interruption.listening(), pytest.raises((Interrupted, StateError)), state.transaction():
            state.db.execute("INSERT INTO run (id, started) VALUES ('half', '')")
            _signal_soon()
            state.db.execute(COUNTING.format(""))
        assert interruption.signum == signal.SIGTERM
        assert state.history(1) == []
        assert stop.wait(5) and stop.reason == "interrupted by SIGTERM"


def test_a_signal_in_a_long_statement_of_the_delivery(tmp_path: Path) -> None:
    """While requests are made, a statement of the state's goes on to its end, and who waits is woken before that."""
    stop = Stop()
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(stop.wait(30)))
    with closing(State(tmp_path / "state.sqlite3")) as state:
        state.hear_signals()
        state.db.create_function("woken", 0, lambda: len(woken))
        interruption = Interruption(stop)
        waiter.start()
        with interruption.listening(), interruption.delivering(), state.transaction():
            _signal_soon()
            (last,) = state.db.execute(COUNTING.format(" WHERE NOT woken() AND x < 20000000")).fetchone()
    assert last > 1
    assert (interruption.signum, woken) == (signal.SIGTERM, [True])


def test_a_signal_in_the_middle_of_a_stop() -> None:
    """A signal that comes while its own thread stops the run does not wait for what it interrupted: no deadlock."""
    program = (
        "import signal; from sync.delivery.stop import Stop; from sync.run.signals import Interruption\n"
        "stop = Stop(); interruption = Interruption(stop)\n"
        "with interruption.listening(), interruption.delivering():\n"
        "    with stop._event._cond: signal.raise_signal(signal.SIGTERM)\n"
        "    print(stop.wait(5), stop.reason)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=10, check=False)
    assert done.stdout == "True interrupted by SIGTERM\n", done.stderr


def tables(world: World) -> Iterator[list[tuple[Any, ...]]]:
    """All that the state holds but the runs."""
    for table in ("destination", "profile", "event", "owed_user", "owed_event"):
        yield world.table(f"SELECT * FROM {table} ORDER BY 1, 2, 3")


@pytest.mark.parametrize("way", [_raised, _struck], ids=["raised", "a real signal"])
@pytest.mark.parametrize("switches", [{}, {"full": True}, {"retry_rejected": True}], ids=["plain", "full", "retry"])
def test_a_signal_while_the_result_is_settled(
    world: World, monkeypatch: pytest.MonkeyPatch, way: Way, switches: dict[str, bool]
) -> None:
    """The result is settled whole or not at all: debts, exits, rejections, a renamed segment wait."""
    world.rows = people(6)
    world.iterable.project.rules.forgotten.add(address(5))
    world.iterable.faults = about(address(4), DOWN)
    world.run()
    world.iterable.project.rules.forgotten.clear()
    world.iterable.faults = None
    before = list(tables(world))
    world.rows = [person(1, first_name="New"), person(2, email="nobody"), *people(9)[2:]]
    world.environ["SEGMENT_FIELD"] = "viewed"
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Debts, "_count", way(interrupted))
        summary = world.run(**switches)

    assert (summary.exit_code, summary.requests, world.sent) == (SIGTERM, 0, [])
    assert "SIGTERM" in str(summary.stopped_because)
    assert list(tables(world)) == before
    assert json.loads(world.table("SELECT summary FROM run ORDER BY number DESC")[0][0])["exit_code"] == SIGTERM

    world.environ["SEGMENT_FIELD"] = "recent_page_view"
    assert counts(world.run())[0] == (5, 2, 2, 0)
    assert world.profiles[address(2)]["recent_page_view"] is False
