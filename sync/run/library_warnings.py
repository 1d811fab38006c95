"""What libraries warn of, such as versions that do not fit each other: kept for the log.

Python prints it on standard error, whatever the run does; cron would mail it after every run that went well.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sync.rows.masking import Masking

logger = logging.getLogger("main")

_kept: list[str] = []


def keep_warnings() -> None:
    """Keep what is warned of from here on, as while libraries are loaded."""
    warnings.showwarning = _keep


@contextmanager
def kept_warnings() -> Iterator[None]:
    """Keep what is warned of inside the block; what no log took by its end is printed."""
    before = warnings.showwarning
    keep_warnings()
    try:
        yield
    finally:
        warnings.showwarning = before
        for sentence in take_warnings():
            sys.stderr.write(f"{sentence}\n")


def take_warnings() -> list[str]:
    """What was warned of since the last call, a sentence each."""
    taken = _kept.copy()
    _kept.clear()
    return taken


def log_library_warnings(masking: Masking) -> None:
    """Put what was warned of since the last call into the log, without secrets."""
    for sentence in take_warnings():
        logger.warning("%s", masking(sentence))


def _keep(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - the names and the place are those of `warnings.showwarning`
    line: str | None = None,  # noqa: ARG001
) -> None:
    words = " ".join(str(message).split())
    _kept.append(f"A library warns: {words} ({category.__name__}, {'/'.join(Path(filename).parts[-2:])}:{lineno})")
