"""What a row becomes, and what it must never become."""

from __future__ import annotations

import json
from collections.abc import Mapping as AnyMapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from columns import Column, Kind, Row
from payloads import (
    RESERVED_FIELDS,
    TYPES,
    UNKNOWN_MOMENT,
    Event,
    Field,
    Mapping,
    Payload,
    PayloadBuilder,
    RejectedEvent,
    Rejection,
    address_of,
    identity_fields,
    is_usable,
    leave_body,
    mapping_problems,
    parse_fields,
    time_text,
    with_segment_false,
)

ONE_USER = {
    "id": 7,
    "email": "Ada@Example.com ",
    "first_name": "Ada",
    "last_name": None,
    "plan_type": "pro",
    "candidate": "alpha",
    "page": "pricing",
    "device": "mobile",
    "browser": "Firefox",
    "location": "Berlin",
    "event_time": datetime(2026, 1, 6, 14, 31, 22, 987654),
}
COLUMNS = [Column(name, {"id": Kind.INTEGER, "event_time": Kind.DATETIME}.get(name, Kind.TEXT)) for name in ONE_USER]
SAMPLE = Mapping(
    email_column="email",
    user_id_column=None,
    user_fields=parse_fields("first_name,last_name,plan_type,candidate"),
    segment_field="recent_page_view",
    event_name="page_view",
    event_fields=parse_fields("page,device,browser,location,candidate,event_time"),
    event_time_column="event_time",
    event_key=("event_time", "page"),
    timezone=ZoneInfo("UTC"),
)
quick = settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")


def strict(text: str) -> Any:
    """Parse as a strict reader does: UTF-8, no NaN, no infinity."""
    return json.loads(text.encode().decode(), parse_constant=_refuse)


def body_of(payload: object) -> Any:
    """Return the body of something that is not rejected."""
    assert isinstance(payload, Payload | Event), payload
    return strict(payload.body)


def convert(value: object, kind: Kind, field_type: str | None = None, zone: tzinfo = UTC) -> Any:
    """Return what one value becomes in a profile, or the rejection."""
    mapping = replace(
        SAMPLE, user_fields=(Field("x", ("x",), field_type),), segment_field="", event_name="", timezone=zone
    )
    row = {"email": "ada@example.com", "x": value}
    profile = PayloadBuilder(mapping, [Column("email", Kind.TEXT), Column("x", kind)]).build(row).profile
    return profile if isinstance(profile, Rejection) else body_of(profile)["dataFields"]["x"]


def build(mapping: Mapping = SAMPLE, **changes: object) -> Any:
    """Return what the sample user's row becomes, with some values changed."""
    return PayloadBuilder(mapping, COLUMNS).build(ONE_USER | changes)


