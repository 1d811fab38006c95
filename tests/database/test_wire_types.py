"""Values out of the bytes on the wire, each by its column's type."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pymysql.constants import FIELD_TYPE

from sync.database.wire_types import reader


class Field:
    """What a server says of a column."""

    name = "a"
    length = 20

    def __init__(self, type_code: int = FIELD_TYPE.VAR_STRING, charsetnr: int = 45) -> None:
        self.type_code, self.charsetnr = type_code, charsetnr


@pytest.mark.parametrize(
    ("type_code", "written", "read"),
    [
        (FIELD_TYPE.VAR_STRING, "é".encode(), "é"),
        (FIELD_TYPE.VAR_STRING, b"\xe9", b"\xe9"),
        (FIELD_TYPE.LONG, b"-7", -7),
        (FIELD_TYPE.NEWDECIMAL, b"12.50", Decimal("12.50")),
        (FIELD_TYPE.NEWDECIMAL, b"twelve", "twelve"),
        (FIELD_TYPE.DATE, b"2026-01-06", date(2026, 1, 6)),
        (FIELD_TYPE.TIME, b"-00:00:01", timedelta(seconds=-1)),
        (FIELD_TYPE.DATETIME, b"2026-01-06 10:00:00", datetime(2026, 1, 6, 10)),
        (FIELD_TYPE.TIMESTAMP, b"2026-01-06 10:00:00.120000", datetime(2026, 1, 6, 10, 0, 0, 120_000)),
        (FIELD_TYPE.DATETIME, b"2026-01-06 10:00:00.1", datetime(2026, 1, 6, 10, 0, 0, 100_000)),
        (FIELD_TYPE.DATETIME, b"0000-00-00 00:00:00", "0000-00-00 00:00:00"),
        (FIELD_TYPE.DATETIME, b"2026-02-30 00:00:00", "2026-02-30 00:00:00"),
    ],
)
def test_values(type_code: int, written: bytes, read: Any) -> None:
    """Each by its column's type; what Python has no value for stays text, what is no text stays bytes."""
    value = reader(Field(type_code))(written)

    assert (type(value), value) == (type(read), read)
