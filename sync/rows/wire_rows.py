"""The rows of a MySQL server, out of the bytes that stand for each on the wire (its text protocol).

A row is its values one after the other, each with its length before it; one byte of 251 is NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sync.rows.wire_types import Field, reader

RowParser = Callable[[bytes], tuple[Any, ...]]

_NULL, _LONGEST = 251, 254
_WIDTHS = {252: 2, 253: 3, 254: 8}
"""First byte of a long value -> how many bytes of length follow it."""


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