# -- identities ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "word"),
    [
        pytest.param("000", "@", id="no-at"),
        pytest.param("ada@@example.com", "before", id="two-ats"),
        pytest.param("ada@bob@example.com", "before", id="two-ats-apart"),
        pytest.param("@example.com", "before", id="nobody"),
        pytest.param("ada@", "after", id="nowhere"),
        pytest.param("user @example.com", "before", id="space"),
        pytest.param("ada@exam\u00a0ple.com", "invisible", id="no-break-space"),
        pytest.param("ada\u200b@example.com", "invisible", id="zero-width-space"),
        pytest.param("\u202eada@example.com", "invisible", id="right-to-left-mark"),
        pytest.param("ada\0@example.com", "control", id="nul"),
        pytest.param("ada\n@example.com", "control", id="newline"),
        pytest.param("ada\ud83d@example.com", "invisible", id="half-surrogate"),
        pytest.param(".ada@example.com", "before", id="leading-dot"),
        pytest.param("ada.@example.com", "before", id="trailing-dot"),
        pytest.param("a..da@example.com", "before", id="double-dot"),
        pytest.param("a" * 65 + "@example.com", "64", id="long-local-part"),
        pytest.param("ada@" + "a." * 130 + "com", "254", id="long-address"),
        pytest.param("ada@localhost", "after", id="bare-host"),
        pytest.param("ada@127.0.0.1", "after", id="ip-address"),
        pytest.param("ada@[127.0.0.1]", "after", id="ip-literal"),
        pytest.param("ada@example.c", "after", id="short-tld"),
        pytest.param("ada@example.com.", "after", id="dot-at-end"),
        pytest.param("ada@.example.com", "after", id="empty-label"),
        pytest.param("ada@-example.com", "after", id="hyphen-first"),
        pytest.param("ada@example-.com", "after", id="hyphen-last"),
        pytest.param("ada@exam_ple.com", "after", id="underscore"),
        pytest.param("a(b)c@example.com", "before", id="parentheses"),
        pytest.param("ada@example.com,bob@example.com", "before", id="list"),
        pytest.param("Ada <ada@example.com>", "before", id="display-name"),
        pytest.param(5, "text", id="number"),
        pytest.param(b"ada@example.com", "text", id="bytes"),
    ],
)
def test_unusable_address(address: object, word: str) -> None:
    """An address that no rule book accepts rejects profile and event, with column, value and cause."""
    result = build(email=address)
    assert isinstance(result.profile, Rejection)
    assert isinstance(result.event, RejectedEvent)
    assert result.event.reason == result.profile.reason
    assert result.profile.reason.startswith("email is ")
    assert word in result.profile.reason.partition(": ")[2]
    assert "\n" not in result.profile.reason
    assert not is_usable(result.identity)
    assert result == build(email=address)


@pytest.mark.parametrize(
    "address",
    [
        "x+uuid@example.com",
        "o'brien@example.co.uk",
        '"a b"@example.com',
        '"a@b".c@example.com',
        "a\\@b@example.com",
        "!#$%&*+/=?^_`{|}~-@example.com",
        "?.a@example.com",
        "a@xn--bcher-kva.example",
        "ada@bücher.example",
        "jörg@example.com",
        "a" * 64 + "@example.com",
        "a@1.com",
        "ada@example.unknown",
    ],
)
def test_usable_address(address: str) -> None:
    """What Iterable may accept is Iterable's to judge, also outside ASCII and under unknown top-level domains."""
    result = build(email=address)
    assert result.identity == address_of(result.identity) == body_of(result.profile)["email"] == address
    assert is_usable(result.identity)


def test_identity_ignores_case_and_space() -> None:
    """Two spellings of one address are one user, one event and one digest."""
    assert build(email="ada@example.com") == build(email=" ADA@EXAMPLE.COM\t")


def test_rows_that_name_nobody_stay_apart() -> None:
    """Each row without an address stands for itself, and is the same one in the next run."""
    first, again, other = build(email=None), build(email=None), build(email=None, page="settings")
    assert first == again
    assert first.identity != other.identity
    assert first.profile.reason.startswith("email is NULL: the row names no user")
    assert build(email="  ").identity != first.identity


def test_bad_value_is_the_key_of_its_row() -> None:
    """The same bad address comes to the same key, whatever else the row holds, and a reader recognises it."""
    assert build(email="not-an-address").identity == build(email="not-an-address", page="x").identity
    assert address_of(build(email="not-an-address").identity) == "not-an-address"
    long = {build(email="x" * 500 + end).identity for end in "ab"}
    assert len(long) == 2
    assert max(map(len, long)) < 120


USER_ID = replace(SAMPLE, email_column=None, user_id_column="id")


def test_user_id() -> None:
    """A user id is sent as text and alone; a missing user is created; nothing of it changes its case."""
    result = build(USER_ID, id=7)
    assert (result.identity, address_of(result.identity)) == ("id:7", "7")
    profile, event = body_of(result.profile), body_of(result.event)
    assert list(profile) == ["userId", "preferUserId", "dataFields"]
    assert profile["userId"] == event["userId"] == "7"
    assert profile["preferUserId"] is True
    assert "email" not in profile | event
    assert identity_fields(result.identity) == {"userId": "7"}
    assert build(USER_ID, id="AbC").identity == "id:AbC"


