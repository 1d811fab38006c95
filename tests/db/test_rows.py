"""Rows as they come: kinds and values of every type."""

from __future__ import annotations

import gc
import io
import struct
from contextlib import closing
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pymysql.connections import Connection, MySQLResult

import db
from sync.rows.source import Kind, Source, SourceError
from tests.db.asking import LARGE, SINCE, SINCE_LOCAL, run
from tests.mariadb import Server


@pytest.mark.database
class TestRows:
    """Rows come one by one, and those that nobody wants are not read."""

    @pytest.fixture
    def packets(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Grows by one with each packet that the driver reads."""
        read: list[int] = []
        original: Any = Connection._read_packet

        def counted(*args: Any) -> Any:
            read.append(1)
            return original(*args)

        monkeypatch.setattr(Connection, "_read_packet", counted)
        return read

    @pytest.mark.parametrize("limit", [0, 1, 1000])
    def test_limit(self, source: Source, packets: list[int], limit: int, capfd: pytest.CaptureFixture[str]) -> None:
        """Of a hundred million rows the limit is read and no more, without a word on the screen."""
        rows = run(source, LARGE, limit)
        source.close()
        gc.collect()

        assert len({row["seq"] for row in rows}) == len(rows) == limit
        assert len(packets) < limit + 10
        assert capfd.readouterr() == ("", "")

    def test_reading_stops_half_way(
        self, source: Source, packets: list[int], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A result that is closed is not read to its end."""
        result = source.query(LARGE, SINCE, SINCE_LOCAL)
        next(iter(result))
        result.close()

        source.close()
        del result
        gc.collect()
        assert len(packets) < 100
        assert capfd.readouterr() == ("", "")

    def test_closed_result_does_not_look_complete(self, source: Source) -> None:
        """Reading on after the result was closed is an error: no row is lost in silence."""
        rows = iter(source.query(LARGE, SINCE, SINCE_LOCAL))
        next(rows)
        source.close()

        with pytest.raises(RuntimeError, match="closed before all of it was read"):
            next(rows)

    def test_reset_between_two_rows(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that breaks where a row ends is told as any other, with what the system said, once."""
        told = iter([ConnectionResetError(104, "Connection reset by peer")])

        class Reset(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def readinto(self, _buffer: object) -> int:
                for error in told:
                    raise error
                return 0

        rows = iter(source.query(LARGE, SINCE, SINCE_LOCAL))
        next(rows)
        monkeypatch.setattr(source._connection, "_rfile", io.BufferedReader(Reset()))  # type: ignore[attr-defined]

        with pytest.raises(SourceError, match=r"was lost .*reset by peer"):
            next(rows)

    def test_row_that_lacks_values(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        """The driver takes a row that ends early for a row: here it is no row of a database."""
        original = MySQLResult._read_row_from_packet  # type: ignore[attr-defined]
        monkeypatch.setattr(MySQLResult, "_read_row_from_packet", lambda *args: original(*args)[:-1])

        with pytest.raises(SourceError, match="does not speak MySQL's protocol"):
            list(source.query(LARGE, SINCE, SINCE_LOCAL).values())

    def test_whole_result_keeps_the_connection(self, source: Source) -> None:
        """A result that was read to its end costs no new connection."""
        first = run(source, "SELECT CONNECTION_ID() AS id")

        assert run(source, "SELECT CONNECTION_ID() AS id", limit=None) == first

    def test_no_rows(self, source: Source) -> None:
        """A result without rows still has its columns."""
        with closing(source.query("SELECT id, email FROM customers WHERE FALSE", SINCE, SINCE_LOCAL)) as result:
            assert [column.name for column in result.columns] == ["id", "email"]
            assert list(result) == []

    def test_repeated_names_can_be_seen(self, source: Source) -> None:
        """Two columns of one name both stand in the columns."""
        with closing(source.query("SELECT 1 AS a, 2 AS a", SINCE, SINCE_LOCAL)) as result:
            assert [column.name for column in result.columns] == ["a", "a"]


TYPES: list[tuple[str, str, Kind, object]] = [
    ("TINYINT(1)", "1", Kind.BOOLEAN, 1),
    ("BOOLEAN", "FALSE", Kind.BOOLEAN, 0),
    ("BIT(1)", "b'1'", Kind.BOOLEAN, 1),
    ("BIT(12)", "b'100000000001'", Kind.INTEGER, 2049),
    ("TINYINT", "-7", Kind.INTEGER, -7),
    ("SMALLINT", "7", Kind.INTEGER, 7),
    ("MEDIUMINT", "7", Kind.INTEGER, 7),
    ("INT(1)", "7", Kind.INTEGER, 7),
    ("BIGINT UNSIGNED", "18446744073709551615", Kind.INTEGER, 2**64 - 1),
    ("YEAR", "2026", Kind.YEAR, 2026),
    ("DECIMAL(30,10)", "1.5", Kind.NUMBER, Decimal("1.5000000000")),
    ("FLOAT", "1.5", Kind.NUMBER, 1.5),
    ("DOUBLE", "1e300", Kind.NUMBER, 1e300),
    ("DATE", "'2026-01-06'", Kind.DATE, date(2026, 1, 6)),
    ("DATE", "'0000-00-00'", Kind.DATE, "0000-00-00"),
    ("DATETIME(6)", "'2026-01-06 01:02:03.000004'", Kind.DATETIME, datetime(2026, 1, 6, 1, 2, 3, 4)),
    ("DATETIME", "'0000-00-00 00:00:00'", Kind.DATETIME, "0000-00-00 00:00:00"),
    ("TIMESTAMP NULL", "'2026-01-06 01:02:03'", Kind.TIMESTAMP, datetime(2026, 1, 6, 1, 2, 3)),
    ("TIME", "'-25:00:01'", Kind.TIME, -timedelta(hours=25, seconds=1)),
    ("CHAR(3)", "'abc'", Kind.TEXT, "abc"),
    ("VARCHAR(9) CHARACTER SET latin1", "'é'", Kind.TEXT, "é"),
    ("TEXT", "'🌻'", Kind.TEXT, "🌻"),
    ("LONGTEXT", "'x'", Kind.TEXT, "x"),
    ("ENUM('a','b')", "'b'", Kind.TEXT, "b"),
    ("SET('a','b')", "'a,b'", Kind.TEXT, "a,b"),
    ("BINARY(2)", "x'00ff'", Kind.BINARY, b"\x00\xff"),
    ("VARBINARY(9)", "x'ff'", Kind.BINARY, b"\xff"),
    ("TINYBLOB", "x'ff'", Kind.BINARY, b"\xff"),
    ("LONGBLOB", "x'ff'", Kind.BINARY, b"\xff"),
    ("POINT", "POINT(1, 2)", Kind.BINARY, struct.pack("<IBIdd", 0, 1, 1, 1, 2)),
    ("INT", "NULL", Kind.INTEGER, None),
]


@pytest.mark.database
def test_kinds_and_values(mariadb: Server) -> None:
    """Each type of column has the kind that the metadata gives, and the driver's own value."""
    columns = ", ".join(f"c{at} {declared}" for at, (declared, *_) in enumerate(TYPES))
    values = ", ".join(value for _, value, *_ in TYPES)
    params = mariadb.database(
        f"SET sql_mode = '', time_zone = '+00:00'; CREATE TABLE t ({columns}); INSERT INTO t VALUES ({values})"
    )
    source = db.connect(params)

    result = source.query("SELECT * FROM t", SINCE, SINCE_LOCAL)
    (row,) = result

    found = [
        (*declared[:2], column.kind, row[column.name]) for declared, column in zip(TYPES, result.columns, strict=True)
    ]
    assert found == TYPES
    source.close()


@pytest.mark.database
def test_kinds_of_expressions(source: Source) -> None:
    """What has no type of its own counts as text, a comparison is a number, and a derived time stays a time."""
    sql = """WITH x AS (SELECT event_time, ROW_NUMBER() OVER () AS n FROM page_views)
             SELECT NULL, 1 = 1, MAX(event_time), MAX(n), COUNT(*) FROM x"""

    with closing(source.query(sql, SINCE, SINCE_LOCAL)) as result:
        kinds = [column.kind for column in result.columns]

    assert kinds == [Kind.TEXT, Kind.INTEGER, Kind.TIMESTAMP, Kind.INTEGER, Kind.INTEGER]
