"""The metrics file: where it is, whose it is, and its replacement in one step."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from errno import EEXIST
from pathlib import Path

LARGEST = 1_000_000
"""Bytes that are looked at: a file of ours has a few thousand."""

_OURS = re.compile("^iterable_sync_", re.MULTILINE)
_VALUE = r'"(?:[^"\\\n]|\\.)*"'
_SYNC = re.compile(rf'^iterable_sync_\w+\{{(?:\w+={_VALUE},)*?sync="([^"]*)"', re.MULTILINE)
_SUCCESS = re.compile(rf"^iterable_sync_last_success_timestamp_seconds\{{(?:\w+={_VALUE},?)*\}} (\S+)$", re.MULTILINE)


def metrics_path(path: Path, sync: str) -> Path:
    """The file itself: in a folder, which holds one for each sync, it is named after the sync."""
    return path / f"iterable_sync_{sync}.prom" if os.path.isdir(path) else path  # noqa: PTH112 - it never raises


def metrics_problems(path: Path, sync: str) -> Iterator[str]:
    """Why a run cannot write its metrics there, a sentence each."""
    file = metrics_path(path, sync)
    if not os.path.isdir(file.parent):  # noqa: PTH112
        yield f"METRICS_FILE: there is no folder {file.parent} that may be entered"
    other = next((name for name in _SYNC.findall(_text_of(file)) if name != sync), None)
    if other is not None:
        yield (
            f"METRICS_FILE {file} holds the series of the sync {other}, and this is {sync}: name a folder, in which "
            "each sync has its own file"
        )


def may_be_replaced(path: Path) -> bool:
    """Whether it is a file of metrics, however damaged, or an empty one, or none at all."""
    if not os.path.exists(path):  # noqa: PTH110 - it never raises
        return True
    return os.path.isfile(path) and (not os.path.getsize(path) or bool(_OURS.search(_text_of(path))))  # noqa: PTH113, PTH202


def last_success_in(path: Path) -> float:
    """The moment of the last success that the file tells of, in Unix seconds; 0 for none that can be read."""
    return next(filter(None, map(_moment, _SUCCESS.findall(_text_of(path)))), 0.0)


def _moment(text: str) -> float:
    with suppress(ValueError):
        return moment if math.isfinite(moment := float(text)) and moment > 0 else 0.0
    return 0.0


def replace_file(path: Path, text: bytes) -> None:
    """Put this text in place of the file, readable by everybody; raises OSError, and then the old one stays.

    A link leads to the file that is replaced. Until then the text has a name that no collector reads.
    """
    path = path.resolve()
    if not may_be_replaced(path):
        raise FileExistsError(EEXIST, "it is a file of somebody else's by now", str(path))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # whatever the umask of a cron job is
            file.write(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _text_of(path: Path) -> str:
    """What can be read of the file, from its beginning: nobody knows whose it is, and how large."""
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return file.read(LARGEST).decode("utf-8", "replace")
    return ""
