"""What the database returned, as JSON values: numbers, booleans, text, JSON documents and dates.

A type comes from the column's metadata or from the setting (`column:field:type`), never from looking at text: the first
value that Iterable sees fixes the type of a field for good. `converter` picks the function for a column; each function
takes what the driver gave, never None, and raises UnfitError for what cannot be sent.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final, NoReturn

from sync.rows.raw_values import plain_text
from sync.rows.source import Kind

TYPES: Final = ("json", "bool", "number", "string", "date")
"""What the third part of `column:field:type` may be."""

DATE_KINDS: Final = frozenset({Kind.DATE, Kind.DATETIME, Kind.TIMESTAMP})
TIME_KINDS: Final = DATE_KINDS | {Kind.INTEGER}
"""The columns that EVENT_TIME_COLUMN may name."""

_MAX_EXACT: Final = 2**53 - 1  # beyond it a reader of JSON that uses doubles sees another number
_MAX_LONG: Final = 2**63 - 1
_MOST_DIGITS: Final = 16  # of a number in a reason
_MAX_JSON_DEPTH: Final = 100  # MySQL's own limit; a fixed one, so that the answer does not depend on our stack
_EPOCH: Final = datetime(1970, 1, 1)
UNKNOWN_MOMENT: Final = -(2**63)
"""The moment of a row whose event time is not known, in microseconds: older than every other row."""
PLACEHOLDER_YEARS: Final = (datetime.min.year, datetime.max.year)
"""The years of dates that mean "no date", such as 0001-01-01 and 9999-12-31."""
_DATES_IN_DIGITS: Final = range(19_000_101, 21_010_101)  # as Unix seconds, all of them are in August 1970
_YEAR_2100: Final = 4_102_444_800
_NO_SECONDS: Final = (
    "not Unix seconds; in the query, divide milliseconds by 1000, or use STR_TO_DATE for dates in digits"
)

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""The one way in which this program writes JSON for Iterable: digests depend on it."""


class UnfitError(Exception):
    """A value that cannot be sent: what is wrong with it and what to do. The caller knows the column.

    `as_type` is a type with which the column can still be sent; `fault` then ends where that remedy begins.
    """

    def __init__(self, fault: str, as_type: str = "") -> None:
        super().__init__(f"{fault} map the column as column:field:{as_type}" if as_type else fault)
        self.fault, self.as_type = fault, as_type


class MisfitError(UnfitError):
    """A value that is not of the type that was chosen for all of its column."""


_BOOLEANS: Final = {0: False, 1: True, "0": False, "false": False, "1": True, "true": True}


def _boolean(value: Any) -> bool:
    word = value.strip().lower() if isinstance(value, str) else value
    if not (isinstance(word, Decimal) and word.is_snan()) and word in _BOOLEANS:  # that one has no hash
        return _BOOLEANS[word]
    raise MisfitError("neither 0 nor 1;", "number" if isinstance(value, int) else "string")


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise MisfitError("the column holds whole numbers, and this is not one;", "string")
    if abs(value) > _MAX_EXACT:
        raise MisfitError("JSON cannot hold a number of this size exactly;", "string")
    return int(value)


def _number(value: Any) -> float:
    """The double that reads back with the same digits; raises UnfitError if there is none."""
    if isinstance(value, float) and math.isfinite(value):
        return value
    exact = Decimal(value) if isinstance(value, int | float | Decimal) else _number_in(value)
    if not exact.is_finite():
        raise UnfitError("JSON has no such number; correct it in the database")
    number = _double(exact)
    if number is None:
        raise MisfitError("JSON cannot hold a number of so many digits exactly;", "string")
    return number


def _double(exact: Decimal) -> float | None:
    """The double whose digits are exactly this number; None if there is none."""
    number = float(exact)
    return number if Decimal(repr(number)) == exact else None


_NUMBER_TEXT: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def _number_in(text: Any) -> Decimal:
    if isinstance(text, str) and _NUMBER_TEXT.fullmatch(text.strip()):
        with suppress(ArithmeticError):  # an exponent of twenty digits
            return Decimal(text.strip())
    raise MisfitError("not a number;", "string")


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UnfitError("these bytes are not UTF-8 text; convert them in the query, for example with HEX()") from None


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f") if abs(value.adjusted()) < 100 else str(value)
    return plain_text(_number(value) if isinstance(value, float | Decimal) else value)


def _binary(_value: Any) -> NoReturn:
    raise UnfitError("binary data has no JSON form; leave the column out, or", "string")


def _json_integer(text: str) -> int:
    if abs(_json_float(text)) > _MAX_LONG:
        raise _inexact(text)
    return int(text)


def _json_float(text: str) -> float:
    with suppress(ArithmeticError):  # an exponent of twenty digits
        number = _double(Decimal(text))
        if number is not None:
            return number
    raise _inexact(text)


def _inexact(text: str) -> UnfitError:
    shown = text if len(text) <= _MOST_DIGITS else f"{text[:_MOST_DIGITS]}..."
    return UnfitError(f"JSON readers may change {shown}; make it a string, or", "string")


def _json_constant(text: str) -> NoReturn:
    raise UnfitError(f"{text} is not JSON; correct it in the database")


_decode = json.JSONDecoder(parse_int=_json_integer, parse_float=_json_float, parse_constant=_json_constant).decode


