"""Moments at the ends of the calendar, and what is said of values that are refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.rows.mapping import Mapping, mapping_problems, parse_fields
from sync.rows.payloads import Event, Payload, PayloadBuilder, RejectedEvent
from sync.rows.raw_values import Rejection
from sync.rows.source import Column, Kind
from sync.rows.values import UNKNOWN_MOMENT, utc_instant
from tests.examples import examples

NEVER, EVER = datetime(9999, 12, 31, 23, 59, 59), datetime(1, 1, 1)
AMERICA, ASIA = ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")


def mapping(**changes: Any) -> Mapping:
    """One column `v` that becomes a field of the profile, and an event at `at`."""
    standard: dict[str, Any] = {
        "email_column": "email",
        "user_id_column": None,
        "user_fields": parse_fields("v"),
        "segment_field": "",
        "event_name": "seen",
        "event_fields": parse_fields("v"),
        "event_time_column": "at",
        "event_key": ("at",),
        "timezone": AMERICA,
    }
    return Mapping(**(standard | changes))


def built(value: Any, kind: Kind, at: Any = NEVER, *, at_kind: Kind = Kind.DATETIME, **changes: Any) -> Any:
    """What a row with this value becomes."""
    columns = [Column("email", Kind.TEXT), Column("v", kind), Column("at", at_kind)]
    return PayloadBuilder(mapping(**changes), columns).build(("ada@example.com", value, at))


def test_what_never_ends_is_sent() -> None:
    """As a field, the last second of the calendar is sent, also in a zone west of UTC."""
    profile = built(NEVER, Kind.DATETIME).profile

    assert isinstance(profile, Payload)
    assert json.loads(profile.body)["dataFields"] == {"v": "9999-12-31 23:59:59 +00:00"}


@pytest.mark.parametrize("zone", [AMERICA, ASIA, ZoneInfo("UTC")], ids=str)
@pytest.mark.parametrize(
    ("kind", "at"),
    [
        (Kind.DATETIME, NEVER),
        (Kind.DATETIME, datetime(9999, 1, 1)),
        (Kind.DATETIME, EVER),
        (Kind.DATETIME, datetime(1, 12, 31, 23, 59, 59, 999999)),
        (Kind.DATETIME, NEVER.replace(tzinfo=UTC)),
        (Kind.TIMESTAMP, NEVER),
        (Kind.DATE, date(9999, 12, 31)),
        (Kind.DATE, date(1, 1, 1)),
        (Kind.DATETIME, "9999-12-31 23:59:59"),
        (Kind.DATETIME, "0001-01-01"),
        (Kind.INTEGER, 253402300799),
    ],
    ids=str,
)
def test_a_placeholder_is_no_event_time(kind: Kind, at: object, zone: ZoneInfo) -> None:
    """A date in the year 1 or 9999, as it is written, rejects the event alone, and makes no profile the newest."""
    row = built("x", Kind.TEXT, at, at_kind=kind, timezone=zone)

    assert isinstance(row.profile, Payload) and isinstance(row.event, RejectedEvent)
    assert "is a placeholder and not an event time; correct it, or leave such rows out of the query" in row.event.reason
    assert row.moment == UNKNOWN_MOMENT


@pytest.mark.parametrize(
    "number",
    [
        20260106,  # a day in digits: as seconds it is in August 1970
        19000101,
        21001231,
        202601061431,
        20260106143122,
        1_767_709_882_000,  # milliseconds
        300_000_000_000,  # milliseconds of 1979
        1_767_709_882_000_000,
        10**30,
    ],
)
def test_a_number_that_is_no_count_of_seconds_is_no_event_time(number: int) -> None:
    """A date in digits, or milliseconds, is no Unix time: the event is rejected with the remedy instead of being
    tracked in 1970 or in the year 8390, and makes no profile the newest."""
    row = built("x", Kind.TEXT, number, at_kind=Kind.INTEGER)

    assert isinstance(row.profile, Payload) and isinstance(row.event, RejectedEvent)
    told = "not Unix seconds; in the query, divide milliseconds by 1000, or use STR_TO_DATE for dates in digits"
    assert row.event.reason.endswith(f"at is {number}: {told}")
    assert row.moment == UNKNOWN_MOMENT


@pytest.mark.parametrize("number", [1, 19000100, 21010101, 1_767_709_882, 4_102_444_799, -1])
def test_other_numbers_are_unix_seconds(number: int) -> None:
    """Every other number up to the end of 2099 is the moment that it says, as event time and as a date."""
    row = built(number, Kind.INTEGER, number, at_kind=Kind.INTEGER, user_fields=parse_fields("v:v:date"))
    assert row.moment == number * 1_000_000
    assert isinstance(row.event, Event) and row.event.created_at == number


def test_a_date_that_is_a_field_may_lie_in_august_1970() -> None:
    """As a field such a number stays Unix seconds: somebody was born then."""
    profile = built(20260106, Kind.INTEGER, user_fields=parse_fields("v:v:date")).profile
    assert isinstance(profile, Payload) and '"v":"1970-08-23 11:48:26 +00:00"' in profile.body


@pytest.mark.parametrize("zone", [AMERICA, ASIA], ids=str)
@pytest.mark.parametrize("at", [datetime(9998, 12, 31, 23, 59, 59), datetime(2, 1, 1)], ids=str)
def test_the_years_beside_are_years(at: datetime, zone: ZoneInfo) -> None:
    """What is written in another year is an event time, whichever year it is in UTC."""
    assert isinstance(built("x", Kind.TEXT, at, timezone=zone).event, Event)


@examples(60)
@given(at=st.datetimes() | st.sampled_from([EVER, NEVER]), zone=st.sampled_from([AMERICA, ASIA, ZoneInfo("UTC")]))
def test_a_fingerprint_knows_placeholders(at: datetime, zone: ZoneInfo) -> None:
    """With and without its fingerprint a row has the same moment and the same event."""
    columns = [Column("email", Kind.TEXT), Column("v", Kind.TEXT), Column("at", Kind.DATETIME)]
    values = ("ada@example.com", "x", at)
    builder = PayloadBuilder(mapping(timezone=zone), columns)
    fingerprint = builder.fingerprint(values)

    row = builder.build(values)
    assert fingerprint.moment == row.moment
    assert isinstance(row.event, Event) == (at.year not in (1, 9999))


@pytest.mark.parametrize(
    ("value", "zone", "moment"),
    [
        (NEVER, AMERICA, NEVER),
        (NEVER.replace(microsecond=999999), AMERICA, NEVER),
        ("9999-12-31 23:59:59", AMERICA, NEVER),
        ("9999-12-31T23:59:59-05:00", None, NEVER),
        (NEVER, ASIA, NEVER - timedelta(hours=9)),
        (EVER, ASIA, EVER),
        (EVER, None, EVER),
        (NEVER, None, NEVER),
        (date(9999, 12, 31), AMERICA, datetime(9999, 12, 31)),
    ],
)
def test_ends_of_the_calendar(value: object, zone: ZoneInfo | None, moment: datetime) -> None:
    """A moment that has no year in UTC is the nearest one that has."""
    assert utc_instant(value, zone) == moment


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (datetime(2026, 1, 6, 1, 2, 3), Kind.JSON, "2026-01-06 01:02:03"),
        (date(2026, 1, 6), Kind.JSON, "2026-01-06"),
        (timedelta(hours=-1), Kind.JSON, "-01:00:00"),
        (Decimal("9007199254740993"), Kind.NUMBER, "9007199254740993"),
        (b"\x00\xff", Kind.BINARY, "0x00ff"),
        (bytes(100), Kind.BINARY, "0x" + "00" * 27 + "0..."),
        ("it's", Kind.JSON, '"it\'s"'),
    ],
)
def test_reasons_show_values_as_a_query_does(value: object, kind: Kind, shown: str) -> None:
    """The reason of a rejection shows the value as the database's own client would, on one line and cut short."""
    rejection = built(value, kind).profile

    assert isinstance(rejection, Rejection)
    assert rejection.reason.startswith(f"v is {shown}: ")


def test_text_as_event_time_is_refused_with_the_remedy() -> None:
    """A text column cannot be the event's time, and the refusal says how to make it one."""
    columns = [Column("email", Kind.TEXT), Column("v", Kind.TEXT), Column("at", Kind.TEXT)]

    (problem,) = mapping_problems(mapping(), columns)

    assert "EVENT_TIME_COLUMN names at, which is text, not a time" in problem
    assert "CAST(at AS DATETIME) AS at in the query" in problem