@pytest.mark.parametrize(
    "value",
    [True, 1.0, Decimal(1), b"a", "a" * 53, "a ", "é", "a\n", 10**60, pytest.param(1 << 20_000, id="huge"), [1]],
)
def test_unusable_user_id(value: object) -> None:
    """A user id that Iterable documents as invalid is rejected here."""
    assert isinstance(build(USER_ID, id=value).profile, Rejection)


def test_identity_column_wins() -> None:
    """With a user id column the e-mail column does not matter."""
    assert build(replace(SAMPLE, user_id_column="id"), email="junk").identity == "id:7"


# -- event time and id ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "0000-00-00 00:00:00", "2026-00-10", "soon", True, 1.5, 10**30])
def test_event_without_time(value: object) -> None:
    """A row without an event time keeps its profile; its event is rejected under the id that it would have."""
    result = build(event_time=value)
    assert isinstance(result.profile, Payload)
    assert isinstance(result.event, RejectedEvent)
    assert result.event.reason.startswith("event_time is ")
    assert len(result.event.id) == 32
    assert result.moment == UNKNOWN_MOMENT


def test_id_test_vector() -> None:
    """Changing these ids would track every past event of every customer once more."""
    assert build().event.id == "45ba8acaefca8e1879a3cb844970ba72"
    assert build(USER_ID).event.id == "ce39c319eeaa293de28cd650c9288fea"
    keys = {
        "text": "prix € é",
        "none": None,
        "int": -12,
        "decimal": Decimal("12.50"),
        "float": 0.1,
        "bytes": b"\x00\xff",
        "day": date(2026, 1, 6),
        "clock": timedelta(hours=-1, microseconds=5),
    }
    mapping = replace(SAMPLE, event_key=tuple(keys))
    columns = [*COLUMNS, *(Column(name, Kind.UNKNOWN) for name in keys)]
    event = PayloadBuilder(mapping, columns).build(ONE_USER | keys).event
    assert event is not None
    assert event.id == "47e3295476210336659da7374e92adb1"


def test_id_can_be_made_by_hand() -> None:
    """The hashed text of the first vector: each part as type tag, length and text."""
    text = "s9:page_views15:ada@example.comt26:2026-01-06 14:31:22.987654s7:pricing"
    assert build().event.id == blake2b(text.encode(), digest_size=16).hexdigest()


def test_id_hangs_on_what_happened_only() -> None:
    """Other fields, another zone or another field list keep the id; name, identity and key values make it."""
    same = [
        build(),
        build(device="desktop", first_name=None),
        build(replace(SAMPLE, timezone=ZoneInfo("Asia/Tokyo"))),
        build(replace(SAMPLE, event_fields=())),
    ]
    other = [
        build(replace(SAMPLE, event_name="page-view")),
        build(email="bob@example.com"),
        build(page="Pricing"),
        build(page=None),
        build(page=""),
        build(event_time=ONE_USER["event_time"] + timedelta(microseconds=1)),  # type: ignore[operator]
        build(replace(SAMPLE, event_key=("page", "event_time"))),
    ]
    assert len({result.event.id for result in same}) == 1
    assert len({result.event.id for result in [*same, *other]}) == 1 + len(other)


def test_key_values_cannot_run_together() -> None:
    """What moves from one key column into the next makes another event."""
    mapping = replace(SAMPLE, event_key=("page", "device"))
    assert build(mapping, page="ab", device="c").event.id != build(mapping, page="a", device="bc").event.id
    assert build(mapping, page="1").event.id != build(mapping, page=1).event.id


@pytest.mark.parametrize(
    "group",
    [
        [1, True, Decimal("1"), Decimal("1.00"), 1.0],
        [0, False, Decimal("0.00"), Decimal("-0"), -0.0],
        [100, Decimal("1E+2"), 100.0],
        [0.1, Decimal("0.1"), Decimal("0.10")],
        [-2.5, Decimal("-2.50")],
    ],
    ids=str,
)
def test_number_in_a_key_counts_by_value(group: list[object]) -> None:
    """A number that two databases give as different Python types is one number."""
    assert len({build(page=value).event.id for value in group}) == 1


