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
from sync.rows.source import Column, Kind, ResultSet, Source, SourceError

_KINDS = {"INTEGER": Kind.INTEGER, "VARCHAR": Kind.TEXT, "TIMESTAMP": Kind.TIMESTAMP}
"""The types of schema.sql; no others are needed here."""

sqlite3.register_converter("TIMESTAMP", lambda text: datetime.fromisoformat(text.decode()))


def sample_database(schema: Path, seed: Path) -> Source:
    """A fresh database in memory, made by the two files."""
    connection = sqlite3.connect(":memory:", isolation_level=None, detect_types=sqlite3.PARSE_DECLTYPES)
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


class _Embedded:
    """A Source on the sample database."""

    description = "sqlite://memory/sample"
    server = f"SQLite {sqlite3.sqlite_version} (embedded)"
    exposure = ""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def query(self, sql: str, since: datetime, since_local: datetime, limit: int | None = None) -> ResultSet:
        statement = parse(sql, backslash_escapes=False)
        values = bound_values(since, since_local)
        with _advice():
            kinds = self._kinds(statement.text % dict.fromkeys(values, "NULL"))
            cursor = self._connection.execute(statement.text % {name: f":{name}" for name in values}, values)
        names = (name for name, *_ in cursor.description)
        columns = [Column(name, kind) for name, kind in zip(names, kinds, strict=True)]
        uses_since = bool(statement.parameters)
        return ResultSet(columns, islice(_rows(cursor), limit), uses_since=uses_since, release=cursor.close)

    def _kinds(self, sql: str) -> list[Kind]:
        """The kind of each column as its table declares it; an expression counts as text.

        SQLite reports the columns of a view, and a view must be one SELECT.
        """
        self._connection.execute(f"CREATE TEMP VIEW asked AS {sql}")
        try:
            found = self._connection.execute("SELECT type FROM pragma_table_info('asked')").fetchall()
        finally:
            self._connection.execute("DROP VIEW temp.asked")
        return [_KINDS.get(declaration.partition("(")[0].upper(), Kind.TEXT) for (declaration,) in found]

    def close(self) -> None:
        self._connection.close()


def _rows(cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
    with _advice():
        yield from cursor


@contextlib.contextmanager
def _advice() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SourceError(
            f"The embedded sample database cannot do this ({error}): correct QUERY_FILE, schema.sql or seed.sql."
        ) from error
