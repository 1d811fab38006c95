"""The SQL of this package: the tables of the state file, and the statements that stand in files of their own."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

APPLICATION_ID: Final = 0x49744D79

VERSION: Final = 10
RELEASED_BEFORE: Final = 1
"""The schema of version 1.0.0. Those in between were never released."""


@cache
def script(name: str) -> Mapping[str, Sequence[str]]:
    """The statements of `name`.sql, by the section that they are in; those before the first one under ""."""
    text = Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
    first, *sections = re.split(r"^-- # ", text, flags=re.MULTILINE)
    titled = dict(section.split("\n", 1) for section in sections)
    return {title: list(_statements(part)) for title, part in {"": first, **titled}.items()}


def _statements(text: str) -> Iterator[str]:
    """The statements one by one: `executescript` would commit the transaction first."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def version_of(db: sqlite3.Connection) -> int:
    """The version of the schema in the file; 0 for one that is empty."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def bring_up_to_date(db: sqlite3.Connection) -> None:
    """Make the tables, out of those of 1.0.0 if there are any; in a transaction that the caller began."""
    version = version_of(db)  # another process may have done it meanwhile
    if version < VERSION:
        step = script("from_1_0_0") if version else {"before": (), "after": ()}
        for statement in (*step["before"], *script("schema")[""], *step["after"]):
            db.execute(statement)
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={VERSION}")
