"""The env file: its assignments, the name of the sync that it describes, and names that were meant to be settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path

from dotenv.parser import Binding, parse_stream

DEFAULT_SYNC = "default"

SYNC_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class UnreadableError(Exception):
    """A text file cannot be read; one sentence that says which and why."""


def sync_name_of(env_file: Path | None, standard: Path) -> str | None:
    """The name that the file gives its sync: `orders` for `orders.env` and `.env.orders`; None if a setting must.

    `standard` is the file that is read unless another is named. That file, under whatever name, and no file at all
    describe the default sync.
    """
    if env_file is None or env_file == Path(os.devnull) or (standard.exists() and env_file.samefile(standard)):
        return DEFAULT_SYNC
    name = env_file.name
    found = name.removeprefix(".env.") if name.startswith(".env.") else name.removesuffix(".env")
    return found if found not in {"", name} and SYNC_NAME.fullmatch(found) else None


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte order mark; raises UnreadableError."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{path} cannot be read: it is not UTF-8 ({error}); save it as UTF-8") from error
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
    if "\0" in text:
        raise UnreadableError(f"{path} cannot be read: it contains NUL bytes, as UTF-16 does; save it as UTF-8")
    return text


def read_env_file(path: Path) -> tuple[dict[str, str], list[str]]:
    """The value of each name in the file, and a sentence for each line that cannot be right.

    The file is read once, so that it may be a pipe; raises UnreadableError. There is no `$` expansion.
    """
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems: list[str] = []
    for binding in parse_stream(StringIO(read_text(path))):
        written = binding.original.string
        number = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        if fault := _fault(binding, written.strip()):
            problems.append(f"line {number} of {path} {fault}")
        elif (name := binding.key) and (value := binding.value) is not None:
            if values.get(name, value) != value:
                twice = f"lines {lines[name]} and {number} of {path} give {name} two values"
                problems.append(f"{twice}: leave one of them out")
            values[name], lines[name] = value, number
    return values, problems


def _fault(binding: Binding, written: str) -> str:
    """Why this line cannot be right as it is. Nothing of it is repeated, because it may contain a secret."""
    value = written.partition("=")[2].strip()
    if (binding.error or binding.key) and (("\n" in written) or (binding.error and value[:1] in {"'", '"'})):
        return (
            "opens a quote that is not closed at the end of the line; inside quotes, write \\' or \\\" for a quote and "
            "\\\\ for a backslash"
        )
    if binding.error or (binding.key is not None and binding.value is None):
        return "is not NAME=value"
    if binding.key is not None and value.startswith("#"):
        return (
            "has a # straight after the =: put a value that begins with # in quotes, and a comment on a line of its own"
        )
    return ""


# -- names that were meant to be settings ----------------------------------------------------------------------

OUR_PREFIXES = ("ITERABLE_", "SEGMENT_")
"""The beginnings of names that no other program uses."""

NEAR = 2
"""The most letters that may be wrong, missing or extra in a name that was still meant to be the setting."""


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
