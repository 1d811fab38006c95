"""The sample database in memory: SQLite, from the same two files that MySQL is given."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sync.database.statement import bound_values, parse
from sync.rows.columns import Column, Kind
from sync.rows.source import ResultSet, Source, SourceError


def sample_database(schema: Path, seed: Path) -> Source:
    """A fresh database in memory, made by the two files."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        _fill(connection, schema, seed)
    except BaseException:
        connection.close()
        raise
    return _Embedded(connection)


def _fill(connection: sqlite3.Connection, schema: Path, seed: Path) -> None:
    today = datetime.now(UTC).date().isoformat()
    connection.create_function("UTC_DATE", 0, lambda: today)  # one day, however long the script takes
    connection.create_function("SUBDATE", 2, _subdate)
    connection.create_function("TIMESTAMP", 2, lambda day, time: f"{day} {time}")
    connection.execute("PRAGMA foreign_keys = ON")
    for script in (schema, seed):
        with _advice():
            connection.executescript(script.read_text(encoding="utf-8"))


def _subdate(day: str, days: int) -> str:
    return (date.fromisoformat(day) - timedelta(days=days)).isoformat()


_KINDS = {"INTEGER": Kind.INTEGER, "VARCHAR": Kind.TEXT, "TIMESTAMP": Kind.TIMESTAMP}
"""The types of schema.sql, which are all that SQLite is asked to hold here."""


class _Embedded:
    """A Source on the sample database."""

    description = "sqlite://memory/sample"
    server = f"SQLite {sqlite3.sqlite_version} (embedded)"
    exposure = ""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor: sqlite3.Cursor | None = None

    def query(self, sql: str, since: datetime, since_local: datetime, limit: int | None = None) -> ResultSet:
        if self._cursor is not None:
            self._cursor.close()
        statement = parse(sql, backslash_escapes=False)
        values = bound_values(since, since_local)
        with _advice():
            declared = self._declared_types(statement.text % dict.fromkeys(values, "NULL"))
            self._cursor = cursor = self._connection.execute(
                statement.text % {name: f":{name}" for name in values}, values
            )
        columns = [
            Column(description[0], _KINDS.get(declaration, Kind.UNKNOWN))
            for description, declaration in zip(cursor.description, declared, strict=True)
        ]
        rows = _rows(cursor, columns)
        return ResultSet(columns, islice(rows, limit), uses_since=bool(statement.parameters), release=cursor.close)

    def _declared_types(self, sql: str) -> list[str]:
        """The type of each column as its table declares it; empty for an expression.

        SQLite tells the columns of a view, and takes nothing but one SELECT for it.
        """
        self._connection.execute(f"CREATE TEMP VIEW asked AS {sql}")
        try:
            found = self._connection.execute("SELECT type FROM pragma_table_info('asked')").fetchall()
        finally:
            self._connection.execute("DROP VIEW temp.asked")
        return [declaration.partition("(")[0].upper() for (declaration,) in found]

    def close(self) -> None:
        self._connection.close()


def _rows(cursor: sqlite3.Cursor, columns: list[Column]) -> Iterator[tuple[Any, ...]]:
    """The rows with the Python values that MySQL's driver gives for these kinds."""
    converters = [_timestamp if column.kind is Kind.TIMESTAMP else _as_it_is for column in columns]
    with _advice():
        for row in cursor:
            yield tuple(convert(value) for convert, value in zip(converters, row, strict=True))


def _timestamp(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _as_it_is(value: Any) -> Any:
    return value


@contextlib.contextmanager
def _advice() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(f"{error.filename} cannot be read ({error.strerror}): restore the file.") from error
    except sqlite3.Error as error:
        raise SourceError(
            f"The embedded sample database cannot do this ({error}): correct QUERY_FILE, schema.sql or seed.sql."
        ) from error
