"""What the system allows this process: how many files and connections it may have open at once."""

from __future__ import annotations

import logging
import resource
from contextlib import suppress

logger = logging.getLogger("main")

BESIDE = 40
"""Files of a run beside its connections: the state with its logs, the locks, the log, SQLite's temporary files."""

EACH = 2
"""Files of a worker: its connection, and while that is made the certificates or a question to a name server."""


def affordable(workers: int) -> int:
    """How many of these workers can have their connections open at once; the limit is raised as far as is allowed.

    Beyond the limit every connection fails, and so does whatever else opens a file.
    """
    allowed = _allowed(workers * EACH + BESIDE)
    fitting = max(1, (allowed - BESIDE) // EACH)
    if fitting >= workers:
        return workers
    logger.warning(
        "This process may open no more than %d files, so %d of %d WORKERS are started: raise the limit (ulimit -n, "
        "LimitNOFILE=), or lower WORKERS",
        allowed,
        fitting,
        workers,
    )
    return fitting


def _allowed(wanted: int) -> int:
    """The limit, after it was raised to what is wanted or to the most that may be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < wanted:  # no limit at all is a negative number
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft >= 0 else wanted
