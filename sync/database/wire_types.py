"""What a server says of a column, and how the bytes on the wire become values: a DECIMAL becomes a `Decimal` here."""

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
"""The types of the protocol by the kind of column that they are, as the driver names them."""

_KINDS = {getattr(FIELD_TYPE, name): kind for kind, names in _TYPES.items() for name in names.split()}

_CONVERTERS = {
    **decoders,
    # A server writes every moment in the one form that Python reads, in a fifth of the time that the driver takes.
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
    """The kind of a column; one of a type that is not known here, of today or to come, holds bytes."""
    if field.type_code in (FIELD_TYPE.TINY, FIELD_TYPE.BIT) and field.length == 1:
        return Kind.BOOLEAN
    kind = _KINDS.get(field.type_code, Kind.BINARY)
    holds_bytes = field.charsetnr == _BINARY_CHARSET and field.type_code != FIELD_TYPE.NULL
    return Kind.BINARY if kind is Kind.TEXT and holds_bytes else kind


Reader = Callable[[bytes], Any]


def reader(field: Field) -> Reader:
    """What makes a value of the bytes on the wire, and never raises.

    A column that is never mapped must not stop a run, so what cannot be read is handed on as it came: whoever maps
    the column refuses it by name.
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
        except (ValueError, TypeError, ArithmeticError):  # of no number, half a date, no decimal
            return _text(data)

    return read
