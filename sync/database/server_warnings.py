"""What a server's warnings make of a result that it gave: a part of one, or of another window than was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from sync.database.server_errors import one_line

_CUT: Final = frozenset(
    {
        1260,  # by GROUP_CONCAT and its like
        1264,  # a number out of range: the nearest that fits is given instead
        1265,  # a text that did not fit
        1301,  # longer than max_allowed_packet: NULL is given instead
        1406,
        1931,  # LIMIT ROWS EXAMINED: rows are missing
        1969,  # a statement in a MariaDB procedure was stopped, and the procedure went on
    }
)
"""The warnings by which a server says that it gave a part of a value, or of the rows, and went on."""

_TAKEN_FOR_A_NUMBER: Final = 1292
_NUMBER: Final = re.compile(r"\b(?:double|decimal|integer)\b", re.IGNORECASE)
"""In the server's language, but for these words; with another one there the same warning is about a date."""


def summed_up(warnings: Iterable[tuple[str, int, str]]) -> list[tuple[int, str]]:
    """The rows of SHOW WARNINGS without mere notes: the number of each kind, and its first text with a count.

    >>> summed_up([("Warning", 1260, "Row 1 was cut"), ("Note", 1105, "x"), ("Warning", 1260, "Row 7 was cut")])
    [(1260, 'Row 1 was cut (and 1 more)')]
    """
    texts: dict[int, list[str]] = {}
    for level, number, text in warnings:
        if level != "Note":
            texts.setdefault(number, []).append(text)
    return [(number, _first_and_count(said)) for number, said in texts.items()]


def _first_and_count(texts: list[str]) -> str:
    first = one_line(texts[0])
    return f"{first} (and {len(texts) - 1:,} more)" if len(texts) > 1 else first


def cut_sentence(warnings: Iterable[tuple[int, str]], at: str) -> str:
    """The sentence for a result that its warnings make unusable; empty when it can be used."""
    cuts = "; ".join(said for number, said in warnings if number in _CUT)
    remedy = "correct QUERY_FILE, or raise the limit there"
    return f"{at} gave only a part of the result ({cuts}): {remedy}." if cuts else ""


def window_sentence(warnings: Iterable[tuple[str, int, str]], window: Iterable[str], at: str) -> str:
    """The sentence for a window that was compared with a number, and so with 2026 or the like; empty for any other.

    *window* holds its start, as it was bound; *warnings* are the rows of SHOW WARNINGS.

    >>> said = "Truncated incorrect DOUBLE value: '2026-01-06 12:00:00'"
    >>> window_sentence([("Warning", 1292, said)], ["2026-01-06 12:00:00"], "db:3306")[:79]
    'db:3306 compared the start of the window, 2026-01-06 12:00:00, with a number, s'
    """
    numbers = [said for _level, number, said in warnings if number == _TAKEN_FOR_A_NUMBER and _NUMBER.search(said)]
    for start in window:
        if any(f"'{start}'" in said for said in numbers):
            return (
                f"{at} compared the start of the window, {start}, with a number, so it is not the window that was "
                "meant: where the column holds Unix seconds, write UNIX_TIMESTAMP(:since) in QUERY_FILE."
            )
    return ""
