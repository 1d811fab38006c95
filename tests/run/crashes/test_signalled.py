"""A run that gets a signal, wherever it is; and ten kills at random."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from bench.soak import Figures, soak
from tests import faults as catalogue
from tests import mariadb as servers
from tests.harness import UPDATE, identity
from tests.mariadb import Server, installed, require
from tests.process import params_environ, wait_until
from tests.run.crashes.installation import Installation, about, strike
from tests.sample_rows import address
from tests.stand_in.faults import Faults, scripted
from tests.stand_in.stand_in import StandIn

LIMIT = 6.0
"""Seconds within which an interrupted run has to end."""


SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["SIGINT", "SIGTERM", "SIGHUP"]
)


class Background(NamedTuple):
    """What takes its time while the other tests go on."""

    hanging: Future[tuple[float, Installation]] | None
    killed: Future[Figures] | None
    interrupted: Future[Figures] | None


@pytest.fixture(scope="module", autouse=True)
def background(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """Started with the first test of this file, as far as its own tests are to run."""

    def interrupt() -> tuple[float, Installation]:
        for _ in range(3):  # what is broken is late every time; a busy machine is not
            with StandIn(faults=lambda _: catalogue.NO_ANSWER) as iterable:
                place = Installation(tmp_path_factory.mktemp("hanging"), iterable)
                seconds = _interrupt_hanging(place, 1)
            if seconds < LIMIT:
                break
        return seconds, place

    wanted = {item.name for item in request.session.items}
    hanging = killed = interrupted = None
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        if test_a_signal_while_an_answer_hangs.__name__ in wanted:
            hanging = pool.submit(interrupt)
            wait([hanging])  # it looks at the clock, so nothing of this file goes on beside it
        if test_soak.__name__ in wanted and installed():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(servers, "allowed", True)  # on behalf of test_soak, which has the marker
                server = stack.enter_context(Server())
            killed = pool.submit(soak, 10, signal.SIGKILL, lanes=1, seed=7, server=server)
            interrupted = pool.submit(soak, 5, signal.SIGTERM, lanes=1, seed=8, server=server)
        yield Background(hanging, killed, interrupted)


@SIGNALS
def test_a_signal_while_requests_are_in_flight(place: Installation, number: signal.Signals) -> None:
    """What is in flight is finished and recorded, nothing new is sent, and nothing at all is sent twice."""
    place.iterable.latency = 0.2
    process = strike(place, about(3, UPDATE), number)

    assert process.returncode == 128 + number
    assert place.iterable.requests[-1].path == UPDATE
    assert identity(place.iterable.requests[-1]) == address(3)
    delivered = [(address(number),) for number in range(1, 7)]
    assert place.table("SELECT person FROM pending WHERE state = 3 AND moment IS NULL ORDER BY place") == delivered[:3]
    summary = json.loads(place.table("SELECT summary FROM run")[0][0])
    assert (summary["exit_code"], summary["users"]["delivered"], summary["users"]["failed"]) == (128 + number, 3, 3)
    assert (summary["events"]["delivered"], summary["events"]["failed"]) == (2, 4)

    place.iterable.latency = 0.0
    assert place.summary()["requests"] == 12 - 5
    assert set(place.iterable.writes.values()) == {1}
    assert {event["writes"] for event in place.iterable.events.values()} == {1}
    assert place.table("SELECT key FROM known WHERE typeof(key) = 'text' AND fingerprint IS NOT NULL") == delivered


def test_nohup(place: Installation) -> None:
    """A run that was started to outlive its terminal goes on when that goes away."""
    place.iterable.latency = 0.1

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with place.start(preexec_fn=ignore) as process:
        wait_until(lambda: place.iterable.requests)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert len(place.iterable.requests) == 12


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
        wait_until(lambda: ("events/track call successful" if wait == "the pace" else "Retrying in") in place.log())
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
        wait_until(lambda: place.iterable.requests)
        began = time.monotonic()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            wait_until(lambda: "Stopping: interrupted by SIGINT" in place.log())
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
        "v.event_time, SLEEP(5) AS nap FROM customers c JOIN page_views v ON v.user_id = c.id WHERE :since IS NOT NULL",
        "utf-8",
    )
    place.rows = None
    with place.started() as process:
        wait_until(lambda: "Connected to" in place.log())
        wait_until(lambda: mariadb.running("SLEEP(5)"))
        began = time.monotonic()
        process.send_signal(number)
        process.communicate(timeout=LIMIT)

    assert time.monotonic() - began < 2
    assert process.returncode == 128 + number
    assert place.iterable.requests == []
    assert list(place.folder.glob("*.csv*")) == []
    assert json.loads(place.table("SELECT summary FROM run")[0][0])["exit_code"] == 128 + number


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
    """Within 6 seconds the run has ended though an answer hangs: that one and the rest are pending, on record."""
    assert background.hanging
    seconds, place = background.hanging.result()

    assert 4 < seconds < LIMIT
    told = json.loads(place.table("SELECT summary FROM run")[0][0])
    assert (told["exit_code"], told["users"]["failed"], told["events"]["failed"]) == (130, 6, 6)
    assert "no answer within 5 s of the signal; pending again email=user1@example.com" in place.log()
    assert place.table("SELECT COUNT(*) FROM pending WHERE moment IS NULL") == [(6,)]
