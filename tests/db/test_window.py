"""The start of the window is a moment: compared with a number it is another window, and the query has failed."""

from __future__ import annotations

import pytest

import db
from db import MySQLParams
from tests.db.asking import SINCE, SINCE_LOCAL, refusal, run
from tests.mariadb import Server

pytestmark = pytest.mark.database

TABLE = """
CREATE TABLE seen (
    seconds INT UNSIGNED, large BIGINT, fraction DECIMAL(16, 6), inexact DOUBLE,
    at TIMESTAMP NULL, clock DATETIME, day DATE, text VARCHAR(30), INDEX (seconds)
);
INSERT INTO seen VALUES
    (1577836800, 1577836800, 1577836800, 1577836800, '2020-01-01', '2020-01-01', '2020-01-01', '2020-01-01 00:00:00'),
    (1767790000, 1767790000, 1767790000, 1767790000, '2026-01-07', '2026-01-07', '2026-01-07', '2026-01-07 00:00:00');
"""


@pytest.fixture(scope="module")
def table(mariadb: Server) -> MySQLParams:
    """A row before the window, and one in it, by columns of many types."""
    return mariadb.database(TABLE)


@pytest.mark.parametrize("parameter", [":since", ":since_local"])
@pytest.mark.parametrize(
    "condition",
    [
        "seconds >= {}",
        "{} < seconds",
        "seconds BETWEEN {} AND 4000000000",
        "seconds >= {} + 0",
        "large > {}",
        "fraction >= {}",
        "inexact >= {}",
        "seconds / 1000 > {}",
        "CAST('x' AS SIGNED) = 0 AND seconds >= {}",
        "seconds IN (SELECT seconds FROM seen WHERE seconds >= {})",
    ],
)
def test_a_window_of_numbers_is_refused(table: MySQLParams, condition: str, parameter: str) -> None:
    """The server would compare with the number 2026, and go on with a warning; the sentence says what to write."""
    sentence = refusal(table, f"SELECT large FROM seen WHERE {condition.format(parameter)}")

    assert (
        "compared the start of the window, 2026-01-06 1" in sentence
        and ", with a number, so the window is wrong: " in sentence
    )
    assert sentence.endswith("if the column holds Unix seconds, write UNIX_TIMESTAMP(:since) in QUERY_FILE.")


@pytest.mark.parametrize(
    "condition",
    [
        "seconds >= UNIX_TIMESTAMP(:since)",
        "large BETWEEN UNIX_TIMESTAMP(:since) AND 4000000000",
        "at >= :since",
        "clock >= :since_local",
        "clock > :since_local - INTERVAL 1 DAY",
        "day >= CAST(:since AS DATE)",
        "text >= :since",
        "FROM_UNIXTIME(seconds) >= :since",
        "seconds > CAST('2021-01-01 00:00:00' AS SIGNED) AND at >= :since",
    ],
)
def test_what_is_compared_with_a_moment_has_its_window(table: MySQLParams, condition: str) -> None:
    """Times, days and texts are compared with the start as it is, Unix seconds with its Unix seconds; and a number that
    the query itself makes of another text is its own affair."""
    source = db.connect(table)
    assert list(source.query(f"SELECT large FROM seen WHERE {condition}", SINCE, SINCE_LOCAL)) == [
        {"large": 1767790000}
    ]
    source.close()


def test_in_a_selected_value(table: MySQLParams) -> None:
    """A value of the result that compares the same way is as wrong as a condition."""
    source = db.connect(table)
    assert run(source, "SELECT at >= :since AS seen FROM seen ORDER BY at") == [{"seen": 0}, {"seen": 1}]
    source.close()

    assert "compared the start of the window, " in refusal(table, "SELECT seconds >= :since AS seen FROM seen")