@pytest.mark.parametrize(
    ("kind", "value", "seconds"),
    [
        (Kind.DATETIME, datetime(2026, 1, 6, 14, 31, 22, 987654), 1767706282),
        (Kind.TIMESTAMP, datetime(2026, 1, 6, 14, 31, 22), 1767709882),
        (Kind.DATE, date(2026, 1, 6), 1767657600),
        (Kind.INTEGER, 1767709882, 1767709882),
        (Kind.UNKNOWN, datetime(2026, 1, 6, 14, 31, 22, tzinfo=UTC), 1767709882),
        (Kind.DATETIME, datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC), -1),
    ],
)
def test_created_at(kind: Kind, value: object, seconds: int) -> None:
    """`createdAt` is whole Unix seconds: a DATETIME is a clock in the zone, a TIMESTAMP and a day are in UTC."""
    columns = [column if column.name != "event_time" else Column("event_time", kind) for column in COLUMNS]
    mapping = replace(SAMPLE, timezone=ZoneInfo("Europe/Berlin"), event_fields=())
    result = PayloadBuilder(mapping, columns).build(ONE_USER | {"event_time": value})
    assert body_of(result.event)["createdAt"] == seconds
    assert isinstance(result.event, Event)
    assert result.event.created_at == result.moment // 1_000_000 == seconds


def test_profiles_only_and_events_only() -> None:
    """Without an event name there are no events, without user fields no profiles."""
    assert build(replace(SAMPLE, event_name="")).event is None
    assert build(replace(SAMPLE, user_fields=())).profile is None
    missing = replace(SAMPLE, event_name="", event_time_column="nope")
    assert build(missing).moment == UNKNOWN_MOMENT


