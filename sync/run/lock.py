"""One run at a time: a lock that dies with its process, however it dies."""

from __future__ import annotations

import fcntl
import os
from datetime import datetime
from pathlib import Path
from types import TracebackType

from sync.run.env_file import DEFAULT_SYNC


class LockedError(Exception):
    """Another run holds the lock; the message names its process and its start."""


def lock_path(state_file: Path, sync: str = DEFAULT_SYNC) -> Path:
    """The lock of a sync's runs over this state; that of the default sync is the one that version 1.0.0 knows.

    It lies beside the file itself: whoever comes by a symbolic link to it meets the same lock.
    """
    state_file = state_file.resolve()
    return state_file.with_name(f"{state_file.name}{'' if sync == DEFAULT_SYNC else f'.{sync}'}.lock")


class RunLock:
    """An advisory lock on `path`, held from entering to leaving the `with` block.

    The file stays: removing it would let two processes lock two files of one name. Raises LockedError at once when
    the lock is held, and OSError when the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> RunLock:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                error.filename = error.filename or str(self._path)  # a descriptor has no name
            raise
        self._file = descriptor
        return self

    @staticmethod
    def _take(descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode("utf-8", "replace").strip()
            raise LockedError(f"another run holds the lock: {holder or 'it has just started'}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}, started {datetime.now():%Y-%m-%d %H:%M:%S}\n".encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
