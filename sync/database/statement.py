"""The text of a query: where its parameters stand in it, and what is bound to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sync.rows.source import StatementError

_NAME_END = r"(?=[\x00-\x23%-/:-@\[-^`{-\x7f]|\Z)"
"""No letter, digit, `_`, `$` or character outside ASCII follows; Python compiles the others faster."""

_QUOTED = {
    True: r"""'[^'\\]*(?:\\.[^'\\]*)*(?:'|\\?\Z) | "[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)""",
    False: r"""'[^']*(?:'|\Z) | "[^"]*(?:"|\Z)""",
}
"""Quoted texts: where a backslash escapes the next character, and where it is an ordinary character."""

_TOKENS = {
    backslash_escapes: re.compile(
        # A doubled quote needs no rule: it ends one quoted text and begins the next.
        rf"""(?P<quoted> {quoted} | `[^`]*(?:`|\Z) )
        | \#[^\n]* | --(?=[\x00-\x20]|\Z)[^\n]* | /\*(?!M?!).*?(?:\*/|\Z)  # comments; what is in /*! ... */ is code
        | :(?P<parameter> since_local | since ){_NAME_END}
        | %
        """,
        re.VERBOSE | re.DOTALL,
    )
    for backslash_escapes, quoted in _QUOTED.items()
}
"""What is not copied as it is, or in which nothing else is looked for."""

_IN_QUOTES = re.compile(rf"(?<!\w):(since_local|since){_NAME_END}", re.IGNORECASE)
"""A parameter that somebody wrote in quotes. `member:since` in a text or in a column's name is not one."""


@dataclass(frozen=True)
class Statement:
    """A query in Python's format style: `%(since)s` stands for a parameter, and `%%` for a percent sign."""

    text: str
    parameters: frozenset[str]


def parse(sql: str, *, backslash_escapes: bool = True) -> Statement:
    """Find the parameters in the code of *sql*.

    In quotes and comments `:since` is text. In `/*! ... */`, which MySQL executes, it is a parameter.
    *backslash_escapes* is false for SQLite and in MySQL's mode NO_BACKSLASH_ESCAPES.
    Raises StatementError for a parameter that is only in quotes.
    """
    parameters: set[str] = set()
    in_quotes: set[str] = set()

    def formatted(token: re.Match[str]) -> str:
        in_quotes.update(name.lower() for name in _IN_QUOTES.findall(token["quoted"] or ""))
        if not token["parameter"]:
            return token[0].replace("%", "%%")
        parameters.add(token["parameter"])
        return f"%({token['parameter']})s"

    text = _TOKENS[backslash_escapes].sub(formatted, sql)
    if only_in_quotes := in_quotes - parameters:  # it would be compared as a text: all rows are newer, or none
        told = " and ".join(f":{name}" for name in sorted(only_in_quotes))
        raise StatementError(
            f"QUERY_FILE has {told} only inside quotes, where it is plain text and not a time: remove the quotes."
        )
    return Statement(text, frozenset(parameters))


def bound_values(since: datetime, since_local: datetime) -> dict[str, str]:
    """The parameters as a TIMESTAMP or DATETIME column compares with them, in whole seconds."""
    in_utc = since.astimezone(UTC).replace(tzinfo=None)
    return {"since": in_utc.isoformat(" ", "seconds"), "since_local": since_local.isoformat(" ", "seconds")}
