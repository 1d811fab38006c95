"""A sample row, its mapping, and what the tests of payloads ask of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from sync.rows.mapping import Field, Mapping, parse_fields
from sync.rows.payloads import Event, Payload, PayloadBuilder
from sync.rows.raw_values import Rejection
from sync.rows.source import Column, Kind, Row, Values

ONE_USER: Row = {
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
USER_ID = replace(SAMPLE, email_column=None, user_id_column="id")
BERLIN = ZoneInfo("Europe/Berlin")


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
    columns = [Column("email", Kind.TEXT), Column("x", kind)]
    profile = PayloadBuilder(mapping, columns).build(("ada@example.com", value)).profile
    return profile if isinstance(profile, Rejection) else body_of(profile)["dataFields"]["x"]


def build(mapping: Mapping = SAMPLE, **changes: object) -> Any:
    """Return what the sample user's row becomes, with some values changed."""
    return PayloadBuilder(mapping, COLUMNS).build(values_of(ONE_USER | changes, COLUMNS))


def values_of(row: Row, columns: Sequence[Column]) -> Values:
    """Return the values of a row in the order of the columns; None for a column that it lacks."""
    return tuple(row.get(column.name) for column in columns)
