"""A value as a cell of a CSV file that a spreadsheet can open without running it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any, Final

from sync.rows.values import time_text

# A spreadsheet runs text as a formula when it starts with one of these, also in the full width of East Asian
# keyboards; it ignores space before them, and some take a leading tab or line break as a way in.
_IGNORED, _OPERATORS = r"\s\0\u200b-\u200f\u2060\ufeff", r"=+\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA: Final = re.compile(rf"[\t\r\n]|[{_IGNORED}]*[{_OPERATORS}]")
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


def _same(value: object) -> object:
    return value


def _other(value: object) -> str:
    return defused(str(value))


_WRITERS: Final[dict[type, Callable[[Any], object]]] = {
    str: defused,
    **dict.fromkeys((int, float, bool, Decimal, type(None)), _same),  # written right by the csv module
    bytes: lambda value: f"0x{value.hex()}",
    datetime: str,  # 2026-01-13 14:31:22, with a fraction only where there is one
    timedelta: time_text,
}

_AS_THEY_ARE: Final = frozenset({str, int, float, bool, Decimal, type(None), datetime, date})
_SUSPECT: Final = re.compile(f"[{_IGNORED}{_OPERATORS}]")


def are_harmless(rows: Iterable[Sequence[Any]]) -> bool:
    """Whether no value of these rows needs `cell`: a look at the first letters of all texts saves half the time."""
    values = list(chain.from_iterable(rows))
    if not _AS_THEY_ARE.issuperset(map(type, values)):
        return False
    return not _SUSPECT.search("".join([value[:1] for value in values if type(value) is str]))


def cell(value: Any) -> object:
    """Return what the csv module is to write for a value."""
    return _WRITERS.get(type(value), _other)(value)
