"""Rows out of the bytes on the wire: the same as the database driver's own."""

from __future__ import annotations

from datetime import datetime
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.constants import FIELD_TYPE
from pymysql.protocol import MysqlPacket

from sync.rows.wire_rows import row_parser, whole_rows


class Field:
    """What a server says of a column."""

    name = "a"
    length = 20

    def __init__(self, type_code: int = FIELD_TYPE.VAR_STRING, charsetnr: int = 45) -> None:
        self.type_code, self.charsetnr = type_code, charsetnr


def on_the_wire(value: bytes | None) -> bytes:
    """A value with its length before it, as the protocol writes it."""
    if value is None:
        return b"\xfb"
    size = len(value)
    for marker, width, most in ((b"", 1, 251), (b"\xfc", 2, 1 << 16), (b"\xfd", 3, 1 << 24)):
        if size < most:
            return marker + size.to_bytes(width, "little") + value
    return b"\xfe" + size.to_bytes(8, "little") + value


lengths = st.one_of(st.integers(0, 300), st.sampled_from([250, 251, 252, 65_535, 65_536]))
values = st.one_of(st.none(), st.binary(max_size=40), lengths.map(lambda size: b"x" * size))


@given(st.lists(values, min_size=1, max_size=12))
def test_the_driver_reads_the_same(row: list[bytes | None]) -> None:
    """Whatever the lengths, and wherever the NULLs are."""
    data = b"".join(map(on_the_wire, row))
    packet: Any = MysqlPacket(data, "utf8")
    columns = [Field(charsetnr=63)] * len(row)

    assert row_parser(columns)(data) == tuple(packet.read_length_coded_string() for _ in row) == tuple(row)


@pytest.mark.parametrize(
    ("type_code", "written", "read"),
    [
        (FIELD_TYPE.VAR_STRING, "é".encode(), "é"),
        (FIELD_TYPE.VAR_STRING, b"\xe9", b"\xe9"),
        (FIELD_TYPE.LONG, b"-7", -7),
        (FIELD_TYPE.DATETIME, b"2026-01-06 10:00:00", datetime(2026, 1, 6, 10)),
        (FIELD_TYPE.TIMESTAMP, b"2026-01-06 10:00:00.120000", datetime(2026, 1, 6, 10, 0, 0, 120_000)),
        (FIELD_TYPE.DATETIME, b"2026-01-06 10:00:00.1", datetime(2026, 1, 6, 10, 0, 0, 100_000)),
        (FIELD_TYPE.DATETIME, b"0000-00-00 00:00:00", "0000-00-00 00:00:00"),
        (FIELD_TYPE.DATETIME, b"2026-02-30 00:00:00", "2026-02-30 00:00:00"),
    ],
)
def test_values(type_code: int, written: bytes, read: Any) -> None:
    """Each by its column's type; what Python has no value for stays text, what is no text stays bytes."""
    assert row_parser([Field(type_code)])(on_the_wire(written)) == (read,)


@pytest.mark.parametrize("data", [b"", b"\x05abc", b"\x03abcd", b"\xff"])
def test_what_is_no_row(data: bytes) -> None:
    """A server of another kind, or one that lost its place, is no source of rows."""
    with pytest.raises(IndexError):
        row_parser([Field()])(data)


def packet_of(data: bytes, number: int) -> bytes:
    """As it comes: with its length and its number before it."""
    return len(data).to_bytes(3, "little") + bytes([number % 256]) + data


@given(
    st.lists(st.integers(0, 300).map(lambda size: b"x" * size), max_size=8), st.integers(0, 255), st.integers(0, 2500)
)
def test_rows_that_came_whole(texts: list[bytes], number: int, cut: int) -> None:
    """Wherever the bytes end, and whatever number the first packet has: each row that is whole, and no other."""
    packets = [packet_of(on_the_wire(text), number + place) for place, text in enumerate(texts)]
    ends = [end for end in accumulate(map(len, packets)) if end <= cut]

    rows, size = whole_rows(b"".join(packets)[:cut], number, row_parser([Field()]))

    assert rows == [(text.decode(),) for text in texts[: len(ends)]]
    assert size == max(ends, default=0)


@pytest.mark.parametrize(
    "other",
    [
        packet_of(b"\xfe\0\0\2\0", 8),
        packet_of(b"\xff\x7a\4#42S02gone", 8),
        packet_of(b"\x01b", 9),
        packet_of(b"", 8) + packet_of(b"\x01b", 9),
        b"\x02\0\0\x08",
        b"\x02",
    ],
    ids=["end", "error", "number", "empty", "header", "length"],
)
def test_what_the_driver_has_to_read(other: bytes) -> None:
    """The end of the rows, an error, a packet that is not due: reading stops before it."""
    row = packet_of(b"\x01a", 7)

    assert whole_rows(row + other, 7, row_parser([Field()])) == ([("a",)], len(row))
