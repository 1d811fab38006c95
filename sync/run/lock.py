"""One run at a time: a lock that dies with its process, however it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

from sync.run.env_file import DEFAULT_SYNC
from sync.run.settings import Settings
from sync.state.file import State


class LockedError(Exception):
    """Another run holds the lock; the message names its process and its start."""


def lock_path(state_file: Path, sync: str = DEFAULT_SYNC) -> Path:
    """The lock of a sync's runs over this state. The default sync's lock has the name that 1.0.0 used, so that the two
    versions exclude each other.

    It is beside the file itself, so a run that reaches the file by a symbolic link meets the same lock.
    """
    state_file = state_file.resolve()
    return state_file.with_name(f"{state_file.name}{'' if sync == DEFAULT_SYNC else f'.{sync}'}.lock")


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold an advisory lock on `path` inside the block.

    The file stays: removing it would let two processes lock two files of one name. Raises LockedError at once when
    the lock is held, and OSError when the file cannot be made.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(200).strip() or "it has just started"
            raise LockedError(f"another run holds the lock: {holder}") from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error  # a descriptor has no name
        file.truncate()
        file.write(f"pid {os.getpid()}, started {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        file.flush()
        yield


@contextmanager
def locked_state(settings: Settings, give_up: Callable[[], bool]) -> Iterator[State]:
    """The state under the sync's lock, brought up to date under that of the default sync, which 1.0.0 knows too."""
    default = settings.sync_name == DEFAULT_SYNC
    alone: Callable[[], AbstractContextManager[object]] = (
        nullcontext if default else lambda: run_lock(lock_path(settings.state_file))
    )
    with (
        run_lock(lock_path(settings.state_file, settings.sync_name)),
        closing(State(settings.state_file, alone, give_up)) as state,
    ):
        yield state