# -- values --------------------------------------------------------------------------------------------------

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "kind", "field_type", "remedy"),
    [
        (2**53, Kind.INTEGER, None, "column:field:string"),
        (-(2**53), Kind.INTEGER, None, "column:field:string"),
        ("7", Kind.INTEGER, None, "column:field:string"),
        (2, Kind.BOOLEAN, None, "column:field:number"),
        (b"\2", Kind.BOOLEAN, None, "column:field:number"),
        (float("nan"), Kind.NUMBER, None, "correct it"),
        (float("inf"), Kind.UNKNOWN, None, "correct it"),
        (Decimal("NaN"), Kind.NUMBER, "string", "correct it"),
        (Decimal("sNaN"), Kind.NUMBER, None, "correct it"),
        (Decimal("1e400"), Kind.NUMBER, None, "column:field:string"),
        (10**400, Kind.NUMBER, None, "column:field:string"),
        (b"\xff", Kind.BINARY, "string", "HEX()"),
        (b"\xff", Kind.TEXT, None, "HEX()"),
        (b"abc", Kind.BINARY, None, "column:field:string"),
        (b"abc", Kind.UNKNOWN, None, "column:field:string"),
        ({1, 2}, Kind.UNKNOWN, None, "leave the column out"),
        ("{", Kind.JSON, None, "column:field:string"),
        ("", Kind.JSON, None, "column:field:string"),
        ('{"a": NaN}', Kind.JSON, None, "correct it"),
        ("[-Infinity]", Kind.JSON, None, "correct it"),
        ("[1e999]", Kind.JSON, None, "as a string"),
        ("[9223372036854775808]", Kind.JSON, None, "as a string"),
        ("9" * 5000, Kind.JSON, None, "as a string"),
        ("[" * 101 + "]" * 101, Kind.JSON, None, "flatten"),
        ("[" * 100_000, Kind.JSON, None, "flatten"),
        (b"\xff", Kind.BINARY, "json", "HEX()"),
        ({1: {2}}, Kind.JSON, None, "column:field:string"),
        ("2026-02-31", Kind.DATE, None, "correct it"),
        ("2026-01-06 25:00:00", Kind.TEXT, "date", "correct it"),
        ("06.01.2026", Kind.TEXT, "date", "column:field:string"),
        ("", Kind.TEXT, "date", "column:field:string"),
        (1.5, Kind.NUMBER, "date", "column:field:string"),
        (datetime(1, 1, 1), Kind.DATETIME, None, "correct it"),
        (1767709882000, Kind.INTEGER, "date", "1000"),
        ("yes", Kind.TEXT, "bool", "column:field:number"),
        ("", Kind.TEXT, "bool", "column:field:number"),
        ("nan", Kind.TEXT, "number", "column:field:string"),
        ("1_000", Kind.TEXT, "number", "column:field:string"),
        ("1e999", Kind.TEXT, "number", "column:field:string"),
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
        (b"\0", Kind.BOOLEAN, None, False),
        (2**53 - 1, Kind.INTEGER, None, 2**53 - 1),
        (2**64, Kind.INTEGER, "string", str(2**64)),
        (7, Kind.INTEGER, "number", 7.0),
        (2026, Kind.YEAR, None, 2026),
        (Decimal("12.00"), Kind.NUMBER, None, 12.0),
        (3, Kind.NUMBER, None, 3.0),
        (Decimal("0.00000001"), Kind.NUMBER, "string", "0.00000001"),
        (-0.5, Kind.UNKNOWN, None, -0.5),
        ("2026-01-06", Kind.TEXT, None, "2026-01-06"),
        ("true", Kind.TEXT, None, "true"),
        ("0000-00-00", Kind.UNKNOWN, None, "0000-00-00"),
        ("a\0b", Kind.TEXT, None, "a\0b"),
        ("\U0001f600", Kind.TEXT, None, "\U0001f600"),
        ("a\ud83db", Kind.TEXT, None, "a\ufffdb"),
        ("é".encode(), Kind.BINARY, "string", "é"),
        (timedelta(hours=-838, minutes=-59, seconds=-59), Kind.TIME, None, "-838:59:59"),
        (timedelta(microseconds=5), Kind.TIME, None, "00:00:00.000005"),
        ('{"a": [1, 2.5, null, "x"]}', Kind.JSON, None, {"a": [1, 2.5, None, "x"]}),
        ('{"a": 1, "a": 2}', Kind.JSON, None, {"a": 2}),
        ("[-9223372036854775808]", Kind.TEXT, "json", [-(2**63)]),
        ("[" * 100 + "1" + "]" * 100, Kind.JSON, None, json.loads("[" * 100 + "1" + "]" * 100)),
        ('"\\ud83d"', Kind.JSON, None, "\ufffd"),
        ({"a": 1}, Kind.UNKNOWN, None, {"a": 1}),
        ({"a": 1}, Kind.JSON, "string", '{"a":1}'),
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
        pytest.param(datetime(2026, 1, 6, 14), Kind.UNKNOWN, "2026-01-06 13:00:00", id="unknown"),
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


# -- bodies --------------------------------------------------------------------------------------------------


def test_bodies() -> None:
    """The two bodies, to the byte: digests must be the same in every run."""
    result = build()
    assert result.profile.body == (
        '{"email":"ada@example.com","dataFields":{"first_name":"Ada","last_name":null,"plan_type":"pro",'
        '"candidate":"alpha","recent_page_view":true}}'
    )
    assert result.event.body == (
        f'{{"email":"ada@example.com","eventName":"page_view","id":"{result.event.id}","createdAt":1767709882,'
        '"dataFields":{"page":"pricing","device":"mobile","browser":"Firefox","location":"Berlin",'
        '"candidate":"alpha","event_time":"2026-01-06 14:31:22 +00:00"}}'
    )
    assert len(result.profile.digest) == len(result.event.digest) == 16
    assert result.moment == 1767709882987654


def test_nested_fields() -> None:
    """Nested fields share their object, and only then Iterable is asked to merge objects."""
    profile = body_of(
        build(replace(SAMPLE, user_fields=parse_fields("location:address.city,page:address.x.y,device"))).profile
    )
    assert profile["mergeNestedObjects"] is True
    assert profile["dataFields"] == {
        "address": {"city": "Berlin", "x": {"y": "pricing"}},
        "device": "mobile",
        "recent_page_view": True,
    }
    assert "mergeNestedObjects" not in body_of(build().profile)


def test_leaving_the_segment() -> None:
    """Who left gets the segment field alone; a profile that is still owed gets it along with the rest."""
    assert (
        leave_body("ada@example.com", "recent_page_view").body
        == '{"email":"ada@example.com","dataFields":{"recent_page_view":false}}'
    )
    assert body_of(leave_body("id:7", "recent_page_view")) == {
        "userId": "7",
        "preferUserId": True,
        "dataFields": {"recent_page_view": False},
    }
    owed = with_segment_false(build().profile.body, "recent_page_view")
    assert owed.body == build().profile.body.replace("true", "false")
    assert with_segment_false(owed.body, "recent_page_view") == owed
    assert "recent_page_view" not in build(replace(SAMPLE, segment_field="")).profile.body


# -- the mapping ---------------------------------------------------------------------------------------------


def test_fields_with_every_problem() -> None:
    """All problems of a field list are told at once."""
    with pytest.raises(ValueError, match="two commas") as caught:
        parse_fields("a,,b:c:int,d:e:json:f,:g,h:,i:j..k,l:x,m:x,n:y.z,o:y")
    for words in ("'int'", "'d:e:json:f'", "':g'", "'h:'", "'i:j..k'", "x is named 2 times", "the field y cannot"):
        assert words in str(caught.value)


def test_fields() -> None:
    """A column alone keeps its name; the same column may fill two fields."""
    assert parse_fields(" ") == ()
    assert parse_fields("a, b:c , a:d.e:json") == (
        Field("a", ("a",), None),
        Field("b", ("c",), None),
        Field("a", ("d", "e"), "json"),
    )


def test_good_mapping() -> None:
    """The sample's mapping has no problems, nor has one without events or without profiles."""
    assert mapping_problems(SAMPLE, COLUMNS) == []
    assert mapping_problems(USER_ID, COLUMNS) == []
    assert mapping_problems(replace(SAMPLE, user_fields=()), COLUMNS) == []
    assert mapping_problems(replace(SAMPLE, event_name="", event_time_column="", event_key=()), COLUMNS) == []


def test_mapping_with_every_problem() -> None:
    """Whatever is wrong with a mapping is found before anything is sent, all at once, with the columns that exist."""
    mapping = Mapping(
        email_column="mail",
        user_id_column=None,
        user_fields=parse_fields("nope,blob,a:email,a:devices.x,a:home_geo_location,a:seg.x"),
        segment_field="seg",
        event_name="seen",
        event_fields=parse_fields("blob:data,gone"),
        event_time_column="a",
        event_key=("lost",),
        timezone=UTC,
    )
    columns = [Column("a", Kind.TEXT), Column("a", Kind.TEXT), Column("blob", Kind.BINARY)]
    problems = mapping_problems(mapping, columns)
    for words in (
        "2 columns named a",
        "EMAIL_COLUMN names the column mail",
        "USER_FIELDS names the column nope",
        "EVENT_FIELDS names the column gone",
        "EVENT_KEY names the column lost",
        "USER_FIELDS writes to email,",
        "USER_FIELDS writes to devices.x",
        "SEGMENT_FIELD is seg",
        "blob:blob:string",
        "blob:data:string",
        "home_geo_location.lat",
        "EVENT_TIME_COLUMN names a, which is text",
    ):
        assert sum(words in problem for problem in problems) == 1, words
    assert len(problems) == 12
    assert all("a, a, blob" in problem for problem in problems if "missing" in problem)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"email_column": None}, "EMAIL_COLUMN or USER_ID_COLUMN"),
        ({"email_column": "id"}, "EMAIL_COLUMN names id, which is integer"),
        ({"user_id_column": "event_time"}, "USER_ID_COLUMN names event_time, which is datetime"),
        ({"event_time_column": ""}, "EVENT_TIME_COLUMN must name"),
        ({"event_key": ()}, "EVENT_KEY is empty"),
        ({"user_fields": (), "event_name": ""}, "nothing to send"),
        ({"segment_field": "a.b"}, "without a dot"),
        ({"segment_field": "email"}, "Iterable keeps itself"),
        ({"segment_field": "candidate"}, "rename one of them"),
    ],
)
def test_mapping_problem(changes: dict[str, Any], words: str) -> None:
    """Each problem is one sentence."""
    (problem,) = mapping_problems(replace(SAMPLE, **changes), COLUMNS)
    assert words in problem


