"""A number is sent with the digits that the database holds, or not at all."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.rows.source import Kind
from sync.rows.values import UnfitError, converter, encode
from tests.examples import examples


def sent(value: object, kind: Kind = Kind.NUMBER, field_type: str | None = None) -> str:
    """The number as it stands in a body."""
    return encode(converter(kind, field_type, None)(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("12.34"), "12.34"),
        (Decimal("0.10"), "0.1"),
        (Decimal("-0.000001"), "-1e-06"),
        (Decimal("9007199254740992"), "9007199254740992.0"),
        (Decimal("123456789012.345"), "123456789012.345"),
        (Decimal("1E+18"), "1e+18"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e300, "1e+300"),
    ],
)
def test_same_digits_are_sent(value: object, text: str) -> None:
    """A DECIMAL that reads back from a double with its own digits is sent; a float is a double already."""
    assert sent(value) == text


@pytest.mark.parametrize(
    ("value", "kind", "field_type"),
    [
        (Decimal(9007199254740993), Kind.NUMBER, None),
        (Decimal("-9007199254740993"), Kind.NUMBER, "number"),
        (Decimal("0.12345678901234567890"), Kind.NUMBER, None),
        (Decimal("1e-400"), Kind.NUMBER, None),
        (9007199254740993, Kind.INTEGER, None),
        (9007199254740993, Kind.INTEGER, "number"),
        ("9007199254740993", Kind.TEXT, "number"),
        ("1e99999999999999999999999", Kind.TEXT, "number"),
    ],
)
def test_other_digits_are_not_sent(value: object, kind: Kind, field_type: str | None) -> None:
    """DECIMAL, BIGINT and text that is to be a number: what a double would change is refused, with the remedy."""
    with pytest.raises(UnfitError, match="column:field:string"):
        sent(value, kind, field_type)


@pytest.mark.parametrize(("kind", "field_type"), [(Kind.JSON, None), (Kind.TEXT, "json"), (Kind.BINARY, "json")])
@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("9007199254740993", "9007199254740993"),
        ("-9223372036854775808", "-922337203685477..."),
        ("10000000000000000000", "1000000000000000..."),  # a double, but none of the whole numbers that others hold
        ("0.12345678901234567890", "0.12345678901234..."),
        ("12345678901234567.5", "1234567890123456..."),
        ("1e400", "1e400"),
        ("-1E-400", "-1E-400"),
        ("1e99999999999999999999", "1e99999999999999..."),
        ("7" * 5000, "7777777777777777..."),
    ],
)
def test_numbers_in_a_document(number: str, shown: str, kind: Kind, field_type: str | None) -> None:
    """Wherever in a JSON column it stands: a number that a double would change refuses the whole, and is named."""
    for document in ('{"id": %s}', '{"a": {"b": [1, {"c": %s}]}}', "[%s]", "%s"):
        text = document % number
        with pytest.raises(UnfitError, match="make it a string, or map the column as column:field:string") as caught:
            sent(text.encode() if kind is Kind.BINARY else text, kind, field_type)
        assert str(caught.value).startswith(f"JSON readers may change {shown}; ")


@examples(100)
@given(
    st.integers(-(2**70), 2**70).map(str)
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
)
def test_a_document_says_what_the_database_says(number: str) -> None:
    """Whatever number a document holds: a reader that uses doubles sees the database's number, or nothing is sent."""
    try:
        text = sent(f'{{"n":{number}}}', Kind.JSON)
    except UnfitError:
        return

    assert Decimal(repr(float(json.loads(text)["n"]))) == Decimal(number)


@examples(100)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53))
def test_a_document_of_doubles_is_sent(number: float) -> None:
    """A number that a program wrote from a double is never refused."""
    assert json.loads(sent(json.dumps({"n": number}), Kind.JSON)) == {"n": number}


@examples(100)
@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_what_is_sent_reads_back(value: Decimal) -> None:
    """Whatever is sent is, to a reader that uses doubles, the number of the database."""
    try:
        text = sent(value)
    except UnfitError:
        return

    assert Decimal(repr(json.loads(text))) == value


@examples(100)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**10), max_value=10**10))
def test_everyday_amounts_are_sent(value: Decimal) -> None:
    """Amounts of up to fifteen digits are never refused."""
    assert Decimal(sent(value)) == value
