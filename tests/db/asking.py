"""What the tests of the database ask of a server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import db
from db import MySQLParams
from sync.rows.source import Row, Source, SourceError
from tests.mariadb import numbers

SINCE = datetime(2026, 1, 6, 12, 30, 15, tzinfo=UTC)


SINCE_LOCAL = datetime(2026, 1, 6, 13, 30, 15)


LARGE = f"SELECT seq, REPEAT('x', 100) AS filler FROM {numbers(8)}"


def run(source: Source, sql: str, limit: int | None = None) -> list[Row]:
    """All rows of a query."""
    return list(source.query(sql, SINCE, SINCE_LOCAL, limit))


def refusal(params: MySQLParams, sql: str = "SELECT 1") -> str:
    """The sentence that a query ends with; it is one line and holds no password."""
    with pytest.raises(SourceError) as caught:
        connected = db.connect(params)
        try:
            run(connected, sql)
        finally:
            connected.close()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert not params.password or params.password not in sentence
    assert sentence.endswith(".")
    return sentence