def is_deeper(document: Any, levels: int) -> bool:
    """Whether *document* has more than so many objects and lists inside each other; one that holds itself has.

    The depth at which Python's own JSON gives up depends on its version and on the current stack; this does not.

    >>> is_deeper({"a": [1]}, 2), is_deeper({"a": [1]}, 1)
    (False, True)
    """
    level = {id(document): document} if _holds_others(document) else {}
    for _ in range(levels):
        if not level:
            return False
        children = (node.values() if isinstance(node, Mapping) else node for node in level.values())
        level = {id(node): node for nodes in children for node in nodes if _holds_others(node)}
    return bool(level)


def _holds_others(node: Any) -> bool:
    return isinstance(node, dict | list | tuple | Mapping)


def _json(value: Any) -> Any:
    """Parse a JSON document; if a key comes twice, the last one counts, as in MySQL."""
    try:
        document = _decode(_decoded(value) if isinstance(value, bytes) else value)
        deep = is_deeper(document, _MAX_JSON_DEPTH)
    except (ValueError, TypeError):
        raise UnfitError("not valid JSON; correct it, or", "string") from None
    except RecursionError:
        deep = True
    if deep:
        raise UnfitError(f"the JSON is nested deeper than {_MAX_JSON_DEPTH} levels; flatten it")
    return document


# -- dates ---------------------------------------------------------------------------------------------------

_LONGEST_DAY: Final = len("2026-01-06")
_ZERO_DATE: Final = re.compile(r"0000-\d\d-\d\d|\d{4}-00-\d\d|\d{4}-\d\d-00", re.ASCII)


def utc_instant(value: Any, zone: tzinfo | None) -> datetime | None:
    """Return the moment as a naive datetime in UTC, or None for MySQL's zero date; zone None is UTC.

    A bare day is its midnight in UTC, whatever the zone. If an hour occurs twice, the earlier one is meant; a time that
    was skipped in spring counts as if the clocks had not been put forward yet.
    """
    if isinstance(value, datetime):
        return _in_utc(value, zone)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        return _instant_of_text(value, zone)
    if isinstance(value, int) and not isinstance(value, bool):
        return _instant_of_seconds(value)
    raise UnfitError("not a date or time;", "string")


def event_instant(value: Any, zone: tzinfo | None) -> datetime | None:
    """As `utc_instant`, for when something happened: a date in the year 1 or 9999 is unfit, it stands for "never"."""
    clock = utc_instant(value, None)  # as it is written: a time zone may move it into the year before or after
    if clock is not None and clock.year in PLACEHOLDER_YEARS:
        raise UnfitError(
            f"a date in the year {clock.year} is a placeholder and not an event time; correct it, or leave such rows "
            "out of the query"
        )
    if isinstance(value, int) and (value in _DATES_IN_DIGITS or value >= _YEAR_2100):
        raise UnfitError(_NO_SECONDS)
    return clock if zone is None else utc_instant(value, zone)


def _in_utc(value: datetime, zone: tzinfo | None) -> datetime:
    if value.tzinfo is None:
        if zone is None:
            return value
        value = value.replace(tzinfo=zone, fold=0)
    try:
        return value.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:  # "never" stays "never": 9999-12-31 23:59:59 west of UTC would be in the year 10000
        return datetime.max.replace(microsecond=0) if value.year > 1 else datetime.min


def _instant_of_text(value: str, zone: tzinfo | None) -> datetime | None:
    text = value.strip()
    if _ZERO_DATE.match(text):
        return None
    try:
        instant = datetime.fromisoformat(re.sub(r" (?=[+-]\d\d:?\d\d$)", "", text))
    except ValueError:
        raise UnfitError("not a date such as 2026-01-06 or 2026-01-06 14:31:22; correct it, or", "string") from None
    return instant if len(text) <= _LONGEST_DAY else _in_utc(instant, zone)


def _instant_of_seconds(value: int) -> datetime | None:
    """A whole number is Unix seconds; 0 stands for no time, as the zero date does."""
    try:
        return _EPOCH + timedelta(seconds=value) if value else None
    except OverflowError:
        raise UnfitError(_NO_SECONDS) from None


def microseconds(instant: datetime) -> int:
    """Return how many microseconds after 1970 a naive datetime in UTC is."""
    since = instant - _EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


# -- which function converts a column --------------------------------------------------------------------------

Converter = Callable[[Any], Any]
"""From a value that the driver gave, never None, to its JSON value; raises UnfitError."""

_BY_TYPE: Final[dict[str, Converter]] = {
    "json": _json,
    "bool": _boolean,
    "number": _number,
    "string": _string,
}
_BY_KIND: Final[dict[Kind, Converter]] = {
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _integer,
    Kind.YEAR: _integer,
    Kind.NUMBER: _number,
    Kind.TEXT: _string,
    Kind.TIME: _string,
    Kind.JSON: _json,
    Kind.BINARY: _binary,
}


def converter(kind: Kind, field_type: str | None, zone: tzinfo | None) -> Converter:
    """Return the function for a column of this kind; the setting's type wins, zone None is UTC."""
    if field_type == "date" or (field_type is None and kind in DATE_KINDS):
        return _dates_in(zone)
    return _BY_KIND[kind] if field_type is None else _BY_TYPE[field_type]


def _dates_in(zone: tzinfo | None) -> Converter:
    def date_text(value: Any) -> str | None:
        instant = utc_instant(value, zone)
        return None if instant is None else instant.isoformat(" ", "seconds") + " +00:00"

    return date_text
