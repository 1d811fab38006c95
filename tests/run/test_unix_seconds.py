"""Tables whose times are numbers: whole runs over a real server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from db import connect
from sync.run import connections
from sync.run.exit_codes import ExitCode
from tests.harness import World
from tests.mariadb import Server
from tests.process import params_environ

pytestmark = pytest.mark.database

TABLE = """
CREATE TABLE seen (
    id INT PRIMARY KEY, email VARCHAR(100), name VARCHAR(50), seconds INT UNSIGNED, micro DECIMAL(16, 6)
);
INSERT INTO seen VALUES
    (1, 'old@example.com', 'Old', UNIX_TIMESTAMP('2020-01-01'), UNIX_TIMESTAMP('2020-01-01') + 0.5),
    (2, 'new@example.com', 'New', UNIX_TIMESTAMP() - 3600, UNIX_TIMESTAMP() - 3600.5);
"""
MEANT, MISTAKEN = "UNIX_TIMESTAMP(:since)", ":since"


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mariadb: Server) -> World:
    """An installation on such a table: one user was seen years ago, one within the hour."""
    world = World(
        tmp_path,
        monkeypatch,
        **params_environ(mariadb.database(TABLE)),
        QUERY_FILE=str(tmp_path / "seen.sql"),
        USER_FIELDS="name",
        EVENT_FIELDS="id",
        EVENT_KEY="id",
        EVENT_TIME_COLUMN="seconds",
        WORKERS="1",
    )
    monkeypatch.setattr(connections, "connect", connect)
    return world


def ask(world: World, start: str, columns: str = "*") -> None:
    """Let the query compare the seconds with this."""
    Path(world.environ["QUERY_FILE"]).write_text(f"SELECT {columns} FROM seen WHERE seconds >= {start}", "utf-8")


def test_the_window_of_seconds(seen: World) -> None:
    """Unix seconds are compared with the window's, and are the moment of the event."""
    ask(seen, MEANT)
    assert seen.main() == ExitCode.DONE
    assert list(seen.profiles) == ["new@example.com"]
    assert type(seen.events[0]["createdAt"]) is int


@pytest.mark.parametrize("flags", [(), ("--check",), ("--dry-run",), ("--bulk",)], ids=str)
def test_a_window_that_is_none_sends_nothing(seen: World, capsys: pytest.CaptureFixture[str], flags: Any) -> None:
    """Seconds compared with the moment itself would bring in everybody: every command says so, and nobody is sent."""
    ask(seen, MISTAKEN)
    assert seen.main(*flags) == ExitCode.STOPPED
    assert "compared the start of the window, " in "".join(capsys.readouterr())
    assert seen.profiles == {}


def test_a_window_that_is_none_takes_nobody_out(seen: World) -> None:
    """Who is in the segment stays there when the query is broken that way afterwards."""
    ask(seen, MEANT)
    seen.main()
    ask(seen, f"9000000000 + {MISTAKEN}")  # the same mistake, and an empty result
    assert seen.main("--allow-mass-exit") == ExitCode.STOPPED
    assert seen.profiles["new@example.com"]["recent_page_view"] is True


def test_seconds_with_a_fraction(seen: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Unix seconds that are no whole numbers are refused, and what the refusal says to write makes times of them."""
    seen.environ["EVENT_TIME_COLUMN"] = "micro"
    ask(seen, MEANT)
    assert seen.main() == ExitCode.USAGE
    remedy = "CAST(micro AS SIGNED) AS micro"
    assert f"or {remedy} if it holds Unix seconds" in capsys.readouterr().err

    ask(seen, MEANT, f"id, email, name, {remedy}")
    assert seen.main() == ExitCode.DONE
    assert 0 <= time.time() - 3600 - seen.events[0]["createdAt"] < 60


def test_dates_in_digits(seen: World) -> None:
    """A day that is written as a number is no Unix time: the event is rejected, and what the reason says to write
    makes it that day. The profile is sent."""
    day = "CAST(DATE_FORMAT(FROM_UNIXTIME(seconds), '%Y%m%d') AS SIGNED)"
    ask(seen, MEANT, f"id, email, name, {day} AS seconds")
    assert seen.main() == ExitCode.INCOMPLETE
    assert (list(seen.profiles), seen.events) == (["new@example.com"], [])
    assert "or use STR_TO_DATE for dates in digits" in seen.log()

    ask(seen, MEANT, f"id, email, name, STR_TO_DATE({day}, '%Y%m%d') AS seconds")
    assert seen.main() == ExitCode.DONE
    assert seen.events[0]["createdAt"] % 86400 == 0
    assert 0 <= time.time() - seen.events[0]["createdAt"] < 86400 + 3600 + 60
