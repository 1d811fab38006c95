"""The metrics file: where it is, whose it is, and its replacement in one step."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from errno import EEXIST
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

LARGEST = 1_000_000
"""Bytes that are looked at: a file of ours has a few thousand."""

_OURS = "iterable_sync_"


def metrics_path(path: Path, sync: str) -> Path:
    """The file itself: in a folder, which holds one for each sync, it is named after the sync."""
    return path / f"iterable_sync_{sync}.prom" if os.path.isdir(path) else path  # noqa: PTH112 - it never raises


def metrics_problems(path: Path, sync: str) -> Iterator[str]:
    """Why a run cannot write its metrics there, a sentence each."""
    file = metrics_path(path, sync)
    if not os.path.isdir(file.parent):  # noqa: PTH112
        yield f"METRICS_FILE: there is no folder {file.parent} that may be entered"
    others = (sample.labels.get("sync", sync) for sample in _samples_in(file) if sample.name.startswith(_OURS))
    if other := next((name for name in others if name != sync), ""):
        yield (
            f"METRICS_FILE {file} holds the series of the sync {other}, and this is {sync}: name a folder, in which "
            "each sync has its own file"
        )


def may_be_replaced(path: Path) -> bool:
    """Whether it is a file of metrics, however damaged, or an empty one, or none at all."""
    if not os.path.exists(path):  # noqa: PTH110 - it never raises
        return True
    is_empty = os.path.isfile(path) and not os.path.getsize(path)  # noqa: PTH113, PTH202
    return is_empty or any(line.startswith(_OURS) for line in _lines_of(path))


def last_success_in(path: Path) -> float:
    """The moment of the last success that the file tells of, in Unix seconds; 0 for none that can be read."""
    values = (sample.value for sample in _samples_in(path) if sample.name == f"{_OURS}last_success_timestamp_seconds")
    return next((value for value in values if math.isfinite(value) and value > 0), 0.0)


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


def _samples_in(path: Path) -> Iterator[Sample]:
    """The samples of the lines that can be read, one line at a time, for the parser gives up at a damaged one."""
    for line in _lines_of(path):
        samples: list[Sample] = []
        with suppress(Exception):  # it raises whatever its code meets
            samples = [sample for family in text_string_to_metric_families(f"{line}\n") for sample in family.samples]
        yield from samples


def _lines_of(path: Path) -> list[str]:
    """What can be read of the file, from its beginning: nobody knows whose it is, and how large."""
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return file.read(LARGEST).decode("utf-8", "replace").split("\n")
    return []
