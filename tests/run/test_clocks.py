"""Moments as a real server gives them: its own zone, its clock, rows that come late. Whole runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pymysql
import pytest

from db import connect
from sync.run import connections
from sync.run.exit_codes import ExitCode
from tests.harness import World
from tests.mariadb import Server
from tests.process import params_environ

pytestmark = pytest.mark.database

TABLE = """
CREATE TABLE seen (id INT PRIMARY KEY, email VARCHAR(100), page VARCHAR(20), at TIMESTAMP NULL, clock DATETIME);
INSERT INTO seen VALUES (1, 'ann@example.com', 'a', FROM_UNIXTIME(1782900000), '2026-07-01 12:00:00');
"""
NOON, SECONDS = "2026-07-01 10:00:00 +00:00", 1_782_900_000
"""Noon in Berlin, which both columns hold, as a date in UTC and in Unix seconds."""


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mariadb: Server) -> World:
    """An installation whose DATETIME columns hold the time of Berlin."""
    world = World(
        tmp_path,
        monkeypatch,
        **params_environ(mariadb.database(TABLE)),
        QUERY_FILE=str(tmp_path / "seen.sql"),
        DB_TIMEZONE="Europe/Berlin",
        USER_FIELDS="page",
        EVENT_FIELDS="page,moment:moment:date",
        EVENT_KEY="id",
        EVENT_TIME_COLUMN="moment",
        WORKERS="1",
    )
    monkeypatch.setattr(connections, "connect", connect)
    return world


def ask(world: World, moment: str) -> dict[str, Any]:
    """The event of user 1, whose time is this expression."""
    Path(world.environ["QUERY_FILE"]).write_text(f"SELECT id, email, page, {moment} AS moment FROM seen", "utf-8")
    assert world.main() == ExitCode.DONE, world.log()
    (event,) = world.events
    return event


@pytest.mark.parametrize("zone", ["+00:00", "-09:30", "+13:00"])
def test_the_zone_of_the_server_says_nothing(seen: World, mariadb: Server, zone: str) -> None:
    """A TIMESTAMP is its moment and a DATETIME the clock of DB_TIMEZONE, whatever zone the server has."""
    before = mariadb.execute("SELECT @@global.time_zone")[0][0]
    mariadb.execute("SET GLOBAL time_zone = %s", zone)
    try:
        assert ask(seen, "at")["createdAt"] == SECONDS
        assert ask(seen, "clock")["createdAt"] == SECONDS
    finally:
        mariadb.execute("SET GLOBAL time_zone = %s", before)


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("UNIX_TIMESTAMP(at + INTERVAL 1 HOUR)", 3600),
        ("UNIX_TIMESTAMP(COALESCE(at, NOW()))", 0),
        ("UNIX_TIMESTAMP(GREATEST(at, at - INTERVAL 1 DAY))", 0),
        ("clock + INTERVAL 1 HOUR", 3600),
    ],
)
def test_what_is_computed_of_a_moment(seen: World, expression: str, seconds: int) -> None:
    """Seconds since 1970 of what is computed from a TIMESTAMP are its moment, as event time and as a date; what is
    computed from a DATETIME stays the clock of DB_TIMEZONE."""
    event = ask(seen, expression)
    assert event["createdAt"] == SECONDS + seconds
    assert event["dataFields"]["moment"] == ("2026-07-01 11:00:00 +00:00" if seconds else NOON)


def test_now(seen: World) -> None:
    """The server's clock is given the same way."""
    assert abs(ask(seen, "UNIX_TIMESTAMP(NOW())")["createdAt"] - time.time()) < 60


def test_rows_that_are_committed_late(seen: World, mariadb: Server) -> None:
    """A row whose moment lies before what earlier runs have read is sent once it is committed: every run reads the
    whole window, and no mark is moved on."""
    Path(seen.environ["QUERY_FILE"]).write_text("SELECT *, at AS moment FROM seen WHERE at >= :since", "utf-8")
    name = seen.environ["DB_NAME"]
    with pymysql.connect(unix_socket=str(mariadb.socket), user="root", database=name) as late:
        with late.cursor() as cursor:
            cursor.execute("INSERT INTO seen VALUES (2, 'late@example.com', 'a', NOW() - INTERVAL 1 HOUR, NULL)")
            mariadb.execute("INSERT INTO seen VALUES (3, 'new@example.com', 'a', NOW(), NULL)", database=name)
            assert seen.main() == ExitCode.DONE
            assert list(seen.profiles) == ["new@example.com"]
        late.commit()

    assert seen.main() == ExitCode.DONE
    assert seen.sent == [("/api/users/update", "late@example.com"), ("/api/events/track", "late@example.com")]
