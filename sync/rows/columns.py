"""What the database says of a result's columns: the words that db.py and this room share."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

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
    UNKNOWN = "unknown"  # no metadata: the Python type of each value decides


class Column(NamedTuple):
    """One column of a result."""

    name: str
    kind: Kind


def listed(names: Iterable[str]) -> str:
    """Names of columns as a message lists them, each in quotes: that of an expression may hold commas and lines."""
    return ", ".join(map(repr, names))
