"""Which JSON value a database value becomes."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from sync.rows.raw_values import Rejection, time_text
from sync.rows.source import Kind
from tests.rows.payload_samples import BERLIN, convert


@pytest.mark.parametrize(
    ("value", "kind", "field_type", "remedy"),
    [
        (2**53, Kind.INTEGER, None, "map it as x:x:string"),
        (-(2**53), Kind.INTEGER, None, "map it as x:x:string"),
        ("7", Kind.INTEGER, None, "map it as x:x:string"),
        (2, Kind.BOOLEAN, None, "map it as x:x:number"),
        (b"\2", Kind.BOOLEAN, None, "map it as x:x:string"),
        (float("nan"), Kind.NUMBER, None, "correct it"),
        (float("inf"), Kind.NUMBER, None, "correct it"),
        (Decimal("NaN"), Kind.NUMBER, "string", "correct it"),
        (Decimal("sNaN"), Kind.NUMBER, None, "correct it"),
        (Decimal("sNaN"), Kind.NUMBER, "bool", "use another field name"),
        (Decimal("1e400"), Kind.NUMBER, None, "map it as x:x:string"),
        (10**400, Kind.NUMBER, None, "map it as x:x:string"),
        (b"\xff", Kind.BINARY, "string", "HEX()"),
        (b"\xff", Kind.TEXT, None, "HEX()"),
        (b"abc", Kind.BINARY, None, "use another field name (x keeps its first type at Iterable): x:x_string:string"),
        ("{", Kind.JSON, None, "use another field name (x keeps its first type at Iterable): x:x_string:string"),
        ("", Kind.JSON, None, "use another field name (x keeps its first type at Iterable): x:x_string:string"),
        ('{"a": NaN}', Kind.JSON, None, "correct it"),
        ("[-Infinity]", Kind.JSON, None, "correct it"),
        ("[1e999]", Kind.JSON, None, "make it a string, or use another field name"),
        ("[9223372036854775808]", Kind.JSON, None, "make it a string, or use another field name"),
        ("9" * 5000, Kind.JSON, None, "make it a string, or use another field name"),
        ("[" * 101 + "]" * 101, Kind.JSON, None, "flatten"),
        ("[" * 100_000, Kind.JSON, None, "flatten"),
        (b"\xff", Kind.BINARY, "json", "HEX()"),
        ("2026-02-31", Kind.DATE, None, "correct it"),
        ("2026-01-06 25:00:00", Kind.TEXT, "date", "correct it"),
        (
            "06.01.2026",
            Kind.TEXT,
            "date",
            "use another field name (x keeps its first type at Iterable): x:x_string:string",
        ),
        ("", Kind.TEXT, "date", "use another field name (x keeps its first type at Iterable): x:x_string:string"),
        (1.5, Kind.NUMBER, "date", "use another field name (x keeps its first type at Iterable): x:x_string:string"),
        (1767709882000, Kind.INTEGER, "date", "1000"),
        ("yes", Kind.TEXT, "bool", "use another field name (x keeps its first type at Iterable): x:x_string:string"),
        ("", Kind.TEXT, "bool", "use another field name (x keeps its first type at Iterable): x:x_string:string"),
        ("nan", Kind.TEXT, "number", "use another field name (x keeps its first type at Iterable): x:x_string:string"),
        (
            "1_000",
            Kind.TEXT,
            "number",
            "use another field name (x keeps its first type at Iterable): x:x_string:string",
        ),
        (
            "1e999",
            Kind.TEXT,
            "number",
            "use another field name (x keeps its first type at Iterable): x:x_string:string",
        ),
    ],
)
def test_value_that_cannot_be_sent(value: object, kind: Kind, field_type: str | None, remedy: str) -> None:
    """A value without a true JSON form rejects the profile: column, value and remedy on one line."""
    rejection = convert(value, kind, field_type, BERLIN)
    assert isinstance(rejection, Rejection), rejection
    assert rejection.reason.startswith("x is ")
    assert remedy in rejection.reason
    assert len(rejection.reason) < 220
    assert rejection == convert(value, kind, field_type, BERLIN)


@pytest.mark.parametrize(
    ("value", "kind", "field_type", "expected"),
    [
        (1, Kind.BOOLEAN, None, True),
        (0, Kind.BOOLEAN, None, False),
        (2**53 - 1, Kind.INTEGER, None, 2**53 - 1),
        (2**64, Kind.INTEGER, "string", str(2**64)),
        (7, Kind.INTEGER, "number", 7.0),
        (2026, Kind.YEAR, None, 2026),
        (Decimal("12.00"), Kind.NUMBER, None, 12.0),
        (3, Kind.NUMBER, None, 3.0),
        (Decimal("0.00000001"), Kind.NUMBER, "string", "0.00000001"),
        (-0.5, Kind.NUMBER, None, -0.5),
        ("2026-01-06", Kind.TEXT, None, "2026-01-06"),
        ("true", Kind.TEXT, None, "true"),
        ("0000-00-00", Kind.TEXT, None, "0000-00-00"),
        ("a\0b", Kind.TEXT, None, "a\0b"),
        ("\U0001f600", Kind.TEXT, None, "\U0001f600"),
        ("a\ud83db", Kind.TEXT, None, "a\ufffdb"),
        ("é".encode(), Kind.BINARY, "string", "é"),
        (timedelta(hours=-838, minutes=-59, seconds=-59), Kind.TIME, None, "-838:59:59"),
        (timedelta(microseconds=5), Kind.TIME, None, "00:00:00.000005"),
        ('{"a": [1, 2.5, null, "x"]}', Kind.JSON, None, {"a": [1, 2.5, None, "x"]}),
        ('{"a": 1, "a": 2}', Kind.JSON, None, {"a": 2}),
        ("[-9007199254740992, 1000000000000000000]", Kind.TEXT, "json", [-(2**53), 10**18]),
        ("[" * 100 + "1" + "]" * 100, Kind.JSON, None, json.loads("[" * 100 + "1" + "]" * 100)),
        ('"\\ud83d"', Kind.JSON, None, "\ufffd"),
        ("TRUE", Kind.TEXT, "bool", True),
        ("0", Kind.TEXT, "bool", False),
        (1, Kind.INTEGER, "bool", True),
        (" -1.5e3", Kind.TEXT, "number", -1500.0),
        (None, Kind.JSON, None, None),
        (None, Kind.TEXT, "bool", None),
    ],
)
def test_value(value: object, kind: Kind, field_type: str | None, expected: object) -> None:
    """The column or the setting decides the JSON type; text is never looked into unless the setting asks for it."""
    sent = convert(value, kind, field_type, BERLIN)
    assert sent == expected
    assert type(sent) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        pytest.param(datetime(2026, 1, 6, 14, 31, 22, 999999), Kind.DATETIME, "2026-01-06 13:31:22", id="winter"),
        pytest.param(datetime(2026, 7, 6, 14, 31, 22), Kind.DATETIME, "2026-07-06 12:31:22", id="summer"),
        pytest.param(datetime(2026, 10, 25, 2, 30, fold=1), Kind.DATETIME, "2026-10-25 00:30:00", id="twice"),
        pytest.param(datetime(2026, 3, 29, 2, 30), Kind.DATETIME, "2026-03-29 01:30:00", id="never"),
        pytest.param(datetime(2026, 1, 6, 14), Kind.TIMESTAMP, "2026-01-06 14:00:00", id="timestamp"),
        pytest.param(
            datetime(2026, 1, 6, 14, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            Kind.DATETIME,
            "2026-01-06 08:30:00",
            id="aware",
        ),
        pytest.param(date(2026, 1, 6), Kind.DATE, "2026-01-06 00:00:00", id="day"),
        pytest.param(datetime(2026, 1, 6, 9), Kind.DATE, "2026-01-06 09:00:00", id="day-with-a-clock"),
        pytest.param(date(33, 4, 3), Kind.DATE, "0033-04-03 00:00:00", id="antiquity"),
        pytest.param("2026-01-06", Kind.DATETIME, "2026-01-06 00:00:00", id="text-day"),
        pytest.param("2026-01-06 14:31:22.5", Kind.DATETIME, "2026-01-06 13:31:22", id="text"),
        pytest.param("2026-01-06T14:31:22.123Z", Kind.DATETIME, "2026-01-06 14:31:22", id="text-utc"),
        pytest.param("2026-01-06 14:31:22 -0130", Kind.DATETIME, "2026-01-06 16:01:22", id="text-offset"),
    ],
)
def test_date(value: object, kind: Kind, expected: str) -> None:
    """A date is written in UTC and in Iterable's own layout; a day is never shifted."""
    assert convert(value, kind, None, BERLIN) == f"{expected} +00:00"
    if isinstance(value, str):
        assert convert(value, Kind.TEXT, "date", BERLIN) == f"{expected} +00:00"


@pytest.mark.parametrize("value", ["0000-00-00", "0000-00-00 00:00:00", "2026-00-10", "2026-01-00 00:00:00.000000"])
@pytest.mark.parametrize("kind", [Kind.DATE, Kind.DATETIME, Kind.TIMESTAMP])
def test_zero_date_is_null(value: str, kind: Kind) -> None:
    """MySQL's zero dates are no dates: null clears the field."""
    assert convert(value, kind) is None


def test_time_text() -> None:
    """A TIME is written as MySQL writes it."""
    assert time_text(timedelta(seconds=-1, microseconds=-20)) == "-00:00:01.000020"
