"""The places of a package where its code can be broken, and how: Python and SQL."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

SQL = [
    ("<=", "<"),
    (">=", ">"),
    ("(?<= )<(?= )", "<="),
    ("(?<= )>(?= )", ">="),
    ("<>", "="),
    (r"(\b(?:WHERE|AND) [\w.]+) =", r"\1 <>"),
    (r"\bAND\b", "OR"),
    (r"(?<!INSERT )(?<!UPDATE )\bOR\b", "AND"),
    (r"\bNOT EXISTS\b", "EXISTS"),
    (r"\bIS NOT NULL\b", "IS NULL"),
    (r"\bIS NULL\b", "IS NOT NULL"),
    (r"\bAND [\w.]+ (?:=|<>|<|>|<=|>=) :?[\w.]+", ""),
    (r"\bAND [\w.]+ IS (?:NOT )?NULL", ""),
    (r" DESC\b", ""),
    (r"\bMAX\b", "MIN"),
    (r"\bMIN\b", "MAX"),
]
"""How SQL is broken: an expression, and what stands there instead."""

OPERATORS = {
    name: OperatorProvider()[name]()
    for name in OperatorProvider()
    if not OperatorProvider()[name].arguments() and name != "ExceptionReplacer"
}
"""How Python is broken."""


@dataclass(frozen=True)
class Mutant:
    """A place, the line that stands there, how it is broken, and the whole text of its file then."""

    package: str
    file: str
    line: int
    code: str
    what: str
    text: Callable[[], str]


def places(package: str) -> Iterator[list[Mutant]]:
    """Every place of a package, with the ways to break it."""
    for path in sorted(Path("sync", package).glob("*.*")):
        found = defaultdict(list)
        for mutant in of_python(package, path) if path.suffix == ".py" else of_sql(package, path):
            found[mutant.line, mutant.what.split(":")[0]].append(mutant)
        yield from found.values()


def of_sql(package: str, path: Path) -> Iterator[Mutant]:
    """The ways to break a file of SQL."""
    text = path.read_text("utf-8")
    code = re.sub("--.*", lambda found: " " * len(found[0]), text)
    yield from _turned_round(package, path, text, code, 0)


def _turned_round(package: str, path: Path, text: str, code: str, start: int) -> Iterator[Mutant]:
    for pattern, instead in SQL:
        for found in re.finditer(pattern, code):
            yield _cut(package, path, text, start + found.start(), start + found.end(), found.expand(instead))


def _cut(package: str, path: Path, text: str, at: int, end: int, instead: str) -> Mutant:
    """Something else stands there."""
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    what = f"{column}: {' '.join(text[at:end].split())} -> {' '.join(instead.split())}"
    code = text.splitlines()[line - 1].strip()
    return Mutant(package, str(path), line, code, what, lambda: text[:at] + instead + text[end:])


def of_python(package: str, path: Path) -> Iterator[Mutant]:
    """The ways to break a file of Python."""
    text = path.read_text("utf-8")
    lines = text.splitlines()
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    silent = list(_silent(ast.parse(text)))
    counts = Counter[str]()
    for node in ast_nodes(parso.parse(text)):  # type: ignore[no-untyped-call]
        at, end = (starts[line - 1] + column for line, column in (node.start_pos, node.end_pos))
        is_silent = any(first <= node.start_pos < last for first, last in silent)
        for name, operator in OPERATORS.items():
            for start, _ in operator.mutation_positions(node):
                if not any(first <= start < last for first, last in silent):
                    made = partial(mutate_code, text, operator, counts[name])
                    code = lines[start[0] - 1].strip()
                    yield Mutant(package, str(path), start[0], code, f"{start[1] + 1}: {name}", made)
                counts[name] += 1
        if is_silent:
            continue
        if node.type in ("string", "fstring_string") and re.search("SELECT|UPDATE|DELETE|WHERE", node.value):
            yield from _turned_round(package, path, text, node.value, at)
        if node.parent is not None and node.parent.type == "simple_stmt" and _can_be_left_out(node):
            yield _cut(package, path, text, at, end, "pass")


def _can_be_left_out(node: Any) -> bool:
    """A call, or an assignment that is not a name's first: without that, nothing would run."""
    if node.type != "expr_stmt":
        return bool(node.type == "atom_expr")
    return node.children[0].type != "name" or getattr(node.children[1], "value", "=") != "="


def _silent(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """What is never executed: annotations, docstrings, imports."""
    node: Any
    for node in ast.walk(tree):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if part is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if text or isinstance(node, ast.Import | ast.ImportFrom):
            yield (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def sample(packages: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """As many places from each package, in an order in which every beginning is a sample too.

    A place is chosen for its own text: the sample is nearly the same after a change of the code elsewhere.
    """

    def chance(mutant: Mutant, what: str) -> bytes:
        return blake2b(f"{seed} {mutant.file} {mutant.code} {what}".encode()).digest()

    chosen = []
    for number, package in enumerate(packages):
        share = count // len(packages) + (number < count % len(packages))
        one_way = (min(ways, key=lambda way: chance(way, way.what)) for ways in places(package))
        chosen.append(sorted(one_way, key=lambda place: chance(place, place.what.split(":")[0]))[:share])
    return [mutant for row in zip_longest(*chosen) for mutant in row if mutant is not None]
