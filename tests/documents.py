"""The documents as tests read them: their pages, tables and code spans, and whether the program says a sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "TROUBLESHOOTING.md", *sorted(f"docs/{path.name}" for path in HOME.glob("docs/*.md"))]
"""What a user reads."""


def document(name: str) -> str:
    """The text of a document; without it there is nothing to test, so that fails."""
    return (HOME / name).read_text(encoding="utf-8")


def table(text: str, *header: str) -> list[list[str]]:
    """The cells of all tables in Markdown whose first line is this one."""
    rows: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if tuple(cells) == header:
            inside = True
        elif not cells:
            inside = False
        elif inside and not set("".join(cells)) <= set("-:"):
            rows.append(cells)
    assert rows, f"there is no table headed | {' | '.join(header)} |"
    return rows


def spans(cell: str) -> list[str]:
    """The code spans of a cell."""
    return re.findall(r"`([^`]+)`", cell)


@cache
def literals() -> tuple[str, ...]:
    """All texts in the program's sources, docstrings left out; what is filled in later stands there as `%s`."""
    found: list[str] = []
    for path in sorted([*HOME.glob("*.py"), *HOME.glob("sync/**/*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        within = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "%s" for part in node.values))  # type: ignore[misc]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in within:
                found.append(node.value)
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                within.add(id(node.value))  # a docstring: its constant comes later in the walk
    return tuple(re.sub(r"%[-+ #0]*[\d.]*[sdrfg]", "%s", text) for text in found)


def program_says(sentence: str) -> bool:
    """Whether a line of the program may hold the sentence: in one literal, or with values filled in."""
    asked = sentence.split()
    return any(sentence in text for text in literals()) or any(_filled_in(words, asked) for words in templates())


@cache
def templates() -> tuple[list[str], ...]:
    """The words of each text into which something is filled."""
    return tuple(text.split() for text in literals() if "%s" in text)


def _filled_in(words: Sequence[str], asked: Sequence[str]) -> bool:
    """At least half of the words are the program's own, and two in a row; the others are filled in."""
    for start in range(len(words) - len(asked) + 1):
        pairs = list(zip(words[start : start + len(asked)], asked, strict=True))
        own = ["%s" not in word for word, _ in pairs]
        if sum(own) * 2 >= len(asked) > 1 and (True, True) in pairwise(own) and _all_fit(pairs):
            return True
    return False


def _all_fit(pairs: Sequence[tuple[str, str]]) -> bool:
    patterns = [(re.escape(word).replace("%s", ".*"), asked) for word, asked in pairs]
    return all(re.fullmatch(pattern, asked) for pattern, asked in patterns)
