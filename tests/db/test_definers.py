"""A view or routine runs with the rights of its definer, the account that made it: what happens when that one is gone.

Servers tell it to everybody but an administrator as if the user who asks had been refused.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from db import MySQLParams, connect
from sync.run import connections
from sync.run.exit_codes import ExitCode
from tests.db.asking import refusal
from tests.harness import World
from tests.mariadb import Server
from tests.process import params_environ

pytestmark = pytest.mark.database

OBJECTS = (
    "CREATE TABLE people (id INT PRIMARY KEY, email VARCHAR(100))",
    "CREATE TABLE lost (id INT PRIMARY KEY)",
    "CREATE DEFINER = gone@'%' SQL SECURITY DEFINER VIEW orphan AS SELECT * FROM people",
    "CREATE DEFINER = gone@'%' PROCEDURE orphaned() SELECT * FROM people",
    "CREATE SQL SECURITY INVOKER VIEW above AS SELECT * FROM orphan",
    "CREATE DEFINER = weak@'%' SQL SECURITY DEFINER VIEW powerless AS SELECT * FROM people",
    "CREATE SQL SECURITY INVOKER VIEW hollow AS SELECT people.* FROM people JOIN lost ON lost.id = people.id",
    "CREATE SQL SECURITY INVOKER VIEW sound AS SELECT * FROM people",
    "DROP TABLE lost",
)


@pytest.fixture(scope="module")
def views(mariadb: Server) -> MySQLParams:
    """A database whose views and routine were made by accounts that are gone, or that may do nothing."""
    params = mariadb.database()
    for account in ("gone", "weak"):
        mariadb.execute(f"CREATE USER {account}@'%'; GRANT ALL ON {params.database}.* TO {account}@'%'")
    for statement in OBJECTS:
        mariadb.execute(statement, database=params.database)
    mariadb.execute(f"REVOKE ALL ON {params.database}.* FROM weak@'%'; DROP USER gone@'%'")
    mariadb.execute(f"GRANT EXECUTE ON {params.database}.* TO app@'%'")
    return params


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orphan",
        "CALL orphaned()",
        "SELECT * FROM above",
        "SELECT * FROM powerless",
        "SELECT * FROM hollow",
    ],
)
def test_the_view_is_named_and_not_the_password(views: MySQLParams, sql: str) -> None:
    """Whatever number the server gives it, the sentence sends nobody to the password of a user who is connected."""
    sentence = refusal(views, sql)

    assert sentence.startswith(f"A view or routine that the query uses does not work at {views.address}: its definer ")
    assert "DB_USER" not in sentence and "DB_PASSWORD" not in sentence


def test_who_is_refused_at_the_door_is_told_of_the_password(mariadb: Server, views: MySQLParams) -> None:
    """The same number while connecting is about the user and the password."""
    mariadb.execute("CREATE USER IF NOT EXISTS stranger@'%' IDENTIFIED BY 'another'")
    assert "refused the user stranger (Access denied" in refusal(
        MySQLParams(views.host, views.port, "stranger", "wrong", views.database)
    )


def test_check_and_run(
    views: MySQLParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check reports it where the query is looked at, and a run ends with it, before anything is sent."""
    query = tmp_path / "query.sql"
    query.write_text("SELECT * FROM orphan", "utf-8")
    world = World(tmp_path, monkeypatch, **params_environ(views), QUERY_FILE=str(query), EVENT_NAME="")
    monkeypatch.setattr(connections, "connect", connect)

    assert world.main("--check") == ExitCode.STOPPED
    assert "WRONG  query        A view or routine that the query uses" in capsys.readouterr().out
    assert world.main() == ExitCode.STOPPED
    assert "why: A view or routine that the query uses" in capsys.readouterr().err
    assert world.iterable.requests == []
