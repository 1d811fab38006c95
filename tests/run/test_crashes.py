"""Runs as processes: killed, interrupted, locked out, without a disk; and what the next run makes of it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench.soak import Figures, soak
from sync.rows.columns import Row
from sync.run import steps as sync
from sync.run.job import Job
from sync.run.lock import LockedError, RunLock
from sync.run.settings import load_settings
from sync.sandbox.answers import Request
from sync.sandbox.faults import Fault, Faults, scripted
from sync.sandbox.stand_in import StandIn
from tests import faults as catalogue
from tests import mariadb as servers
from tests.harness import (
    KEY,
    TRACK,
    UPDATE,
    Rows,
    address,
    environment,
    identity,
    params_environ,
    people,
    person,
    start,
    started,
    wait_until,
)
from tests.mariadb import Server, installed, numbers, require

LIMIT = 6.0
"""Seconds within which an interrupted run has to end."""

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


@pytest.fixture
def iterable() -> Iterator[StandIn]:
    """Iterable on loopback."""
    with StandIn() as running:
        yield running


class Installation:
    """A folder with settings, rows for the program, and the Iterable that it speaks to."""

    def __init__(self, folder: Path, iterable: StandIn, **environ: str) -> None:
        self.folder, self.iterable = folder, iterable
        self.rows: list[Row] | None = people(6)
        self.environ = {
            **environment(folder),
            "ITERABLE_API_KEY": KEY,
            "ITERABLE_API_BASE_URL": iterable.url,
            "WORKERS": "1",
            **environ,
        }

    def start(self, *flags: str, **options: Any) -> subprocess.Popen[str]:
        """Start a run."""
        return start(self.folder, self.environ, *flags, rows=self.rows, **options)

    def started(self, *flags: str) -> Any:
        """Start a run that is killed with the block."""
        return started(self.folder, self.environ, *flags, rows=self.rows)

    def run(self, *flags: str, **options: Any) -> tuple[int, str, str]:
        """A run to its end: exit code, standard output, standard error."""
        with self.start(*flags, **options) as process:
            out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def summary(self) -> dict[str, Any]:
        """The summary of a run that nobody disturbs, in this process."""
        source = None if self.rows is None else partial(Rows, self.rows)
        return sync.run(Job(load_settings(Path(os.devnull), self.environ), source=source)).as_json()

    def table(self, query: str) -> list[tuple[Any, ...]]:
        """What the state says."""
        with closing(sqlite3.connect(self.folder / "state.sqlite3")) as state:
            return state.execute(query).fetchall()

    def log(self) -> str:
        """The log so far."""
        path = self.folder / "run.log"
        return path.read_text("utf-8") if path.exists() else ""


@pytest.fixture
def place(tmp_path: Path, iterable: StandIn) -> Installation:
    """An installation with six users and one worker."""
    return Installation(tmp_path, iterable)


def strike(
    place: Installation, at: Callable[[Request], bool], number: signal.Signals, fault: Fault | None = None
) -> subprocess.Popen[str]:
    """A run that gets the signal when the first request that fits `at` arrives; that request ends in `fault`."""
    struck: list[subprocess.Popen[str]] = []

    def faults(request: Request) -> Fault | None:
        if waiting and at(request):
            struck.append(waiting.pop())
            struck[0].send_signal(number)
            if number is signal.SIGKILL:
                struck[0].wait()
            return fault
        return None

    waiting: list[subprocess.Popen[str]] = []
    place.iterable.faults = faults
    process = place.start()
    waiting.append(process)
    with process:
        process.communicate(timeout=30)
    place.iterable.faults = None
    assert struck, "the request did not come"
    return process


def about(number: int, path: str) -> Callable[[Request], bool]:
    """Requests to *path* about this user."""
    return lambda request: request.path == path and identity(request) == address(number)


class Background(NamedTuple):
    """What takes its time while the other tests go on."""

    hanging: Future[tuple[float, Installation]] | None
    killed: Future[Figures] | None
    interrupted: Future[Figures] | None


@pytest.fixture(scope="module", autouse=True)
def background(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """Started with the first test of this file, as far as its own tests are to run."""

    folder = tmp_path_factory.mktemp("hanging")

    def interrupt() -> tuple[float, Installation]:
        with StandIn(faults=lambda _: catalogue.NO_ANSWER) as iterable:
            place = Installation(folder, iterable)
            return _interrupt_hanging(place, 1), place

    wanted = {item.name for item in request.session.items}
    hanging = killed = interrupted = None
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        if test_a_signal_while_an_answer_hangs.__name__ in wanted:
            hanging = pool.submit(interrupt)
        if test_soak.__name__ in wanted and installed():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(servers, "allowed", True)  # on behalf of test_soak, which has the marker
                server = stack.enter_context(Server())
            killed = pool.submit(soak, 10, signal.SIGKILL, lanes=1, seed=7, server=server)
            interrupted = pool.submit(soak, 5, signal.SIGTERM, lanes=1, seed=8, server=server)
        yield Background(hanging, killed, interrupted)


# -- killed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [UPDATE, TRACK])
def test_killed_when_iterable_had_taken_it(place: Installation, path: str) -> None:
    """kill -9 between Iterable's taking a request and its record: the next run sends it again, under the same id."""
    process = strike(place, about(3, path), signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL

    assert place.summary()["exit_code"] == 0
    assert sorted(place.iterable.profiles) == [address(number) for number in range(1, 7)]
    assert len(place.iterable.events) == 6
    assert place.summary()["requests"] == 0
    assert "none: it was killed, or is still running" in place.run("--history")[1]


def test_the_hole_is_closed(place: Installation) -> None:
    """A is delivered; B is accepted and the process dies before that is recorded; the row goes back to A: Iterable
    holds A in the end, though A had been delivered before. The same for an exit that nobody recorded.
    """
    assert place.summary()["exit_code"] == 0
    place.rows = [person(1, first_name="B"), *people(5)[1:]]
    strike(place, about(1, UPDATE), signal.SIGKILL)
    assert place.iterable.profiles[address(1)]["first_name"] == "B"
    place.rows = people(5)
    strike(place, about(6, UPDATE), signal.SIGKILL)
    assert place.iterable.profiles[address(6)]["recent_page_view"] is False

    place.rows = people(6)
    assert place.summary()["requests"] <= 2
    assert place.iterable.profiles[address(1)]["first_name"] == "Name 1"
    assert place.iterable.profiles[address(6)]["recent_page_view"] is True


def test_an_entry_that_nobody_recorded(place: Installation) -> None:
    """A new user is put into the segment, the process dies, and the user leaves the result: the exit is sent."""
    place.rows = people(5)
    assert place.summary()["exit_code"] == 0
    place.rows = people(6)
    strike(place, about(6, UPDATE), signal.SIGKILL)
    assert place.iterable.profiles[address(6)]["recent_page_view"] is True

    place.rows = people(5)
    assert place.summary()["left_segment"] == 1
    assert place.iterable.profiles[address(6)]["recent_page_view"] is False


def test_an_answer_is_lost_after_iterable_took_the_request(place: Installation) -> None:
    """Each answer lost once: retried under the same id, so that nothing doubles, and exit 0."""
    seen: set[bytes] = set()

    def faults(request: Request) -> Fault | None:
        lost = request.body not in seen
        seen.add(request.body)
        return catalogue.LOST_ANSWER if lost else None

    place.iterable.faults = faults
    told = place.summary()

    assert (told["exit_code"], told["requests"], told["retries"]) == (0, 24, {"connection": 12})
    assert len(place.iterable.events) == 6


def test_iterable_goes_away_in_mid_run(tmp_path: Path) -> None:
    """Iterable's own end of the network is gone half way: exit 1, and the next run does the rest."""
    with StandIn() as first:
        place = Installation(tmp_path, first, MAX_RETRIES="1", DESTINATION="shop")
        place.rows = people(20)

        first.faults = lambda _: catalogue.RESET if len(first.requests) > 10 else None
        told = place.summary()
        assert (told["exit_code"], told["users"]["delivered"], told["users"]["failed"]) == (1, 5, 15)
        first.faults = None
        assert place.summary()["requests"] == 30
        assert len(first.events) == 20


# -- signals -------------------------------------------------------------------------------------------------


@SIGNALS
def test_a_signal_while_requests_are_in_flight(place: Installation, number: signal.Signals) -> None:
    """What is in flight is finished and recorded, nothing new is sent, and nothing at all is sent twice."""
    place.iterable.latency = 0.2
    process = strike(place, about(3, UPDATE), number)

    assert process.returncode == 128 + number
    assert place.iterable.requests[-1].path == UPDATE
    assert identity(place.iterable.requests[-1]) == address(3)
    assert place.table("SELECT identity FROM profile WHERE delivered IS NOT NULL") == [
        (address(number),) for number in (1, 2, 3)
    ]
    summary = json.loads(place.table("SELECT summary FROM run")[0][0])
    assert (summary["exit_code"], summary["users"]["delivered"], summary["users"]["failed"]) == (128 + number, 3, 3)
    assert (summary["events"]["delivered"], summary["events"]["failed"]) == (2, 4)

    place.iterable.latency = 0.0
    assert place.summary()["requests"] == 12 - 5
    assert set(place.iterable.writes.values()) == {1}
    assert {event["writes"] for event in place.iterable.events.values()} == {1}


WAITS: Mapping[str, tuple[Faults, dict[str, str]]] = {
    "a retry that waits": (lambda _: catalogue.UNAVAILABLE, {"INITIAL_BACKOFF": "60"}),
    "a Retry-After": (lambda _: catalogue.rate_limited("100"), {}),
    "the pace": (scripted([]), {"USERS_PER_SECOND": "0.1"}),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_signal_while_the_run_waits(place: Installation, wait: str) -> None:
    """A wait ends with the signal, at once."""
    faults, environ = WAITS[wait]
    place.environ.update(environ)
    place.iterable.faults = faults
    with place.started() as process:
        wait_until(lambda: len(place.iterable.requests) >= (2 if wait == "the pace" else 1))
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        err = process.communicate(timeout=LIMIT)[1]

    assert time.monotonic() - began < 2
    assert process.returncode == 128 + signal.SIGTERM
    assert "interrupted by SIGTERM" in err
    assert 2 <= len(err.splitlines()) <= 3


def test_a_second_signal_quits_at_once(place: Installation) -> None:
    """Who does not want to wait for an answer that hangs sends the signal again."""
    place.iterable.faults = lambda _: catalogue.NO_ANSWER

    assert _interrupt_hanging(place, 2) < 2


def _interrupt_hanging(place: Installation, times: int) -> float:
    """Interrupt a run whose first answer hangs; seconds until it ended."""
    with place.started() as process:
        wait_until(lambda: "Owed: 6" in place.log())
        time.sleep(0.3)
        began = time.monotonic()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        process.communicate(timeout=15)
    assert process.returncode == 128 + signal.SIGINT
    return time.monotonic() - began


@pytest.mark.database
@SIGNALS
def test_a_signal_while_the_query_runs(mariadb: Server, place: Installation, number: signal.Signals) -> None:
    """A query that blocks does not keep the signal: exit at once, the summary written, nothing sent, no CSV."""
    query = place.folder / "slow.sql"
    place.environ.update(params_environ(mariadb.sample()), QUERY_FILE=str(query))
    query.write_text(
        "SELECT c.email, c.first_name, c.last_name, c.plan_type, c.candidate, v.page, v.device, v.browser, v.location, "
        "v.event_time, SLEEP(5) AS nap FROM customers c JOIN page_views v ON v.user_id = c.id WHERE :since",
        "utf-8",
    )
    place.rows = None
    with place.started() as process:
        wait_until(lambda: "Connected to" in place.log())
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(number)
        process.communicate(timeout=LIMIT)

    assert time.monotonic() - began < 2
    assert process.returncode == 128 + number
    assert place.iterable.requests == []
    assert list(place.folder.glob("*.csv*")) == []
    assert json.loads(place.table("SELECT summary FROM run")[0][0])["exit_code"] == 128 + number


# -- the lock ------------------------------------------------------------------------------------------------


def test_one_run_at_a_time(place: Installation) -> None:
    """A second run exits 4 at once and names the first one's process and start; after kill -9 the lock is free."""
    place.iterable.faults = lambda _: catalogue.NO_ANSWER
    with place.started() as first:
        wait_until(lambda: place.iterable.requests)
        code, out, err = place.run()
        assert (code, out) == (4, "")
        assert re.search(rf"another run holds the lock: pid {first.pid}, started \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d", err)
        assert 2 <= len(err.splitlines()) <= 3
        assert place.table("SELECT COUNT(*) FROM run") == [(1,)]
        first.kill()
        first.wait()
        place.iterable.faults = None
        assert place.summary()["exit_code"] == 0


def test_the_lock_is_of_one_state(tmp_path: Path) -> None:
    """Another state has another lock; the lock's file is the owner's alone and stays."""
    path = tmp_path / "state.lock"
    with RunLock(path):
        with pytest.raises(LockedError, match=r"pid \d+, started 20"), RunLock(path):
            pass
        with RunLock(tmp_path / "other.lock"):
            pass
        assert path.stat().st_mode & 0o777 == 0o600
    with RunLock(path):
        pass


# -- no disk, no database ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kilobytes", [8, 40, 120])
def test_a_disk_that_fills(place: Installation, kilobytes: int) -> None:
    """Wherever the disk fills (log, state, CSV): exit 1, two or three lines that say so; the next run completes it."""
    place.rows = people(300)
    limit = kilobytes * 1024

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    place.environ["WORKERS"] = "8"
    code, out, err = place.run(preexec_fn=little_room)
    assert (code, out) == (1, "")
    assert 2 <= len(err.splitlines()) <= 3
    assert "Traceback" not in err
    sent = len(place.iterable.requests)
    assert sent < 600

    assert place.summary()["exit_code"] == 0
    assert len(place.iterable.profiles) == len(place.iterable.events) == 300


@pytest.mark.database
def test_the_database_dies_in_mid_query(iterable: StandIn, tmp_path: Path) -> None:
    """The server is killed while rows come: exit 1 with a sentence, nothing sent; when it is back, all is done."""
    place = Installation(tmp_path, iterable)
    place.rows = None
    query = tmp_path / "slow.sql"
    with Server(tls=False) as server:
        params = server.sample()
        place.environ.update(params_environ(params), QUERY_FILE=str(query), WORKERS="8")
        rows = "SELECT CONCAT('u', seq, '@example.com') AS email, 'x' AS page, NOW() - INTERVAL 1 HOUR AS event_time"
        query.write_text(f"{rows}, SLEEP(0.0005) AS nap FROM {numbers(5)} WHERE :since", "utf-8")
        place.environ.update(USER_FIELDS="page", EVENT_FIELDS="page")
        with place.started() as process:
            wait_until(lambda: "Connected to" in place.log())
            time.sleep(0.3)
            server.kill()
            err = process.communicate(timeout=20)[1]
        assert process.returncode == 1
        assert "The connection to" in err
        assert iterable.requests == []
        assert place.table("SELECT COUNT(*) FROM owed_user") == [(0,)]

        server.start()
        query.write_text(f"{rows} FROM {numbers(1)} WHERE :since", "utf-8")
        assert place.summary()["exit_code"] == 0
    assert len(iterable.profiles) == 10


# -- ten at random -------------------------------------------------------------------------------------------


@pytest.mark.database
def test_soak(background: Background) -> None:
    """Ten runs over a database killed at random: nothing lost or doubled. Interrupted: nothing sent twice at all."""
    require()  # it goes on in the background only where there is a server
    assert background.killed and background.interrupted
    killed, interrupted = background.killed.result(), background.interrupted.result()

    assert (killed.kills, interrupted.kills) == (10, 5)
    assert killed.events >= 50
    assert interrupted.again == 0


def test_a_signal_while_an_answer_hangs(background: Background) -> None:
    """Within 6 seconds the run has ended though an answer hangs: that one and the rest are owed, and on record so."""
    assert background.hanging
    seconds, place = background.hanging.result()

    assert 4 < seconds < LIMIT
    told = json.loads(place.table("SELECT summary FROM run")[0][0])
    assert (told["exit_code"], told["users"]["failed"], told["events"]["failed"]) == (130, 6, 6)
    assert "no answer within 5 s of the signal; owed again email=user1@example.com" in place.log()
    assert place.table("SELECT COUNT(*) FROM owed_user") == [(6,)]
