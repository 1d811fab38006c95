"""QUERY_TIMEOUT on the whole program: a query that takes too long, and a lock that somebody else holds."""

from __future__ import annotations

from pathlib import Path

import pymysql
import pytest

from db import connect
from sync.run import connections
from sync.run.exit_codes import ExitCode
from tests.harness import World
from tests.mariadb import Server
from tests.process import params_environ

pytestmark = pytest.mark.database

QUERY = """
SELECT c.*, v.page, v.device, v.browser, v.location, v.event_time, {} AS waited
FROM customers c JOIN page_views v ON v.user_id = c.id WHERE v.event_time >= :since
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mariadb: Server) -> World:
    """An installation on the sample rows of a real server."""
    nobody = "http://127.0.0.1:1"  # for --check, which asks the project over a real socket
    environ = {"QUERY_FILE": str(tmp_path / "mine.sql"), "ITERABLE_API_BASE_URL": nobody, "INITIAL_BACKOFF": "0"}
    world = World(tmp_path, monkeypatch, **params_environ(mariadb.sample()), **environ)
    monkeypatch.setattr(connections, "connect", connect)
    return world


@pytest.mark.parametrize("flags", [(), ("--limit", "20"), ("--bulk",), ("--dry-run",), ("--verify",), ("--check",)])
def test_a_query_that_takes_too_long(shop: World, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]) -> None:
    """Exit code 1 and QUERY_TIMEOUT named, whatever was asked for; not one row is sent, and no CSV stays."""
    (shop.folder / "mine.sql").write_text(QUERY.format("SLEEP(0.1)"))
    shop.environ["QUERY_TIMEOUT"] = "0.3"

    assert shop.main(*flags) == ExitCode.STOPPED
    out, errors = capsys.readouterr()
    assert "took longer than QUERY_TIMEOUT" in out + errors
    assert not [request for request in shop.iterable.requests if request.method == "POST"]
    assert not list(shop.folder.glob("*.csv*"))


def test_a_lock_that_somebody_else_holds(shop: World, mariadb: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and the lock named, on the screen and in the last line of the log; without the lock all is well."""
    (shop.folder / "mine.sql").write_text(QUERY.format("0"))
    shop.environ["QUERY_TIMEOUT"] = "2"
    with pymysql.connect(unix_socket=str(mariadb.socket), user="root", database=shop.environ["DB_NAME"]) as other:
        other.cursor().execute("LOCK TABLES customers WRITE, page_views WRITE")
        assert shop.main() == ExitCode.STOPPED

    told = "The query waited too long for a lock that another connection to "
    assert told in capsys.readouterr().err
    assert "exit_code=1" in shop.log().splitlines()[-1] and told in shop.log().splitlines()[-1]
    assert not shop.iterable.requests
    assert shop.main() == ExitCode.DONE
