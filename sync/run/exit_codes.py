"""The exit codes, a promise to cron, to scripts and to the person on call; and which error ends a run with which.

The code of a run that came to its end (0, 1 or 3) follows from its counts: `Summary.code_of_counts` in summary.py.
"""

from __future__ import annotations

import enum

from sync.delivery.workers import NoThreadError
from sync.rows.export import ExportError
from sync.rows.masking import Masking
from sync.rows.source import SourceError, StatementError
from sync.run.env_file import UnreadableError
from sync.run.lock import LockedError
from sync.run.settings import SettingsError
from sync.run.signals import Interrupted
from sync.state.destinations import RefusedError
from sync.state.file import StateError


class ExitCode(enum.IntEnum):
    """Each code, with the README's sentence for it."""

    DONE = 0
    """done: everything pending was delivered (nothing to do is also done)"""
    STOPPED = 1
    """the run could not be done or was stopped (database, credentials, API down, disk), or nothing was accepted and
    more than one user failed"""
    USAGE = 2
    """wrong usage or settings, or columns that the query does not return (every problem is named)"""
    INCOMPLETE = 3
    """finished, but some users or events were newly rejected or failed, or a mass exit was held back"""
    LOCKED = 4
    """another run of this sync holds its lock (runs of different syncs do not block each other)"""
    HUNG_UP = 129
    """interrupted by SIGHUP (the terminal is gone): what was on its way was recorded, the rest is pending"""
    INTERRUPTED = 130
    """interrupted by SIGINT (Ctrl-C): what was on its way was recorded, the rest is pending"""
    TERMINATED = 143
    """interrupted by SIGTERM: what was on its way was recorded, the rest is pending"""


UNEXPECTED = "unexpected"
"""How the sentence of an unexpected error begins."""

NO_SECRETS = Masking()

_WRONG_USAGE = (RefusedError, SettingsError, StatementError, UnreadableError)
_STOPPING = (ExportError, NoThreadError, SourceError, StateError)


def exit_of(error: BaseException, masking: Masking = NO_SECRETS) -> tuple[int, str]:
    """The exit code of an error and its sentence; the only place where one becomes the other.

    An unexpected error has the words of others, from which `masking` removes the secrets.
    """
    if isinstance(error, Interrupted):
        return error.code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED, "interrupted by SIGINT"
    if isinstance(error, LockedError):
        return ExitCode.LOCKED, str(error)
    if isinstance(error, _WRONG_USAGE):
        return ExitCode.USAGE, str(error)
    if isinstance(error, _STOPPING):
        return ExitCode.STOPPED, str(error)
    if isinstance(error, OSError):
        remedy = "check the disk, the path, and the owner and mode of the file and its folder"
        return ExitCode.STOPPED, f"{error.filename or 'a file'}: {masking(error.strerror or str(error))}; {remedy}"
    return ExitCode.STOPPED, f"{UNEXPECTED} {type(error).__name__}: {masking(str(error))}"
