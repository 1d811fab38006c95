"""QUERY_TIMEOUT: how long a query, and a lock that somebody else holds, is waited for; and which of the two it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

import db
from db import MySQLParams
from sync.database.session import where_allowed
from sync.rows.source import SourceError
from tests.db.asking import LARGE, SINCE, SINCE_LOCAL, refusal, run
from tests.mariadb import Server

TOO_SLOW = "took longer than QUERY_TIMEOUT, or the server's own limit, allows ("
LOCKED = "The query waited too long for a lock that another connection to "
PROCEDURES = {
    "sleeps": "SELECT SLEEP(2) AS slept;",
    "sleeps_after_its_rows": "SELECT id FROM t; DO SLEEP(2);",
    "sleeps_before_its_rows": "DO SLEEP(2); SELECT id FROM t;",
    "stalls": "SELECT id, REPEAT('x', 20000) AS filler, IF(id < 3, 0, SLEEP(30)) AS slept FROM t ORDER BY id;",
    "many_rows": f"SELECT a.id FROM {', '.join(f't AS {letter}' for letter in 'abcdefghijklmnopqrstuvwxyz')};",
    "all_of_held": "SELECT id FROM held;",
}
VALUES = {
    "MariaDB": "CONCAT_WS(' ', @@max_statement_time, @@lock_wait_timeout, @@innodb_lock_wait_timeout)",
    "MySQL": "CONCAT_WS(' ', @@max_execution_time, @@lock_wait_timeout, @@innodb_lock_wait_timeout)",
}


@pytest.fixture(scope="module")
def table(mariadb: Server) -> MySQLParams:
    """A database with a table of each kind, and procedures."""
    params = mariadb.database(
        "CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB; INSERT INTO t VALUES (1), (2), (3);"
        "CREATE TABLE held (id INT PRIMARY KEY) ENGINE=InnoDB; INSERT INTO held VALUES (1), (2);"
        "CREATE TABLE old (id INT PRIMARY KEY) ENGINE=MyISAM; INSERT INTO old VALUES (1)"
    )
    for name, body in PROCEDURES.items():
        mariadb.execute(f"CREATE PROCEDURE {name}() BEGIN {body} END", database=params.database)
    mariadb.execute(f"GRANT EXECUTE ON {params.database}.* TO app@'%'")
    return params


@contextlib.contextmanager
def held(server: Server, database: str, *statements: str) -> Iterator[None]:
    """Another connection, in which these statements were run and nothing more happens."""
    with (
        pymysql.connect(unix_socket=str(server.socket), user="root", database=database) as connection,
        connection.cursor() as cursor,
    ):
        for statement in ("SET lock_wait_timeout = 5", *statements):
            cursor.execute(statement)
        yield


@given(st.floats(2, 604_800))
def test_a_lock_is_named_before_the_time_is_up(seconds: float) -> None:
    """A lock is waited for at most 60 s, and less than the whole time, so that it is told as the lock that it was."""
    (lock,) = {line.split()[-1] for line in where_allowed(seconds) if "lock" in line}

    assert 1 <= int(lock) <= min(60, seconds - 1)


@pytest.mark.database
class TestServer:
    """What the server is told."""

    @pytest.mark.parametrize(
        ("seconds", "told"), [(3600, "3600 60 60"), (0.25, "0.25 1 1"), (30, "30 29 29"), (0, "0 31536000 31536000")]
    )
    def test_limits(self, mariadb: Server, table: MySQLParams, seconds: float, told: str) -> None:
        """The session has the limits of QUERY_TIMEOUT; with 0 none, whatever the server's own are."""
        known = {"MariaDB": "max_statement_time", "MySQL": "max_execution_time"}[mariadb.product]
        mariadb.execute(f"SET GLOBAL {known} = 100, GLOBAL lock_wait_timeout = 7, GLOBAL innodb_lock_wait_timeout = 7")
        try:
            source = db.connect(replace(table, query_timeout=seconds))
        finally:
            mariadb.execute(
                f"SET GLOBAL {known} = DEFAULT, GLOBAL lock_wait_timeout = DEFAULT, "
                "GLOBAL innodb_lock_wait_timeout = DEFAULT"
            )
        (row,) = run(source, f"SELECT {VALUES[mariadb.product]} AS told")
        source.close()
        limit, *locks = row["told"].split()

        assert float(limit) / (1000 if mariadb.product == "MySQL" else 1) == float(told.split()[0])
        assert locks == told.split()[1:]


