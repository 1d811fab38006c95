"""The env file: its assignments, the name of the sync that it describes, and names that were meant to be settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

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


def _text_of(path: Path, problems: list[str]) -> str:
    """What the file holds; nothing when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"it is not in UTF-8 ({error}); save it in UTF-8"
    except OSError as error:
        reason = str(error)
    else:
        if "\0" not in text:
            return text
        reason = "it holds zero bytes, as UTF-16 does; save it in UTF-8"
    problems.append(f"{path} cannot be read: {reason}")
    return ""


def read_env_file(path: Path, problems: list[str]) -> dict[str, str]:
    """The assignments of the file; of two of one name the last counts. It is read once, so it may be a pipe."""
    given: dict[str, str] = {}
    open_quote = ""
    for number, line in enumerate(_text_of(path, problems).split("\n"), 1):
        assignment = _ASSIGNMENT.fullmatch(line)
        if assignment:
            name, value = assignment.groups()
            open_quote = _opened_and_not_closed(value)
            if open_quote:
                problems.append(f"line {number} of {path} opens a quote and does not end with it")
            else:
                given[name] = _as_it_is(value)
        elif open_quote:  # the rest of a value that went on, which has been told
            open_quote = "" if line.rstrip().endswith(open_quote) else open_quote
        elif line.strip() and not line.lstrip().startswith("#"):
            problems.append(f"line {number} of {path} is not NAME=value")
    return given


_ASSIGNMENT: Final = re.compile(r"\s*(?:export\s+)?([^\s=#'\"]+)\s*=(.*)")
_QUOTED: Final = re.compile(r"""\s*(?:'(.*?)'|"(.*?)")\s*(?:(?<=\s)\#.*)?""", re.VERBOSE)
_COMMENT: Final = re.compile(r"\s+#.*")


def _opened_and_not_closed(value: str) -> str:
    """The quote that a value begins with, if no such quote ends it."""
    first = value.strip()[:1]
    return first if first and first in "'\"" and not _QUOTED.fullmatch(value) else ""


def _as_it_is(value: str) -> str:
    """The value without the quotes or the comment around it: no `$` expansion, no backslash escapes.

    A quote ends where nothing but a comment follows, so that it may stand in the value too.

    >>> [_as_it_is(value) for value in (' a$b#c # note', ' "a\\tb" # note', "'it's'", '', ' # note')]
    ['a$b#c', 'a\\tb', "it's", '', '']
    """
    if quoted := _QUOTED.fullmatch(value):
        return quoted[1] if quoted[1] is not None else quoted[2]
    return _COMMENT.sub("", value).strip()


# -- values of the environment -------------------------------------------------------------------------------------

_MAY_BE_QUOTED: Final = ("DB_PASSWORD",)
"""What may begin and end with a quote and mean it."""


def as_meant(outside: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The settings of the environment; what others put into a value on its way there is a problem, and left out.

    >>> as_meant({"EVENT_NAME": '"page_view"', "DB_PASSWORD": "s3cret\\n", "DB_PORT": "tcp://10.3.2.1:3306"}, [])
    {'EVENT_NAME': 'page_view', 'DB_PASSWORD': 's3cret'}
    """
    given = dict(outside)
    for name, value in outside.items():
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and name not in _MAY_BE_QUOTED:
            given[name] = value[1:-1]
            problems.append(
                f"{name} in the environment begins and ends with a quote, which is part of the value there: leave the "
                "quotes out where it is set (docker run --env-file keeps them)"
            )
        elif name.endswith("PASSWORD") and value.endswith(("\n", "\r")):
            given[name] = value.rstrip("\r\n")
            problems.append(
                f"{name} in the environment ends with a line break, which is part of the value there: make it without "
                "one (printf %s or echo -n, and no carriage returns in the file it comes from)"
            )
        elif name.endswith("_PORT") and value.startswith("tcp://"):
            del given[name]
            problems.append(
                f"{name} in the environment is {value!r}, which Kubernetes sets for a service of that name and which "
                f"wins over the env file: set {name} there yourself, or enableServiceLinks: false"
            )
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
