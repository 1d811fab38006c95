"""What a NULL becomes in a body: null, or with NULL_MEANS=keep nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sync.rows.mapping import Mapping, parse_fields
from sync.rows.payloads import PayloadBuilder
from sync.rows.source import Column, Kind
from tests.rows.payload_samples import COLUMNS, ONE_USER, SAMPLE, body_of, values_of

MORE = [
    *(Column(name, Kind.TEXT) for name in ("city", "street", "note")),
    Column("born", Kind.DATE),
    Column("seen", Kind.TIMESTAMP),
    Column("likes", Kind.JSON),
    Column("flag", Kind.BOOLEAN),
    Column("total", Kind.NUMBER),
    Column("visits", Kind.INTEGER),
]
KEEP = replace(SAMPLE, null_means="keep", segment_field="")
CLEAR = replace(KEEP, null_means="clear")


def built(fields: str, mapping: Mapping = KEEP, **values: Any) -> Any:
    """The payloads of the sample's row with these fields in profile and event; the further columns are NULL."""
    columns = [*COLUMNS, *MORE]
    mapping = replace(mapping, user_fields=parse_fields(fields), event_fields=parse_fields(fields))
    return PayloadBuilder(mapping, columns).build(values_of(ONE_USER | values, columns))


def fields_of(row: Any) -> Any:
    """The fields of the profile, which are the event's as well."""
    fields = body_of(row.profile)["dataFields"]
    assert fields == body_of(row.event)["dataFields"]
    return fields


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("born", "0000-00-00"),
        ("seen", "0000-00-00 00:00:00"),
        ("born:x", "2026-00-10"),
        ("note:x:date", "0000-00-00 00:00:00"),
        ("visits:x:date", 0),
        *((f"{column.name}:a.b", None) for column in MORE),
        *((f"note:x:{kind}", None) for kind in ("json", "bool", "number", "string", "date")),
    ],
)
def test_what_is_null(field: str, value: object) -> None:
    """NULL in a column of any kind and type, and a zero date, of whatever column it is made."""
    column = field.partition(":")[0]
    assert fields_of(built(field, KEEP, **{column: value})) == {}
    assert built(field, CLEAR, **{column: value}).event.body.count(":null") == 1


@pytest.mark.parametrize(
    ("field", "value", "sent"),
    [
        ("likes:x", "null", None),
        ("likes:x", b" null ", None),
        ("note:x:json", "null", None),
        ("likes:x", '{"a":null}', {"a": None}),
        ("likes:x", "{}", {}),
        ("likes:x", "[null]", [None]),
        ("note:x", "", ""),
        ("note:x", "null", "null"),
        ("likes:x:string", "null", "null"),
        ("born:x:string", "0000-00-00", "0000-00-00"),
        ("flag:x", 0, False),
        ("visits:x", 0, 0),
        ("total:x", 0.0, 0.0),
    ],
)
def test_what_is_a_value(field: str, value: object, sent: object) -> None:
    """JSON's null and whatever is empty, zero or false are sent as they are, also from an object of NULLs."""
    column = field.partition(":")[0]
    assert fields_of(built(f"{field},city:y.z", KEEP, **{column: value})) == {"x": sent}
    nested = field.replace(":x", ":y.x", 1)
    assert fields_of(built(f"{nested},city:y.z", KEEP, **{column: value})) == {"y": {"x": sent}}


def test_objects() -> None:
    """An object has the members that are not NULL, however deep; without any it is not there."""
    fields = "city:a.city,street:a.b.street,note:a.b.c.note,visits"
    assert fields_of(built(fields, note="x")) == {"a": {"b": {"c": {"note": "x"}}}}
    assert fields_of(built(fields, city="Oslo", visits=0)) == {"a": {"city": "Oslo"}, "visits": 0}
    assert fields_of(built(fields, visits=0)) == {"visits": 0}
    assert fields_of(built(fields)) == {}


def test_objects_are_merged_whatever_is_null() -> None:
    """Whether Iterable merges objects follows from the mapping: it may not change from row to row."""
    for row in (built("city:a.city,likes", city="Oslo"), built("city:a.city,likes", likes="{}")):
        assert body_of(row.profile)["mergeNestedObjects"] is True


def test_nothing_but_nulls() -> None:
    """The bodies are whole; the other name and the segment field stand where they would, each alone or both."""
    row = built("city,street:a.b")
    assert row.profile.body == '{"email":"ada@example.com","mergeNestedObjects":true,"dataFields":{}}'
    assert row.event.body.endswith(',"dataFields":{}}')
    both = replace(KEEP, user_id_column="id", identify_by="email")
    for mapping, sent in (
        (replace(KEEP, segment_field="seg"), {"seg": True}),
        (both, {"userId": "7"}),
        (replace(both, segment_field="seg"), {"userId": "7", "seg": True}),
    ):
        assert body_of(built("city", mapping).profile)["dataFields"] == sent


def test_a_row_without_nulls() -> None:
    """The setting changes no byte of it; nor does it change the id of any event."""
    kept, cleared = (built("first_name,city:a.b", mapping, city="Oslo") for mapping in (KEEP, CLEAR))
    assert kept == cleared
    kept, cleared = (
        built("candidate", replace(mapping, event_key=("candidate", "page")), candidate=None).event
        for mapping in (KEEP, CLEAR)
    )
    assert (kept.id, kept.digest == cleared.digest) == (cleared.id, False)
