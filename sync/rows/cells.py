"""A value as a cell of a CSV file that a spreadsheet can open without running it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any, Final

from sync.rows.values import time_text

# A spreadsheet runs text as a formula when it starts with one of these, also in the full width of East Asian
# keyboards; it ignores space before them, and some take a leading tab or line break as a way in.
_IGNORED, _OPERATORS = r"\s\0\u200b-\u200f\u2060\ufeff", r"=+\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA: Final = re.compile(rf"[\t\r\n]|[{_IGNORED}]*[{_OPERATORS}]")
_SUSPECT: Final = re.compile(f"[{_IGNORED}{_OPERATORS}]")  # every formula begins with one of these
_SIGNED_NUMBER: Final = re.compile(r"[+-](?:\d+(?:[.,]\d+)*|\.\d+)(?:[eE][+-]?\d+)?%?", re.ASCII)
_PHONE_NUMBER: Final = re.compile(r"\+\d[\d ().-]*", re.ASCII)


def defused(text: str) -> str:
    """Return the text with an apostrophe before it if a spreadsheet would run it.

    >>> [defused(text) for text in ("=1+1", " @SUM(A1)", "-5", "+1 (555) 123-4567", "a=b")]
    ["'=1+1", "' @SUM(A1)", '-5', '+1 (555) 123-4567', 'a=b']
    """
    if text[:1].isalnum() or not _FORMULA.match(text):
        return text
    if _SIGNED_NUMBER.fullmatch(text.strip(" ")) or _PHONE_NUMBER.fullmatch(text.strip(" ")):
        return text
    return f"'{text}"


def _json_text(value: object) -> str:
    return defused(json.dumps(value, ensure_ascii=False, default=str))


def _other(value: object) -> str:
    return defused(str(value))


_WRITERS: Final[dict[type, Callable[[Any], object]]] = {
    bytes: lambda value: f"0x{value.hex()}",
    bytearray: lambda value: f"0x{value.hex()}",
    datetime: str,  # 2026-01-13 14:31:22, with a fraction only where there is one
    timedelta: time_text,
    dict: _json_text,
    list: _json_text,
}
_PLAIN: Final = frozenset({int, float, bool, Decimal, type(None)})  # written right by the csv module
_PLAIN_OR_TEXT: Final = _PLAIN | {str, datetime, date}


def are_harmless(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether no value of these rows needs `cell`: mostly a look at the first characters of all texts is enough."""
    values = list(chain.from_iterable(rows))
    if not _PLAIN_OR_TEXT.issuperset(map(type, values)):
        return False
    firsts = "".join([value[:1] for value in values if type(value) is str])
    return not _SUSPECT.search(firsts)


def cell(value: Any) -> object:
    """Return what the csv module is to write for a value."""
    kind = type(value)
    if kind is str:
        return defused(value)
    if kind in _PLAIN:
        return value
    return _WRITERS.get(kind, _other)(value)
