"""Raw values as text: as a reason shows them to a reader, and so that two different ones never look the same.

Event ids are made from the latter. A change there would track every customer's past events once more; the tests hold
test vectors. Both together make a rejection: its reason, and a digest that recognises it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, NamedTuple

_MAX_SHOWN: Final = 60


def time_text(value: timedelta) -> str:
    """Write a TIME as MySQL does: '[-]HH:MM:SS[.ffffff]', where the hours may go beyond 24.

    >>> time_text(timedelta(days=-1, hours=23, minutes=30))
    '-00:30:00'
    """
    sign = "-" if value < timedelta() else ""
    size = abs(value)
    minutes, seconds = divmod(size.days * 86400 + size.seconds, 60)
    fraction = f".{size.microseconds:06}" if size.microseconds else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"


def plain_text(value: Any) -> str:
    """Write a value as a query shows it."""
    if isinstance(value, timedelta):
        return time_text(value)
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)


def shown(value: Any) -> str:
    """Return a value on one line and cut short, as a reason in a log needs it; text is in quotes."""
    start = value[:_MAX_SHOWN] if isinstance(value, str | bytes) else value
    text = "NULL" if value is None else repr(start) if isinstance(value, str) else plain_text(start)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def _pinned_number(value: int | float | Decimal) -> str:
    """Write a number by its value: 1, True, 1.0 and Decimal('1.00') are one, as they are to SQL."""
    if isinstance(value, int):
        return str(int(value))
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    sign, digits, exponent = exact.as_tuple()
    if not isinstance(exponent, int):  # NaN or infinite
        return str(exact)
    written = "".join(map(str, digits)).lstrip("0")
    short = written.rstrip("0")
    exponent += len(written) - len(short)
    if not short:
        return "0"
    text = short + "0" * exponent if 0 <= exponent <= 100 else f"{short}e{exponent}"
    return f"-{text}" if sign else text


_PINNED: Final[dict[type, tuple[str, Callable[[Any], str]]]] = {
    str: ("s", str),
    datetime: ("t", lambda value: value.isoformat(" ", "microseconds")),  # the clock as given, no time zone
    date: ("d", date.isoformat),
    **dict.fromkeys((int, bool, float, Decimal), ("n", _pinned_number)),
    type(None): ("0", lambda _value: ""),
    timedelta: ("l", lambda value: str(value // timedelta(microseconds=1))),
    bytes: ("b", bytes.hex),
}
_NOTHING_OF_A_DATABASE: Final = ("o", repr)


def pinned(value: Any) -> str:
    """Write a raw value so that two values never look the same: type tag, length, text."""
    tag, write = _PINNED.get(type(value), _NOTHING_OF_A_DATABASE)
    text = write(value)
    return f"{tag}{len(text)}:{text}"


def digest_of(text: str) -> bytes:
    """Return the 16 bytes that stand for a text, half surrogates included."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Misfit(NamedTuple):
    """A value that does not fit the type that its field gets from its column; `told` also gives a mapping that fits."""

    field: str
    told: str


class Rejection(NamedTuple):
    """A row that Iterable cannot be given as it is; the same bad input has the same digest.

    `misfits` are in fields that have no type at Iterable yet. A run must not fix their types.
    """

    reason: str
    digest: bytes
    misfits: tuple[Misfit, ...] = ()


def rejection(column: str, value: Any, fault: object) -> Rejection:
    """The rejection of a row for the value in one of its columns."""
    reason = f"{column} is {shown(value)}: {fault}"
    return Rejection(reason, digest_of(f"{reason}\0{pinned(value)}"))