@pytest.mark.database
class TestTooSlow:
    """The time from the statement to the last row."""

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT SLEEP(2) AS slept",  # MySQL ends it at its limit as if it were done
            "SELECT id, SLEEP(2) AS slept FROM t",
            f"SELECT COUNT(*) FROM ({LARGE}) AS counted",
            "CALL sleeps()",
            "CALL sleeps_before_its_rows()",
            "CALL sleeps_after_its_rows()",
            "CALL stalls()",
            "CALL many_rows()",
            LARGE,
        ],
    )
    def test_a_query_that_takes_longer(self, table: MySQLParams, sql: str) -> None:
        """It is a failed query that names QUERY_TIMEOUT, before its first row, between two or after the last."""
        assert TOO_SLOW in refusal(replace(table, query_timeout=0.2), sql)

    def test_rows_before_the_end_are_not_the_whole(self, table: MySQLParams) -> None:
        """Rows that came in time end in an error when the time is up."""
        began = time.monotonic()
        source = db.connect(replace(table, query_timeout=0.5))
        rows = iter(source.query("CALL stalls()", SINCE, SINCE_LOCAL))
        assert next(rows)["id"] == 1

        with pytest.raises(SourceError, match="QUERY_TIMEOUT"):
            list(rows)
        assert time.monotonic() - began < 15, "it was waited for the server instead"
        source.close()

    @pytest.mark.database("MariaDB")  # MySQL sets no limit to a procedure
    def test_a_procedure_that_was_cut_and_went_on(self, table: MySQLParams) -> None:
        """A statement of a procedure that was cut by a limit of the query's own is no success, whatever came of it."""
        sentence = refusal(table, "SET STATEMENT max_statement_time = 0.05 FOR CALL sleeps_after_its_rows()")

        assert "gave only a part of the result (" in sentence

    def test_a_limit_of_the_query(self, mariadb: Server, table: MySQLParams) -> None:
        """A limit that the query sets for itself is told in the same words."""
        limit = {"MariaDB": "SET STATEMENT max_statement_time = 0.05 FOR SELECT", "MySQL": None}[mariadb.product]
        limit = limit or "SELECT /*+ MAX_EXECUTION_TIME(50) */"

        assert TOO_SLOW in refusal(table, LARGE.replace("SELECT", limit, 1))


@pytest.mark.database
class TestLocked:
    """What somebody else holds."""

    @pytest.mark.parametrize(
        ("statements", "sql"),
        [
            (["LOCK TABLES held WRITE, old WRITE"], "SELECT id FROM held"),
            (["LOCK TABLES held WRITE, old WRITE"], "SELECT id FROM old"),
            (["LOCK TABLES held WRITE, old WRITE"], "CALL all_of_held()"),
            (["START TRANSACTION", "UPDATE held SET id = 3 WHERE id = 1"], "SELECT id FROM held LOCK IN SHARE MODE"),
        ],
    )
    def test_lock(self, mariadb: Server, table: MySQLParams, statements: list[str], sql: str) -> None:
        """A lock on a table or a row is waited for so long, and then told as a lock; nothing is read."""
        with held(mariadb, table.database, *statements):
            sentence = refusal(replace(table, query_timeout=2), sql)

        assert sentence.startswith(LOCKED) and "SHOW PROCESSLIST" in sentence

    def test_lock_that_is_released(self, mariadb: Server, table: MySQLParams) -> None:
        """A row that somebody is changing is read as it was, without any wait."""
        with held(mariadb, table.database, "START TRANSACTION", "DELETE FROM held"):
            source = db.connect(replace(table, query_timeout=2))
            assert len(run(source, "SELECT id FROM held")) == 2
            source.close()
