"""Values that do not fit the types that their fields take from their columns, told before Iterable fixes the types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.rows.mapping import Fields, parse_fields
from sync.rows.payloads import Reading, RejectedEvent, RowPayloads
from sync.rows.raw_values import Rejection
from sync.rows.source import Column, Kind
from tests.examples import examples
from tests.rows.payload_samples import COLUMNS, ONE_USER, SAMPLE, body_of, values_of

HUGE, LONG = 9007199254740993, Decimal("0.12345678901234567890")
KINDS = {
    "flag": Kind.BOOLEAN,
    "big": Kind.INTEGER,
    "exact": Kind.NUMBER,
    "doc": Kind.JSON,
    "note": Kind.TEXT,
}
FITTING = {"flag": 1, "big": 7, "exact": Decimal("1.10"), "doc": "{}", "note": "x"}


def read(
    rows: Sequence[dict[str, Any]], user_fields: str = "", event_fields: str = "", typed: Fields | None = None
) -> tuple[str, list[RowPayloads]]:
    """Why these rows may not be sent, and what they become; what they do not say fits."""
    columns = [*COLUMNS, *(Column(name, kind) for name, kind in KINDS.items())]
    mapping = replace(SAMPLE, user_fields=parse_fields(user_fields), event_fields=parse_fields(event_fields))
    reading = Reading(mapping, columns, typed=typed or {})
    made = [reading.payloads(values_of(ONE_USER | FITTING | row, columns)) for row in rows]
    return reading.refusal(), made


@pytest.mark.parametrize(
    ("row", "item", "told"),
    [
        ({"flag": 4}, "flag", "flag is 4: neither 0 nor 1; map it as flag:flag:number"),
        ({"flag": -1}, "flag:stars", "flag is -1: neither 0 nor 1; map it as flag:stars:number"),
        ({"big": HUGE}, "big:a.b.c", f"big is {HUGE}: JSON cannot hold a number of this size exactly; map it as "
                                     "big:a.b.c:string"),
        ({"big": 2**64 - 1}, "big", "map it as big:big:string"),
        ({"exact": LONG}, "exact", f"exact is {LONG}: JSON cannot hold a number of so many digits exactly; map it as "
                                   "exact:exact:string"),
        ({"exact": Decimal(HUGE)}, "exact", "map it as exact:exact:string"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("setting", ["USER_FIELDS", "EVENT_FIELDS"])
def test_what_does_not_fit_is_told(row: dict[str, Any], item: str, told: str, setting: str) -> None:
    """Of profiles and events: the setting, column, first value, number of rows and the mapping that fixes it."""
    of_users, of_events = (item, "") if setting == "USER_FIELDS" else ("", item)
    refusal, _ = read([{}, row, {}, row], of_users, of_events)

    assert refusal.startswith("values do not fit the types that their fields would get")
    assert f"so nothing is sent: {setting}: " in refusal
    assert refusal.endswith(f"{told} (rows with such a value: 2)")


@pytest.mark.parametrize(
    ("row", "item"),
    [
        ({"flag": 4}, "flag:flag:bool"),
        ({"big": HUGE}, "big:big:number"),
        ({"exact": LONG}, "exact:exact:number"),
        ({"note": str(HUGE)}, "note:note:number"),
        ({"note": f"[{HUGE}]"}, "note:note:json"),
        ({"doc": f'{{"id":{HUGE}}}'}, "doc"),
        ({"doc": f'{{"a":{{"p":[{LONG}]}}}}'}, "doc"),
    ],
    ids=str,
)
def test_what_was_no_guess_rejects_the_row(row: dict[str, Any], item: str) -> None:
    """A type that the setting says, and a number inside a JSON column: the row is rejected, whenever it comes."""
    column, field, *_ = *item.split(":"), item
    for typed in ({}, {"": [field], "page_view": [field]}):
        refusal, (made,) = read([row], item, item, typed)

        assert refusal == ""
        for part in (made.profile, made.event):
            assert isinstance(part, Rejection | RejectedEvent)
            assert re.search(rf"use another field name \({field} keeps its first type at Iterable\): {column}:{field}_",
                             part.reason)  # fmt: skip


@pytest.mark.parametrize(("row", "as_type"), [({"flag": 4}, "number"), ({"big": HUGE}, "string")], ids=str)
def test_a_field_that_has_its_type(row: dict[str, Any], as_type: str) -> None:
    """It rejects the row with another field as the way out; the fields of profiles and of each event are apart."""
    (name,) = row
    everywhere = {"": [name], "page_view": [name]}
    refusal, (made,) = read([row], name, name, everywhere)

    assert refusal == ""
    assert isinstance(made.profile, Rejection) and isinstance(made.event, RejectedEvent)
    told = f"use another field name ({name} already has its type at Iterable): {name}:{name}_{as_type}:{as_type}"
    assert made.profile.reason.endswith(told) and made.event.reason.endswith(told)
    for setting, typed in (("USER_FIELDS", {"page_view": [name]}), ("EVENT_FIELDS", {"": [name], "click": [name]})):
        assert f"is sent: {setting}: " in read([row], name, name, typed)[0]


def test_all_misfits_of_a_row_are_told() -> None:
    """Not the first one alone, also beside a value that is unfit in another way; NULL fits every type."""
    refusal, (made,) = read([{"doc": "{", "flag": 4, "big": HUGE, "exact": None}], "doc,flag,big,exact", "exact")

    assert isinstance(made.profile, Rejection) and made.profile.reason.startswith("doc is '{': not valid JSON")
    assert [re.split(" is |: ", told)[0] for told in refusal.split("USER_FIELDS: ")[1:]] == ["flag", "big"]
    assert "exact is" not in refusal


@pytest.mark.parametrize("row", [{"email": None}, {"email": "nobody"}], ids=str)
def test_a_row_of_nobody_says_nothing(row: dict[str, Any]) -> None:
    """What is not sent anyway fixes no type."""
    assert read([row | {"flag": 4}], "flag", "flag")[0] == ""


numbers = st.one_of(
    st.integers(-(2**64), 2**64).map(lambda value: ("big", value)),
    st.integers(-(2**7), 2**7).map(lambda value: ("flag", value)),
    st.decimals(allow_nan=False, allow_infinity=False, places=20).map(lambda value: ("exact", value)),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(lambda value: ("exact", value)),
)


@examples(60)
@given(numbers)
def test_the_mapping_that_is_told_fixes_it(given_value: tuple[str, Any]) -> None:
    """Whatever the number: it is sent as it is, or refused, and sent as it is when mapped as the refusal says."""
    column, value = given_value
    refusal, (made,) = read([{column: value}], column, column)
    if refusal:
        item = refusal.split("map it as ")[1].split(" ")[0]
        refusal, (made,) = read([{column: value}], item, item)

    assert refusal == ""
    for part in (made.profile, made.event):
        sent = body_of(part)["dataFields"][column]
        assert Decimal(str(int(sent) if isinstance(sent, bool) else sent)) == value
