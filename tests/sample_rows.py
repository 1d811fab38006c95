"""People and their page views, as rows in memory. Imports nothing that is slow to load: processes start with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sync.rows.source import Column, Kind, ResultSet, Row, SourceError

T0 = datetime(2026, 1, 6, 12, 0, 0)
COLUMNS = (
    Column("id", Kind.INTEGER),
    *(Column(name, Kind.TEXT) for name in ("email", "first_name", "last_name", "plan_type", "candidate")),
    *(Column(name, Kind.TEXT) for name in ("page", "device", "browser", "location")),
    Column("event_time", Kind.TIMESTAMP),
)


def person(number: int, **changes: Any) -> Row:
    """The row of user number *number*, whose view is *number* seconds after T0; *changes* replace columns."""
    return {
        "id": number,
        "email": address(number),
        "first_name": f"Name {number}",
        "last_name": "Test",
        "plan_type": "pro",
        "candidate": None,
        "page": "pricing",
        "device": "desktop",
        "browser": "Firefox",
        "location": "Berlin",
        "event_time": T0 + timedelta(seconds=number),
        **changes,
    }


def people(count: int) -> list[Row]:
    """Users 1 to *count*."""
    return [person(number) for number in range(1, count + 1)]


def address(number: int) -> str:
    """The address of user number *number*."""
    return f"user{number}@example.com"


class Rows:
    """A Source on a list; *breaks_after* rows the database goes away."""

    description = "memory://rows"
    server = "a list"
    exposure = ""

    def __init__(
        self, rows: Sequence[Row], columns: Sequence[Column] = COLUMNS, breaks_after: int | None = None
    ) -> None:
        self._rows, self._columns, self._breaks_after = rows, columns, breaks_after

    def query(self, sql: str, since: datetime, since_local: datetime, limit: int | None = None) -> ResultSet:
        """All rows, whatever is asked for."""
        del sql, since, since_local
        rows = islice(self._values(), limit)
        return ResultSet(self._columns, rows, uses_since=True, release=lambda: None)

    def _values(self) -> Iterator[Sequence[Any]]:
        for number, row in enumerate(self._rows):
            if number == self._breaks_after:
                raise SourceError("The connection to memory was lost: see whether it is up, and run again.")
            yield [row[column.name] for column in self._columns]

    def close(self) -> None:
        """Nothing is open."""
