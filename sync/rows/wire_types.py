"""What a MySQL server says of a column, and how the bytes on the wire become values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from pymysql.constants import FIELD_TYPE
from pymysql.converters import decoders, through

from sync.rows.columns import Kind

_KINDS = {
    FIELD_TYPE.TINY: Kind.INTEGER,
    FIELD_TYPE.SHORT: Kind.INTEGER,
    FIELD_TYPE.INT24: Kind.INTEGER,
    FIELD_TYPE.LONG: Kind.INTEGER,
    FIELD_TYPE.LONGLONG: Kind.INTEGER,
    FIELD_TYPE.BIT: Kind.INTEGER,
    FIELD_TYPE.YEAR: Kind.YEAR,
    FIELD_TYPE.DECIMAL: Kind.NUMBER,
    FIELD_TYPE.NEWDECIMAL: Kind.NUMBER,
    FIELD_TYPE.FLOAT: Kind.NUMBER,
    FIELD_TYPE.DOUBLE: Kind.NUMBER,
    FIELD_TYPE.DATE: Kind.DATE,
    FIELD_TYPE.NEWDATE: Kind.DATE,
    FIELD_TYPE.DATETIME: Kind.DATETIME,
    FIELD_TYPE.TIMESTAMP: Kind.TIMESTAMP,
    FIELD_TYPE.TIME: Kind.TIME,
    FIELD_TYPE.JSON: Kind.JSON,
    FIELD_TYPE.NULL: Kind.UNKNOWN,
}


_TEXTS = {
    FIELD_TYPE.VARCHAR,
    FIELD_TYPE.VAR_STRING,
    FIELD_TYPE.STRING,  # also ENUM and SET
    FIELD_TYPE.ENUM,
    FIELD_TYPE.SET,
    FIELD_TYPE.TINY_BLOB,
    FIELD_TYPE.BLOB,
    FIELD_TYPE.MEDIUM_BLOB,
    FIELD_TYPE.LONG_BLOB,
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
    if field.type_code in _TEXTS:
        return Kind.BINARY if field.charsetnr == _BINARY_CHARSET else Kind.TEXT
    return _KINDS.get(field.type_code, Kind.BINARY)


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
    if field.type_code in _MOMENTS:
        return _moment
    convert = decoders.get(field.type_code)
    return _text if convert in (None, through) else _tolerant(convert)


def _number_of_bits(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


_MOMENTS = frozenset({FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP})


def _moment(data: bytes) -> datetime | str | bytes:
    """A server writes every moment in the one form that Python reads, but for those that Python does not have."""
    try:
        return datetime.fromisoformat(data.decode("ascii"))
    except ValueError:  # the zero date, 30 February
        return _text(data)


def _tolerant(convert: Callable[[Any], Any]) -> Reader:
    def read(data: bytes) -> Any:
        try:
            return convert(data.decode("ascii"))
        except (ValueError, TypeError, ArithmeticError):  # of no number, half a date, no decimal
            return _text(data)

    return read
