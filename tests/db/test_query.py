"""The session, and the parameters of a query."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

import db
from db import MySQLParams
from sync.rows.source import Source
from tests.db.asking import SINCE, SINCE_LOCAL, run
from tests.mariadb import Server


@pytest.mark.database
class TestSession:
    """What the query finds around it."""

    def test_description(self, source: Source, sample: MySQLParams) -> None:
        """The description names everything but the password."""
        assert source.description == f"mysql://app@127.0.0.1:{sample.port}/{sample.database}"

    def test_utc_and_utf8(self, source: Source) -> None:
        """The session's time is UTC, its text UTF-8, and its sql_mode the server's own."""
        (row,) = run(
            source,
            "SELECT @@time_zone AS zone, @@character_set_results AS charset, @@sql_mode = @@global.sql_mode AS same,"
            " TIMESTAMPDIFF(SECOND, NOW(), UTC_TIMESTAMP()) AS off, '花🌻' AS text",
        )

        assert row == {"zone": "+00:00", "charset": "utf8mb4", "same": 1, "off": 0, "text": "花🌻"}

    def test_each_query_sees_its_moment(self, mariadb: Server) -> None:
        """A second query sees what was written since the first."""
        params = mariadb.database("CREATE TABLE t (id INT)")
        source = db.connect(params)
        assert run(source, "SELECT id FROM t") == []

        mariadb.execute("INSERT INTO t VALUES (1)", database=params.database)

        assert run(source, "SELECT id FROM t") == [{"id": 1}]
        source.close()

    def test_slow_query_is_waited_for(self, sample: MySQLParams) -> None:
        """The connect timeout is about connecting: a query may take longer."""
        source = db.connect(replace(sample, connect_timeout=0.5))

        assert run(source, "SELECT SLEEP(0.7) AS slept") == [{"slept": 0}]
        source.close()

    def test_close_twice(self, sample: MySQLParams) -> None:
        """Closing again does nothing."""
        source: Any = db.connect(sample)
        assert source._connection.open
        for _ in range(2):
            source.close()
            assert not source._connection.open


@pytest.mark.database
class TestParameters:
    """The same on the server, which has the last word on what is code."""

    @pytest.mark.parametrize(
        ("expression", "value"),
        [
            (":since", "2026-01-06 12:30:15"),
            (":since_local", "2026-01-06 13:30:15"),
            ("':since'", ":since"),
            ("'100% :since'", "100% :since"),
            ("'%s %(since)s %%'", "%s %(since)s %%"),
            (r"'\':since'", "':since"),
            ("'it''s :since'", "it's :since"),
            ('":since"', ":since"),
            ("5 % 3", 2),
            ("/*! :since */", "2026-01-06 12:30:15"),
            pytest.param("/*M! :since */", "2026-01-06 12:30:15", marks=pytest.mark.database("MariaDB")),
            pytest.param("1 /*M! + :since */", 1, marks=pytest.mark.database("MySQL")),
            ("1 /* :since */", 1),
            ("2 # :since '\n", 2),
            ("3 -- :since '\n", 3),
            ("4--1", 5),
            ("'a' LIKE 'a%' AND :since LIKE '2026%'", 1),
            ("CONCAT(:since,':since',:since_local)", "2026-01-06 12:30:15:since2026-01-06 13:30:15"),
        ],
    )
    def test_bound(self, source: Source, expression: str, value: object) -> None:
        """The server gets a value where it reads code, and the very text elsewhere."""
        (row,) = run(source, f"SELECT {expression} AS `x:since`, :since AS since;")

        assert row == {"x:since": value, "since": "2026-01-06 12:30:15"}

    @pytest.mark.parametrize("ending", [";", " ;; \n", "; -- done", " /* ; */", "; # ;", " -- ;"])
    def test_one_statement_may_end_in_a_semicolon(self, source: Source, ending: str) -> None:
        """A semicolon that ends the statement, or that is text, is no second statement."""
        assert run(source, f"SELECT ';' AS text{ending}") == [{"text": ";"}]

    def test_no_backslash_escapes(self, mariadb: Server, sample: MySQLParams) -> None:
        """Where the server's sql_mode makes a backslash a letter, it is one here too."""
        mariadb.execute("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'")
        try:
            source = db.connect(sample)
        finally:
            mariadb.execute("SET GLOBAL sql_mode = DEFAULT")

        assert run(source, r"SELECT '\' AS a, :since AS b, 'c' AS c") == [
            {"a": "\\", "b": "2026-01-06 12:30:15", "c": "c"}
        ]
        source.close()

    @pytest.mark.parametrize(
        ("sql", "used"),
        [
            ("SELECT :since", True),
            ("SELECT :since_local", True),
            ("SELECT 1 -- :since ':since'", False),
        ],
    )
    def test_uses_since(self, source: Source, sql: str, used: bool) -> None:
        """A query that does not look at the window can be told from one that does."""
        with closing(source.query(sql, SINCE, SINCE_LOCAL)) as result:
            assert result.uses_since is used
