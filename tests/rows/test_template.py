"""Objects written piece by piece: letter for letter what `encode` makes of the whole."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.rows.columns import Kind
from sync.rows.rejection import Rejection
from sync.rows.template import Member, Template
from sync.rows.values import TYPES, UnfitError, converter, encode
from tests.rows.payload_samples import quick

names = st.sampled_from(["a", "b", "%s", 'with "quotes"', "\u00fc", "a b"])
kinds = st.tuples(st.sampled_from(list(Kind)), st.none() | st.sampled_from(TYPES))
telling = st.sampled_from([None, "null", "{}", "0000-00-00", 0])
plain = telling | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3) | st.datetimes()
members = st.lists(st.tuples(st.lists(names, min_size=1, max_size=3).map(tuple), kinds, plain), max_size=6)


@quick
@given(members, st.sampled_from(["null", None]))
def test_the_same_as_the_whole(
    given_members: list[tuple[tuple[str, ...], tuple[Kind, str | None], Any]], null: str | None
) -> None:
    """Whatever the names, how they nest, and what the columns hold; the first value that is unfit is told.

    Where nothing is written for NULL, the whole is without the members that are NULL or a zero date, and without the
    objects that have no others; JSON's null and an empty document are values.
    """
    members: list[Member] = []
    values: list[Any] = []
    whole: dict[str, Any] = {}
    unfit = ""
    for path, (kind, field_type), value in given_members:
        if not fits(whole, path):
            continue
        convert = converter(kind, field_type, UTC)
        column = str(len(values))
        is_json = field_type == "json" or (kind is Kind.JSON and field_type is None)
        members.append(Member(path, column, len(values), convert, kind is Kind.TEXT and field_type is None, is_json))
        values.append(value)
        try:
            made = None if value is None else convert(value)
            put(whole, path, ABSENT if made is None and not (is_json and value is not None) else made)
        except UnfitError:
            put(whole, path, None)
            unfit = unfit or column

    written = Template(members, null).members(values)

    if unfit:
        assert isinstance(written, Rejection)
        assert written.reason.startswith(f"{unfit} is ")
    else:
        assert f"{{{written}}}" == encode(with_nulls(whole) if null else without_nulls(whole))


def fits(whole: dict[str, Any], path: tuple[str, ...]) -> bool:
    """Whether there is room at this path: the settings refuse two values in one place, and one around another."""
    for name in path[:-1]:
        if name not in whole:
            return True
        whole = whole[name]
        if not isinstance(whole, Inner):
            return False
    return path[-1] not in whole


class Inner(dict[str, Any]):
    """An object that a path goes through, told from one that is a value."""


ABSENT = object()
"""What stands in the whole for a column that is NULL."""


def with_nulls(whole: dict[str, Any]) -> dict[str, Any]:
    """The whole with null for each column that is NULL."""
    return {
        name: with_nulls(value) if isinstance(value, Inner) else None if value is ABSENT else value
        for name, value in whole.items()
    }


def without_nulls(whole: dict[str, Any]) -> dict[str, Any]:
    """The whole without them."""
    kept = {
        name: without_nulls(value) if isinstance(value, Inner) else value
        for name, value in whole.items()
        if value is not ABSENT
    }
    return {name: value for name, value in kept.items() if value or not isinstance(whole[name], Inner)}


def put(whole: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Put a value at its path."""
    for name in path[:-1]:
        whole = whole.setdefault(name, Inner())
    whole[path[-1]] = value


def test_an_object_without_members() -> None:
    """An event without fields has an empty object."""
    assert Template([]).members(("Ann",)) == ""


def test_a_zero_date_beside_what_is_not_text() -> None:
    """It counts as NULL also where each value is looked at by itself."""
    columns = (Kind.TEXT, Kind.DATE, Kind.JSON)
    three = [
        Member((kind.value,), kind.value, place, converter(kind, None, UTC), kind is Kind.TEXT, kind is Kind.JSON)
        for place, kind in enumerate(columns)
    ]
    assert Template(three, None).members((7, "0000-00-00", "null")) == '"text":"7","json":null'


@pytest.mark.parametrize("value", [b"\xff", 7, None])
def test_what_is_not_text_in_a_column_of_text(value: object) -> None:
    """It is written, or refused, as any other way of writing would."""
    template = Template([Member(("a",), "a", 0, converter(Kind.TEXT, None, UTC), True)])
    written = template.members((value,))
    if isinstance(value, bytes):
        assert isinstance(written, Rejection) and "no UTF-8" in written.reason
    else:
        assert written == ('"a":null' if value is None else '"a":"7"')
