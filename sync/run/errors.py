"""What an error means for a run: its exit code and its sentence."""

from __future__ import annotations

from errno import ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP

from sync.delivery.workers import NoThreadError
from sync.rows.export import ExportError
from sync.rows.masking import Masking
from sync.rows.source import SourceError, StatementError
from sync.run.connections import ColumnsError, UsageError
from sync.run.env_file import UnreadableError
from sync.run.exit_codes import ExitCode
from sync.run.lock import LockedError
from sync.run.signals import Interrupted
from sync.state.destinations import RefusedError
from sync.state.file import StateError

UNEXPECTED = "unexpected"
"""How the sentence of an error begins that nobody foresaw."""


NO_SECRETS = Masking()

_NO_LOCKS = frozenset({ENOLCK, ENOTSUP, EOPNOTSUPP, ENOSYS})


class LogError(Exception):
    """The log cannot be written."""


_CODES: tuple[tuple[tuple[type[BaseException], ...], ExitCode], ...] = (
    ((KeyboardInterrupt,), ExitCode.INTERRUPTED),
    ((LockedError,), ExitCode.LOCKED),
    ((ColumnsError, RefusedError, StatementError, UnreadableError, UsageError), ExitCode.USAGE),
    ((SourceError, StateError, LogError, NoThreadError, OSError), ExitCode.STOPPED),
)
"""Which error ends a run with which exit code; whatever is not here was foreseen by nobody, and stops it too."""


def exit_of(error: BaseException, masking: Masking = NO_SECRETS) -> tuple[int, str]:
    """The exit code of an error and its sentence; the only place where one becomes the other.

    What nobody foresaw has the words of others, which `masking` takes the secrets out of.
    """
    if isinstance(error, Interrupted):
        return error.code, str(error)
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return code, _sentence(error, masking)
    return ExitCode.STOPPED, f"{UNEXPECTED} {type(error).__name__}: {masking(str(error))}"


def _sentence(error: BaseException, masking: Masking) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by SIGINT"
    if isinstance(error, OSError) and not isinstance(error, ExportError):
        return f"{error.filename or 'a file'}: {masking(error.strerror or str(error))}; {_remedy(error)}"
    return str(error)


def _remedy(error: OSError) -> str:
    """What to do about a file that the system refuses."""
    if isinstance(error, PermissionError):
        return "check the owner and mode of it and its folder: what a run by another user made is that user's alone"
    if error.errno in _NO_LOCKS:
        return "this file system has no locks, which keep two runs apart: put STATE_FILE on a local disk"
    return "check the disk and the path"
