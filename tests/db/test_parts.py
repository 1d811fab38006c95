"""A part of a result never passes for the whole: what follows the first result is looked at."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

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
        """With a limit what follows is left with the server, in silence."""
        assert run(caller, f"CALL {name}()", limit=1) == [{"id": 1}]
        caller.close()
        gc.collect()

        assert capfd.readouterr() == ("", "")

    def test_rows_before_a_second_result_are_not_the_whole(self, caller: Source) -> None:
        """The rows come as they are read; that there was more is an error at their end."""
        rows = iter(caller.query("CALL two()", SINCE, SINCE_LOCAL))
        assert next(rows) == {"id": 1}

        with pytest.raises(SourceError, match="more than one result"):
            next(rows)


SHORT = (
    "SET GLOBAL sql_select_limit = 2, GLOBAL group_concat_max_len = 4, GLOBAL max_error_count = 0",
    "SET GLOBAL sql_select_limit = DEFAULT, GLOBAL group_concat_max_len = DEFAULT, GLOBAL max_error_count = DEFAULT",
)


@pytest.fixture
def stingy(mariadb: Server, sample: MySQLParams) -> Iterator[Source]:
    """Connected to a server whose settings cut results."""
    mariadb.execute(SHORT[0])
    try:
        connected = db.connect(sample)
        yield connected
        connected.close()
    finally:
        mariadb.execute(SHORT[1])


@pytest.mark.database
class TestCutByTheServer:
    """What a server's settings or limits would leave out."""

    def test_settings_of_the_server_cut_nothing(self, stingy: Source) -> None:
        """The session takes the most of each limit that a session may set: all rows, and long lists."""
        assert len(run(stingy, "SELECT id FROM customers")) == 16
        (row,) = run(stingy, "SELECT GROUP_CONCAT(REPEAT('x', 5000)) AS long_list FROM customers")
        assert len(row["long_list"]) == 16 * 5001 - 1

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT REPEAT('x', 1073741824) AS text",
            "SELECT id, REPEAT('x', @@max_allowed_packet + id) AS text FROM customers",
            "SELECT CAST(1e10 AS DECIMAL(5)) AS number",
            pytest.param(
                "SELECT id FROM customers LIMIT ROWS EXAMINED 1", marks=pytest.mark.database("MariaDB"), id="examined"
            ),
            pytest.param("CALL cut()", id="in a procedure"),
        ],
    )
    def test_cut_value_is_a_failed_query(self, mariadb: Server, sample: MySQLParams, sql: str) -> None:
        """A value or a result that the server says it cut is never sent as it is."""
        mariadb.execute(
            "DROP PROCEDURE IF EXISTS cut; CREATE PROCEDURE cut() SELECT CAST(1e10 AS DECIMAL(5)) AS number;"
            f"GRANT EXECUTE ON {sample.database}.* TO app@'%'",
            database=sample.database,
        )

        assert "gave only a part of the result (" in refusal(sample, sql)

    def test_cut_list_is_a_failed_query(self, mariadb: Server, sample: MySQLParams) -> None:
        """Also where the query itself sets a limit, a list that was cut is not sent."""
        limited = {"MariaDB": "SET STATEMENT group_concat_max_len = 20 FOR SELECT", "MySQL": None}[mariadb.product]
        if limited is None:
            limited = "SELECT /*+ SET_VAR(group_concat_max_len = 20) */"

        assert "was cut by" in refusal(sample, f"{limited} GROUP_CONCAT(email) AS list FROM customers")

    @pytest.mark.database("MariaDB")  # MySQL lets only an administrator have more than a thousand kept
    def test_cut_behind_many_warnings(self, sample: MySQLParams) -> None:
        """Harmless warnings, however many, do not hide the one that says what was cut."""
        harmless = "(SELECT SUM(CAST('x' AS SIGNED)) FROM page_views AS a, page_views AS b, page_views AS c)"

        sentence = refusal(sample, f"SELECT {harmless} AS zero, CAST(1e10 AS DECIMAL(5)) AS number FROM customers")

        assert "gave only a part of the result (" in sentence

    def test_warnings_that_are_not_kept(self, source: Source, caplog: pytest.LogCaptureFixture) -> None:
        """When there were more warnings than the server keeps, the log says that there may have been others."""
        million = "page_views AS a, page_views AS b, page_views AS c, customers AS d"
        run(source, f"SELECT SUM(CAST('x' AS SIGNED)) AS zero FROM {million}")

        assert "kept only " in caplog.text and "warnings; the others may be important" in caplog.text

    def test_other_warnings_are_logged(self, source: Source, caplog: pytest.LogCaptureFixture) -> None:
        """Warnings that leave the result whole are told once for each kind, and the rows are given."""
        assert run(source, "SELECT 1/0 AS a FROM customers LIMIT 3") == [{"a": None}] * 3

        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "The database warns about the result: Division by 0 (and 2 more) code=1365" in record.getMessage()

    def test_warnings_hold_no_secret(self, sample: MySQLParams, caplog: pytest.LogCaptureFixture) -> None:
        """What the server repeats of a value is masked, however short the secret; so is what it says of the query."""
        params = replace(sample, secrets=("k3y",))
        source = db.connect(params)
        try:
            run(source, "SELECT CAST('k3y' AS SIGNED) AS n")
        finally:
            source.close()

        assert "***" in caplog.text and "k3y" not in caplog.text
        assert "'no_***'" in refusal(params, "SELECT no_k3y FROM DUAL")

    def test_no_warnings_no_words(self, source: Source, caplog: pytest.LogCaptureFixture) -> None:
        """A result without warnings says nothing, also after one with some."""
        run(source, "SELECT 1/0 AS a FROM customers")
        caplog.clear()

        run(source, "SELECT id FROM customers")

        assert not caplog.records
