"""What a row becomes, and what it must never become."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.rows.identity import is_usable
from sync.rows.mapping import Field, parse_fields
from sync.rows.payloads import (
    Event,
    Payload,
    PayloadBuilder,
    RejectedEvent,
    event_request,
    event_rest,
    exit_request,
    profile_request,
    profile_rest,
)
from sync.rows.raw_values import Rejection
from sync.rows.source import Column, Kind, Row
from sync.rows.values import TYPES, UNKNOWN_MOMENT
from tests.examples import examples
from tests.rows.payload_samples import (
    BERLIN,
    COLUMNS,
    ONE_USER,
    SAMPLE,
    USER_ID,
    body_of,
    build,
    strict,
    values_of,
)

# -- event time and id ----------------------------------------------------------------------------------------


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
    columns = [*COLUMNS, *(Column(name, Kind.TEXT) for name in keys)]
    event = PayloadBuilder(mapping, columns).build(values_of(ONE_USER | keys, columns)).event
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
        build(event_time=ONE_USER["event_time"] + timedelta(microseconds=1)),
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
        (Kind.DATETIME, datetime(2026, 1, 6, 14, 31, 22, tzinfo=UTC), 1767709882),
        (Kind.DATETIME, datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC), -1),
    ],
)
def test_created_at(kind: Kind, value: object, seconds: int) -> None:
    """`createdAt` is whole Unix seconds: a DATETIME is a clock in the zone, a TIMESTAMP and a day are in UTC."""
    columns = [column if column.name != "event_time" else Column("event_time", kind) for column in COLUMNS]
    mapping = replace(SAMPLE, timezone=ZoneInfo("Europe/Berlin"), event_fields=())
    result = PayloadBuilder(mapping, columns).build(values_of(ONE_USER | {"event_time": value}, columns))
    assert body_of(result.event)["createdAt"] == seconds
    assert isinstance(result.event, Event)
    assert result.event.created_at == result.moment // 1_000_000 == seconds


def test_profiles_only_and_events_only() -> None:
    """Without an event name there are no events, without user fields no profiles."""
    assert build(replace(SAMPLE, event_name="")).event is None
    assert build(replace(SAMPLE, user_fields=())).profile is None
    missing = replace(SAMPLE, event_name="", event_time_column="nope")
    assert build(missing).moment == UNKNOWN_MOMENT


# -- bodies ---------------------------------------------------------------------------------------------------


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
    """Who left gets the segment field alone; a profile that is still pending gets it along with the rest."""
    assert (
        exit_request("ada@example.com", "recent_page_view")
        == '{"email":"ada@example.com","dataFields":{"recent_page_view":false}}'
    )
    assert strict(exit_request("id:7", "recent_page_view")) == {
        "userId": "7",
        "preferUserId": True,
        "dataFields": {"recent_page_view": False},
    }
    body = build().profile.body
    rest = profile_rest(body, "ada@example.com", "recent_page_view")
    assert profile_request("ada@example.com", rest, "recent_page_view", inside=False) == body.replace("true", "false")
    assert "recent_page_view" not in build(replace(SAMPLE, segment_field="")).profile.body


@pytest.mark.parametrize("segment_field", ["recent_page_view", 'a "field"', ""])
@pytest.mark.parametrize("null_means", ["clear", "keep"])
@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("name", ["Ada", "ends with {", "{", ",", None])
def test_what_stays_the_same_of_a_body(segment_field: str, null_means: str, by_id: bool, name: str | None) -> None:
    """A body is put together again letter for letter, under its own name or another; the segment is there once."""
    mapping = replace(USER_ID if by_id else SAMPLE, segment_field=segment_field, null_means=null_means)
    result = build(replace(mapping, user_fields=parse_fields("first_name")), first_name=name)
    identity, other = result.identity, "id:8" if by_id else "bob@example.com"
    profile, event = result.profile.body, result.event.body
    rest = profile_rest(profile, identity, segment_field)

    assert profile_request(identity, rest, segment_field, inside=True) == profile
    assert event_request(identity, event_rest(event, identity)) == event
    sent = strict(profile_request(other, rest, segment_field, inside=False))
    fields = {key: value for key, value in strict(profile)["dataFields"].items() if key != segment_field}
    assert sent["dataFields"] == fields | ({segment_field: False} if segment_field else {})
    assert next(iter(sent.items())) == (("userId", "8") if by_id else ("email", "bob@example.com"))


# -- any row --------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=()), max_size=20)  # surrogates and NUL included
addresses = st.emails() | texts | texts.map(lambda text: f"{text}@example.com")
values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, 2**53, 2**63, 0])
    | st.floats()
    | st.decimals()
    | st.sampled_from([Decimal("1E+999999"), Decimal("1E-999999"), Decimal("sNaN"), Decimal(9) ** 65])
    | texts
    | st.binary(max_size=8)
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), BERLIN]))
    | st.timedeltas()
    | st.sampled_from(["0000-00-00", "2026-02-31 10:00:00", '{"a":1e999}', "[NaN]", "true", "1e5", "[" * 2000])
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


@cache
def builder_of(field: Field, user_id: bool, zone: tzinfo) -> PayloadBuilder:
    """A builder whose payloads have this field alone; it is the same for every row."""
    fields = (field,)
    mapping = replace(SAMPLE, user_fields=fields, event_fields=fields, timezone=zone)
    return PayloadBuilder(replace(mapping, user_id_column="id") if user_id else mapping, ANY_COLUMNS)


@examples(60)
@given(value=values, email=addresses | values, when=values, user_id=st.booleans(), zone=st.sampled_from([UTC, BERLIN]))
def test_any_row(value: object, email: object, when: object, user_id: bool, zone: tzinfo) -> None:
    """Any value in a column of any kind and type gives strict JSON or a rejection, also with its fingerprint."""
    row: Row = ONE_USER | {"email": email, "id": email, "event_time": when, "page": value}
    for field in ANY_FIELDS:
        given_row = values_of(row | {field.column: value}, ANY_COLUMNS)
        builder = builder_of(field, user_id, zone)
        result = builder.build(given_row)
        check_outcome(result.profile)
        check_outcome(result.event)
        assert result.identity.encode()
        fingerprint = builder.fingerprint(given_row)
        assert result.event and fingerprint.event_id
        assert (*fingerprint.names[:2], fingerprint.moment) == (result.identity, result.person, result.moment)
        assert fingerprint.event_id.hex() == result.event.id
        assert bool(fingerprint.profile and fingerprint.event) == is_usable(result.identity)


@examples(60)
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


@examples(60)
@given(first=key_values, second=key_values)
def test_ids_differ_as_values_do(first: object, second: object) -> None:
    """Two key values share an id exactly when the database would call them equal."""
    one, other = build(page=first).event, build(page=second).event
    assert (one.id == other.id) == (first == second)
    assert one.id == build(page=first).event.id


@pytest.mark.parametrize("name", list(ONE_USER))
def test_fingerprints_differ_as_payloads_do(name: str) -> None:
    """What changes a payload changes its fingerprint, of an event with its id; what no payload is made of does not."""
    changed = ONE_USER | {name: "bob@example.com" if name == "email" else "other" if name != "event_time" else None}
    builder = PayloadBuilder(SAMPLE, COLUMNS)
    rows = [values_of(row, COLUMNS) for row in (ONE_USER, changed)]
    (before, after), (first, second) = map(builder.fingerprint, rows), map(builder.build, rows)

    assert before and after
    assert (before == after) == (name == "id")
    assert before.profile != after.profile or first.profile == second.profile
    assert (before.event_id, before.event) != (after.event_id, after.event) or first.event == second.event


def test_columns_that_no_setting_names_are_not_sent() -> None:
    """Whatever they hold."""
    columns = [*COLUMNS, Column("secret", Kind.TEXT)]
    assert "secret" not in str(PayloadBuilder(SAMPLE, columns).build([*ONE_USER.values(), object()]))