def test_reserved_fields_are_free_in_events() -> None:
    """Only the profile's own fields are Iterable's; an event may have a field `email`."""
    fields = tuple(Field("page", (name,), None) for name in sorted(RESERVED_FIELDS))
    assert mapping_problems(replace(SAMPLE, event_fields=fields), COLUMNS) == []


# -- any row -------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=()), max_size=20)  # surrogates and NUL included
addresses = st.emails() | texts | texts.map(lambda text: f"{text}@example.com")
plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, 2**53, 2**63, 0])
    | st.just(20_000).map(lambda bits: -1 << bits)  # more digits than Python would write
    | st.floats()
    | st.decimals()
    | st.sampled_from([Decimal("1E+999999"), Decimal("1E-999999"), Decimal("sNaN"), Decimal(9) ** 65])
    | texts
    | st.binary(max_size=8)
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), BERLIN]))
    | st.timedeltas()
    | st.times()
    | st.sampled_from(["0000-00-00", "2026-02-31 10:00:00", '{"a":1e999}', "[NaN]", "true", "1e5", "[" * 2000])
)
values = plain | st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
ANY_FIELDS = tuple(
    Field(f"{kind.value}_{field_type}", ("nested", kind.value, str(field_type)), field_type)
    for kind in Kind
    for field_type in (None, *TYPES)
)
ANY_COLUMNS = [
    *COLUMNS,
    *(Column(field.column, kind) for field, kind in zip(ANY_FIELDS, (k for k in Kind for _ in range(6)), strict=True)),
]


