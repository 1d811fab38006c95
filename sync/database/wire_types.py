"""What a server says about a column, and how the bytes become values: a DECIMAL becomes a `Decimal` here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from pymysql.constants import FIELD_TYPE
from pymysql.converters import decoders, through

from sync.rows.source import Kind

_TYPES = {
    Kind.INTEGER: "TINY SHORT INT24 LONG LONGLONG BIT",
    Kind.YEAR: "YEAR",
    Kind.NUMBER: "DECIMAL NEWDECIMAL FLOAT DOUBLE",
    Kind.DATE: "DATE NEWDATE",
    Kind.DATETIME: "DATETIME",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.TIME: "TIME",
    Kind.JSON: "JSON",
    Kind.TEXT: "VARCHAR VAR_STRING STRING ENUM SET TINY_BLOB BLOB MEDIUM_BLOB LONG_BLOB NULL",
}
"""The protocol's types for each kind of column, under the driver's names."""

_KINDS = {getattr(FIELD_TYPE, name): kind for kind, names in _TYPES.items() for name in names.split()}

_CONVERTERS = {
    **decoders,
    # Servers write every time in a form that Python itself reads, in a fifth of the time that the driver needs.
    FIELD_TYPE.DATETIME: datetime.fromisoformat,
    FIELD_TYPE.TIMESTAMP: datetime.fromisoformat,
}

_BINARY_CHARSET = 63


class Field(Protocol):
    """What the server says of a column."""

    name: str
    type_code: int
    length: int
    charsetnr: int


def column_kind(field: Field) -> Kind:
    """The kind of a column. A column of an unknown type, such as one of a later server, holds bytes."""
    if field.type_code in (FIELD_TYPE.TINY, FIELD_TYPE.BIT) and field.length == 1:
        return Kind.BOOLEAN
    kind = _KINDS.get(field.type_code, Kind.BINARY)
    holds_bytes = field.charsetnr == _BINARY_CHARSET and field.type_code != FIELD_TYPE.NULL
    return Kind.BINARY if kind is Kind.TEXT and holds_bytes else kind


Reader = Callable[[bytes], Any]


def reader(field: Field) -> Reader:
    """The function that makes a value from the bytes on the wire; it never raises.

    A column that is not mapped must not stop a run, so a value that cannot be converted is handed on as it came. If the
    column is mapped, it is refused later, by name.
    """
    if field.type_code == FIELD_TYPE.BIT:
        return _number_of_bits
    if column_kind(field) is Kind.BINARY:
        return bytes
    convert = _CONVERTERS.get(field.type_code, through)
    return _text if convert is through else _tolerant(convert)


def _number_of_bits(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _tolerant(convert: Callable[[str], Any]) -> Reader:
    def read(data: bytes) -> Any:
        try:
            return convert(data.decode("ascii"))
        except (ValueError, TypeError, ArithmeticError):  # not a number, half a date, not a decimal
            return _text(data)

    return read
