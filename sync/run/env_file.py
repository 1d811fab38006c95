"""The env file: its assignments, taken as they are, the name of the sync that it describes, and names that were meant to be settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

DEFAULT_SYNC = "default"
SYNC_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def sync_name_of(env_file: Path | None, standard: Path) -> str | None:
    """The name that the file gives its sync: `orders` for `orders.env` and `.env.orders`; None when it has to be said.

    `standard` is the file that is read unless another is named; it and no file at all describe the default sync.
    """
    if env_file is None or env_file == Path(os.devnull) or env_file.absolute() == standard:
        return DEFAULT_SYNC
    name = env_file.name
    found = name.removeprefix(".env.") if name.startswith(".env.") else name.removesuffix(".env")
    return found if found not in {"", name} and SYNC_NAME.fullmatch(found) else None


def read_env_file(path: Path, problems: list[str]) -> dict[str, str]:
    """The assignments of the file: no `$` expansion. It is read once, so it may be a pipe; problems are appended."""
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path} cannot be read: {error}")
        return {}
    given: dict[str, str] = {}
    for binding in bindings:
        text = binding.original.string
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error or (binding.key and binding.value is None):
            problems.append(f"line {line} of {path} is not NAME=value")
        elif "\n" in text.strip():
            problems.append(f"line {line} of {path} opens a quote that ends on another line")
        elif binding.key:
            given[binding.key] = binding.value or ""
    return given


# -- names that were meant to be settings ----------------------------------------------------------------------

OUR_PREFIXES = ("ITERABLE_", "SEGMENT_")
"""How no other program's names begin."""

NEAR = 2
"""So many letters may be wrong, missing or too many, and the setting is still meant."""


def misspelt(names: Iterable[str], settings: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each name that is no setting and was probably meant to be one, with that setting.

    >>> list(misspelt(["SEGMENT_FEILD", "db_host", "ITERABLE_KEY", "AWS_REGION"],
    ...               ["DB_HOST", "ITERABLE_API_KEY", "SEGMENT_FIELD"]))
    [('SEGMENT_FEILD', 'SEGMENT_FIELD'), ('db_host', 'DB_HOST'), ('ITERABLE_KEY', 'ITERABLE_API_KEY')]
    """
    for name in names:
        if name not in settings and (setting := _meant(name.upper(), settings)):
            yield name, setting


def _meant(name: str, settings: Sequence[str]) -> str | None:
    nearest = min(settings, key=lambda setting: _edits(name, setting))
    if _edits(name, nearest) <= NEAR:
        return nearest
    words = set(name.split("_"))
    for prefix in OUR_PREFIXES:
        if name.startswith(prefix):
            ours = [setting for setting in settings if setting.startswith(prefix)]
            return min(ours, key=lambda setting: (-len(words & set(setting.split("_"))), _edits(name, setting)))
    return None


def _edits(one: str, other: str) -> int:
    """How many letters have to be changed, added or left out to make one of the other (Levenshtein's distance)."""
    row = list(range(len(other) + 1))
    for position, letter in enumerate(one, 1):
        before, row = row, [position]
        for column, (diagonal, above) in enumerate(pairwise(before)):
            row.append(min(above + 1, row[-1] + 1, diagonal + (letter != other[column])))
    return row[-1]
