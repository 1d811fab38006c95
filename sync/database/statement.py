"""The text of a query: one statement, cut where its parameters stand."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sync.rows.source import SourceError, StatementError

_NAME_END = r"(?![0-9A-Za-z_$\u0080-\U0010ffff])"

_QUOTED = {
    True: r"""'[^'\\]*(?:\\.[^'\\]*)*(?:'|\\?\Z) | "[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)""",
    False: r"""'[^']*(?:'|\Z) | "[^"]*(?:"|\Z)""",
}
"""Texts in quotes, where a backslash escapes what follows and where it is a letter."""

_TOKENS = {
    backslash_escapes: re.compile(
        # A doubled quote needs no rule: it ends one quoted text and begins the next.
        rf"""(?P<quoted> {quoted} | `[^`]*(?:`|\Z) )
        | (?P<comment> \#[^\n]* | --(?=[\x00-\x20]|\Z)[^\n]* | /\*(?!M?!).*?(?:\*/|\Z) )
        | (?P<mark> /\*M?![0-9]* | \*/ )  # what stands between these is code to the server
        | :(?P<parameter> since_local | since ){_NAME_END}
        | (?P<end> ; )
        | (?P<space> \s+ )
        | (?P<code> . )
        """,
        re.VERBOSE | re.DOTALL,
    )
    for backslash_escapes, quoted in _QUOTED.items()
}

_IN_QUOTES = re.compile(rf"(?<!\w):(since_local|since){_NAME_END}", re.IGNORECASE)
"""A parameter as somebody writes it into quotes; `member:since` in a text or a column's name is none."""


@dataclass(frozen=True)
class Statement:
    """One SQL statement, cut where its parameters stand: text, parameter, text, ..., text."""

    pieces: tuple[str, ...]

    @property
    def parameters(self) -> frozenset[str]:
        """The parameters that the statement uses."""
        return frozenset(self.pieces[1::2])

    def render(self, text: Callable[[str], str], parameter: Callable[[str], str]) -> str:
        """The statement with both kinds of piece as a driver wants them."""
        return "".join(parameter(piece) if position % 2 else text(piece) for position, piece in enumerate(self.pieces))

    def for_mysql(self) -> str:
        """The statement for MySQL's driver, to which a percent sign begins a placeholder."""
        return self.render(lambda text: text.replace("%", "%%"), "%({})s".format)


def parse(sql: str, *, backslash_escapes: bool = True) -> Statement:
    """Find the parameters of *sql*, which must be one statement, where a server sees code.

    In quotes and comments `:since` is text. In `/*! ... */`, which MySQL executes, it is a parameter.
    *backslash_escapes* is false for SQLite and in MySQL's mode NO_BACKSLASH_ESCAPES.
    Raises SourceError, and StatementError for a parameter that is only in quotes.
    """
    pieces = [""]
    in_quotes: set[str] = set()
    ended = meaningful = False
    for token in _TOKENS[backslash_escapes].finditer(sql):
        kind = token.lastgroup
        if kind in ("quoted", "parameter", "code"):
            meaningful = True
            if ended:
                raise SourceError("The query holds more than one statement: leave one SELECT in QUERY_FILE.")
        ended |= kind == "end"
        if kind == "quoted":
            in_quotes |= {name.lower() for name in _IN_QUOTES.findall(token[0])}
        if kind == "parameter":
            pieces += [token["parameter"], ""]
        elif kind != "end":
            pieces[-1] += token[0]
    if not meaningful:
        raise SourceError("The query is empty: write one SELECT into the file that QUERY_FILE names.")
    _refuse_quoted(in_quotes - set(pieces[1::2]))
    return Statement(tuple(pieces))


def _refuse_quoted(names: set[str]) -> None:
    """A moment is compared with the text as if that were one, and then all rows are newer, or none."""
    if names:
        told = " and ".join(f":{name}" for name in sorted(names))
        raise StatementError(
            f"QUERY_FILE has {told} only inside quotes, where it is a text and not a moment: write it without them."
        )


def bound_values(since: datetime, since_local: datetime) -> dict[str, str]:
    """The parameters as a TIMESTAMP or DATETIME column compares with them, in whole seconds."""
    if since.tzinfo is None or since_local.tzinfo is not None:
        raise ValueError("since is an aware time, since_local a naive one")
    in_utc = since.astimezone(UTC).replace(tzinfo=None)
    return {"since": in_utc.isoformat(" ", "seconds"), "since_local": since_local.isoformat(" ", "seconds")}