def check_outcome(outcome: object) -> None:
    """Assert that this is strict JSON or a rejection fit for a log."""
    if isinstance(outcome, Payload | Event):
        strict(outcome.body)
    else:
        assert isinstance(outcome, Rejection | RejectedEvent)
        assert outcome.reason.encode()
        assert outcome.reason.isprintable()
        assert len(outcome.digest) == 16


@quick
@given(value=values, email=addresses | plain, when=values, user_id=st.booleans(), zone=st.sampled_from([UTC, BERLIN]))
def test_any_row(value: object, email: object, when: object, user_id: bool, zone: tzinfo) -> None:
    """Any value in a column of any kind and type gives strict JSON or a rejection, and twice the same."""
    row: Row = ONE_USER | {"email": email, "id": email, "event_time": when, "page": value}
    for field in ANY_FIELDS:
        mapping = replace(
            SAMPLE,
            user_id_column="id" if user_id else None,
            user_fields=(field,),
            event_fields=(field,),
            timezone=zone,
        )
        given_row = row | {field.column: value}
        builder = PayloadBuilder(mapping, [*COLUMNS, *ANY_COLUMNS])
        result = builder.build(given_row)
        check_outcome(result.profile)
        check_outcome(result.event)
        assert result.identity.encode()
        assert result == builder.build(dict(reversed(given_row.items())))


@quick
@given(email=addresses)
def test_identity_is_idempotent(email: str) -> None:
    """A usable identity, used as an address, is the same identity; what is not usable says so."""
    result = build(email=email)
    assert is_usable(result.identity) == isinstance(result.profile, Payload)
    if is_usable(result.identity):
        assert build(email=result.identity) == result


key_values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False)
    | texts
    | st.binary(max_size=8)
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
)


@quick
@given(first=key_values, second=key_values)
def test_ids_differ_as_values_do(first: object, second: object) -> None:
    """Two key values share an id exactly when the database would call them equal."""
    one, other = build(page=first).event, build(page=second).event
    assert (one.id == other.id) == (first == second)
    assert one.id == build(page=first).event.id


def test_rows_may_be_any_mapping_of_the_columns() -> None:
    """Columns that no setting names are not sent."""
    row: AnyMapping[str, object] = ONE_USER | {"secret": object()}
    assert "secret" not in str(PayloadBuilder(SAMPLE, COLUMNS).build(dict(row)))
    assert convert(time(10, 30), Kind.UNKNOWN) == "10:30:00"
