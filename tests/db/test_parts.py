"""A part of a result never passes for the whole: what follows the first result is looked at."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import db
from db import MySQLParams
from sync.rows.source import Source, SourceError
from tests.db.asking import SINCE, SINCE_LOCAL, refusal, run
from tests.mariadb import Server

PROCEDURES = {
    "one": "SELECT 1 AS id UNION SELECT 2;",
    "two": "SELECT 1 AS id; SELECT 2 AS id;",
    "two_of_which_one_is_empty": "SELECT 1 AS id FROM DUAL WHERE FALSE; SELECT 2 AS id;",
    "then_fails": "SELECT 1 AS id; SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the second half is missing';",
    "nothing": "DO 1;",
}


@pytest.fixture(scope="module")
def procedures(mariadb: Server) -> MySQLParams:
    """A database with procedures that `app` may call."""
    params = mariadb.database()
    for name, body in PROCEDURES.items():
        mariadb.execute(f"CREATE PROCEDURE {name}() BEGIN {body} END", database=params.database)
    mariadb.execute(f"GRANT EXECUTE ON {params.database}.* TO app@'%'")
    return params


@pytest.fixture
def caller(procedures: MySQLParams) -> Iterator[Source]:
    """Connected to the procedures."""
    connected = db.connect(procedures)
    yield connected
    connected.close()


@pytest.mark.database
class TestCall:
    """A procedure in QUERY_FILE."""

    def test_one_select_is_a_query(self, caller: Source, capfd: pytest.CaptureFixture[str]) -> None:
        """A procedure with one SELECT gives its rows, twice in a row, and nothing on the screen, ever."""
        for _ in range(2):
            assert run(caller, "CALL one()") == [{"id": 1}, {"id": 2}]
        caller.close()
        gc.collect()

        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("name", ["two", "two_of_which_one_is_empty"])
    def test_second_result_is_refused(
        self, procedures: MySQLParams, name: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A procedure with two SELECTs is a failed query, not its first half, and nothing is on the screen."""
        assert "gives more than one result" in refusal(procedures, f"CALL {name}()")
        gc.collect()

        assert capfd.readouterr() == ("", "")

    def test_error_after_the_rows(self, procedures: MySQLParams) -> None:
        """A procedure that fails after its first result is a failed query, in the server's words."""
        assert "the second half is missing" in refusal(procedures, "CALL then_fails()")

    def test_no_result(self, procedures: MySQLParams) -> None:
        """A procedure that selects nothing is no query, and not an empty segment."""
        assert "The query has no result" in refusal(procedures, "CALL nothing()")

    @pytest.mark.parametrize("name", ["one", "two", "then_fails"])
    def test_limit_before_the_end(self, caller: Source, name: str, capfd: pytest.CaptureFixture[str]) -> None:
        """With a limit what follows is left with the server, in silence, and the next query is asked as ever."""
        assert run(caller, f"CALL {name}()", limit=1) == [{"id": 1}]
        assert run(caller, "SELECT 3 AS id") == [{"id": 3}]
        caller.close()
        gc.collect()

        assert capfd.readouterr() == ("", "")

    def test_rows_before_a_second_result_are_not_the_whole(self, caller: Source) -> None:
        """The rows come as they are read; that there was more is an error at their end."""
        rows = iter(caller.query("CALL two()", SINCE, SINCE_LOCAL))
        assert next(rows) == {"id": 1}

        with pytest.raises(SourceError, match="more than one result"):
            next(rows)
        assert run(caller, "SELECT 3 AS id") == [{"id": 3}]
