"""What a database is to the rest of the program: a source of rows, and what it says of their columns."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

Row = dict[str, Any]
"""One row of the query: column name -> Python value, as the database driver gave it."""

Values = Sequence[Any]
"""One row of the query: its values, in the order of the columns."""


class Kind(enum.Enum):
    """The type of a column as the database's metadata states it, never guessed from a value."""

    BOOLEAN = "boolean"  # TINYINT(1), BIT(1)
    INTEGER = "integer"
    YEAR = "year"
    NUMBER = "number"  # DECIMAL, FLOAT, DOUBLE
    TEXT = "text"
    DATE = "date"  # a day; never shifted between time zones
    DATETIME = "datetime"  # a wall clock, in the zone of DB_TIMEZONE
    TIMESTAMP = "timestamp"  # a moment, given in UTC
    TIME = "time"
    JSON = "json"
    BINARY = "binary"


class Column(NamedTuple):
    """One column of a result."""

    name: str
    kind: Kind


def listed(names: Iterable[str]) -> str:
    """Names of columns for a message, each in quotes, because an expression may contain commas and line breaks."""
    return ", ".join(map(repr, names))


class SourceError(Exception):
    """What is wrong, with which server, and what to do next, in one sentence; never a password."""


class StatementError(SourceError):
    """The query cannot mean what it says. This is found out before the database is asked anything."""


class ResultSet:
    """The rows of one query, to be read once; `close` discards the unread ones.

    The columns are known before the first row. Their names may repeat, and then a dict cannot hold them all: check
    `columns` before reading.
    """

    def __init__(
        self, columns: Iterable[Column], rows: Iterable[Values], *, uses_since: bool, release: Callable[[], None]
    ) -> None:
        self.columns = tuple(columns)
        self.uses_since = uses_since
        """Whether the query uses `:since` or `:since_local`; without them, it has no window."""
        self._rows = rows
        self.close = release
        """Lets go of the rows that were not read."""

    def __iter__(self) -> Iterator[Row]:
        names = [column.name for column in self.columns]
        for row in self.values():
            yield dict(zip(names, row, strict=True))

    def values(self) -> Iterator[Values]:
        """The rows as their values, in the order of the columns."""
        try:
            yield from self._rows
        finally:
            self.close()

    def passed_through(self, step: Callable[[Iterator[Values]], Iterator[Values]]) -> ResultSet:
        """The same result, whose rows pass through `step` as they are read."""
        return ResultSet(self.columns, step(self.values()), uses_since=self.uses_since, release=self.close)


class Source(Protocol):
    """A database that answers the query."""

    @property
    def description(self) -> str:
        """Which database this is, for the log: `mysql://user@host:3306/database`."""

    @property
    def server(self) -> str:
        """What answered: `MariaDB 10.11.6, no TLS`."""

    @property
    def exposure(self) -> str:
        """What others could read or forge on the way to it, with the remedy, as a sentence; empty if nothing."""

    def query(self, sql: str, since: datetime, since_local: datetime, limit: int | None = None) -> ResultSet:
        """Run one SELECT; at most *limit* of its rows are read. One whose rows were left unread was the last.

        *since* is an aware time and is bound in UTC, *since_local* a wall clock and is bound as it is.
        """

    def close(self) -> None:
        """Disconnect. A second time does nothing."""
