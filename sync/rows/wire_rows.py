"""The rows of a MySQL server, out of the bytes that stand for each on the wire (its text protocol).

A row is its values one after the other, each with its length before it; one byte of 251 is NULL. It comes in a packet:
three bytes of length, a number that counts packets up to 255 and again from 0, and the row. What begins with a byte of
254 or 255 is the end of the rows or an error, or has a value of more than 16 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sync.rows.wire_types import Field, reader

RowParser = Callable[[bytes], tuple[Any, ...]]

_NULL, _LONGEST = 251, 254
_WIDTHS = {252: 2, 253: 3, 254: 8}
"""First byte of a long value -> how many bytes of length follow it."""

_HEADER = 4


def row_parser(fields: Sequence[Field]) -> RowParser:
    """What makes a row of its bytes; raises IndexError for what is no row of these columns."""
    readers = tuple(map(reader, fields))

    def parse(data: bytes) -> tuple[Any, ...]:
        row: list[Any] = []
        add = row.append
        position = 0
        for read in readers:
            size = data[position]
            position += 1
            if size >= _NULL:
                if size == _NULL:
                    add(None)
                    continue
                if size > _LONGEST:
                    raise IndexError("no length begins like this")
                start = position + _WIDTHS[size]
                size = int.from_bytes(data[position:start], "little")
                position = start
            end = position + size
            add(read(data[position:end]))
            position = end
        if position != len(data):
            raise IndexError("the row has another length than its values")
        return tuple(row)

    return parse


def whole_rows(data: bytes, number: int, parse: RowParser) -> tuple[list[tuple[Any, ...]], int]:
    """The rows whose packets are whole, from the beginning of these bytes on, and how many bytes they take.

    It ends before whatever is no row, is not there to its end, or has not the number that is due; `number` is the
    first packet's. Raises as `parse` does.
    """
    rows: list[tuple[Any, ...]] = []
    position, limit = 0, len(data) - _HEADER
    while position < limit:
        start = position + _HEADER
        end = start + int.from_bytes(data[position : position + 3], "little")
        if end > len(data) or end == start or data[start] >= _LONGEST or data[start - 1] != number:
            break
        rows.append(parse(data[start:end]))
        position, number = end, (number + 1) % 256
    return rows, position
