"""Why a row cannot be sent: one sentence with the column and its value, and a digest that knows it again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sync.rows.ids import digest_of, pinned
from sync.rows.values import time_text

_MAX_SHOWN: Final = 60


class Misfit(NamedTuple):
    """A value that does not fit the type that its field would get by its column; `told`: with the mapping that fits."""

    field: str
    told: str


class Rejection(NamedTuple):
    """A row that Iterable cannot be given as it is; the same bad input has the same digest.

    `misfits`: in fields that have no type at Iterable yet. A run must not give them one.
    """

    reason: str
    digest: bytes
    misfits: tuple[Misfit, ...] = ()


_AS_A_QUERY_SHOWS_IT: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda _none: "NULL",
    datetime: str,
    date: str,
    Decimal: str,
    timedelta: time_text,
    bytes: lambda value: f"0x{value.hex()}",
}


def shown(value: Any) -> str:
    """Return a value on one line and cut short, as a reason in a log needs it; text is in quotes."""
    start = value[:_MAX_SHOWN] if isinstance(value, str | bytes) else value
    text = _AS_A_QUERY_SHOWS_IT.get(type(value), repr)(start)
    whole = len(value) <= _MAX_SHOWN if isinstance(value, str | bytes) else True
    return text if whole and len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def rejection(column: str, value: Any, fault: object) -> Rejection:
    """The rejection of a row for the value in one of its columns."""
    reason = f"{column} is {shown(value)}: {fault}"
    return Rejection(reason, digest_of(f"{reason}\0{pinned(value)}"))
