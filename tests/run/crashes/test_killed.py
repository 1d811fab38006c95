"""A run that is killed, or whose Iterable, disk or database goes away; one run at a time."""

from __future__ import annotations

import re
import resource
import signal
from pathlib import Path

import pytest

from sync.run.lock import LockedError, run_lock
from tests import faults as catalogue
from tests.harness import TRACK, UPDATE
from tests.mariadb import Server, numbers
from tests.process import params_environ, wait_until
from tests.run.crashes.installation import Installation, about, strike
from tests.sample_rows import address, people, person
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault
from tests.stand_in.stand_in import StandIn


@pytest.mark.parametrize("path", [UPDATE, TRACK])
def test_killed_when_iterable_had_taken_it(place: Installation, path: str) -> None:
    """kill -9 between Iterable's taking a request and its record: the next run sends it again, under the same id."""
    process = strike(place, about(3, path), signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL

    assert place.summary()["exit_code"] == 0
    assert sorted(place.iterable.profiles) == [address(number) for number in range(1, 7)]
    assert len(place.iterable.events) == 6
    assert place.summary()["requests"] == 0
    assert "it was killed, or is still running" in place.run("--history")[1]


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
    with run_lock(path):
        with pytest.raises(LockedError, match=r"pid \d+, started 20"), run_lock(path):
            pass
        with run_lock(tmp_path / "other.lock"):
            pass
        assert path.stat().st_mode & 0o777 == 0o600
    with run_lock(path):
        pass


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
        query.write_text(f"{rows}, SLEEP(0.0005) AS nap FROM {numbers(5)} WHERE :since IS NOT NULL", "utf-8")
        place.environ.update(USER_FIELDS="page", EVENT_FIELDS="page")
        with place.started() as process:
            wait_until(lambda: server.running("SLEEP(0.0005)"))
            server.kill()
            err = process.communicate(timeout=20)[1]
        assert process.returncode == 1
        assert "The connection to" in err
        assert iterable.requests == []
        assert place.table("SELECT COUNT(*) FROM pending") == [(0,)]

        server.start()
        query.write_text(f"{rows} FROM {numbers(1)} WHERE :since IS NOT NULL", "utf-8")
        assert place.summary()["exit_code"] == 0
    assert len(iterable.profiles) == 10
