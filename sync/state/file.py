"""The state file: opened, copied, and the history of its runs.

One SQLite file in WAL mode, readable by its owner alone. The other files of this package are what a run does with it.
Every commit reaches the disk before a request relies on it (`synchronous=FULL`): a power loss must not bring back what
the state had already forgotten.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sync.state.schema import APPLICATION_ID, RELEASED_BEFORE, VERSION, bring_up_to_date, version_of

logger = logging.getLogger("state")

Cursor = sqlite3.Cursor

RUNS_KEPT = 10_000
CACHE_KIB = 2_000

STEPS_TO_A_SIGNAL = 100_000
"""Steps of SQLite's virtual machine, about a millisecond; calling Python in between lets it run signal handlers."""

BUSY_SECONDS = 0.2
"""How long SQLite itself waits for another writer, before it is asked whether to go on waiting."""

WARN_AFTER = 5.0
PATIENCE = 600.0
"""Seconds that a writer waits for another's commit: the backlog of a million rows is one commit of a minute or so."""


class StateError(Exception):
    """The state cannot be read or written; one sentence that says what to do."""


class RunRecord(NamedTuple):
    """One run of the history; `summary` is None when the run did not come to its end."""

    id: str
    started: str
    sync: str
    summary: Mapping[str, Any] | None


class State:
    """An open state file, made when there is none. For one thread; raises StateError if SQLite or the disk refuse.

    Several processes may have it open: a writer waits for the other's commit, until `give_up` says otherwise.
    `alone` is a block in which no other program works on the file; an older file is brought up to date inside it.
    """

    def __init__(
        self,
        path: Path,
        alone: Callable[[], AbstractContextManager[object]] = nullcontext,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path = path.resolve()  # SQLite's files are beside the file itself, not beside a link to it
        self._alone, self._give_up = alone, give_up
        with self.errors_explained():
            self.db = self._connect()
            try:
                self._prepare()
            except BaseException:
                self.db.close()
                raise

    def close(self) -> None:
        """Close the file; what was committed is in it."""
        self.db.close()

    def _connect(self) -> sqlite3.Connection:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._inode = _inode(os.fstat(descriptor))
        os.close(descriptor)
        return sqlite3.connect(self.path, isolation_level=None, timeout=5)

    def _refuse_another_file(self) -> None:
        """Raise if another file has replaced ours: what is written would go into a file that has no name any more."""
        with suppress(FileNotFoundError):
            if _inode(self.path.stat()) == self._inode:
                return
        raise StateError(
            f"the state {self.path} was removed or replaced while this run worked with it; find out what did it (a "
            "clean-up, a restore, a deployment), and run again: what this run had put on record is sent once more, "
            "events under the same ids"
        )

    def _prepare(self) -> None:
        version = _check_schema(self.db, self.path)
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"cache_size=-{CACHE_KIB}",
            "temp_store=FILE",
            "journal_size_limit=16000000",
            "wal_autocheckpoint=4000",  # pages: those that change again and again are copied once
            f"busy_timeout={BUSY_SECONDS * 1000:.0f}",
        ):
            self._patiently(f"PRAGMA {pragma}")
        if not version:
            with self.transaction():
                bring_up_to_date(self.db)
        elif version < VERSION:
            with self._alone():
                self._keep_copy(_copy_of_1_0_0(self.path))
                with self.transaction():
                    bring_up_to_date(self.db)

    def _keep_copy(self, path: Path) -> None:
        if not path.exists():
            part = path.with_name(f"{path.name}.part")  # a copy is there whole or not at all
            part.unlink(missing_ok=True)
            os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with closing(sqlite3.connect(part)) as copy:
                self.db.backup(copy)
            part.rename(path)

    def errors_explained(self) -> AbstractContextManager[None]:
        """Turn what SQLite or the disk says into a sentence for the operator."""
        return _errors_explained(self.path)

    def execute(self, statement: str, values: Mapping[str, Any]) -> Cursor:
        """Run one statement."""
        with self.errors_explained():
            return self.db.execute(statement, values)

    def hear_signals(self) -> None:
        """From here on, a signal's handler also runs during a long statement; if it raises, the statement ends."""
        self.db.set_progress_handler(lambda: None, STEPS_TO_A_SIGNAL)

    def _patiently(self, statement: str) -> None:
        """Run a statement; while another process writes, wait."""
        began = time.monotonic()
        warned = False
        while True:
            try:
                self.db.execute(statement)
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - began
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or self._give_up() or waited > PATIENCE:
                    raise
                if waited > WARN_AFTER and not warned:
                    warned = True
                    logger.warning("Another process writes the state %s; waiting for it", self.path)
                time.sleep(BUSY_SECONDS / 10)  # where SQLite sees a deadlock ahead it does not wait itself
            else:
                return

    def transaction(self) -> AbstractContextManager[None]:
        """All of the block or none of it; begun when no other process writes."""
        self._refuse_another_file()
        return self._block("BEGIN IMMEDIATE")

    def snapshot(self) -> AbstractContextManager[None]:
        """The file as it is at one moment, for a block that writes only temporary tables; it waits for no writer."""
        return self._block("BEGIN")

    @contextmanager
    def _block(self, begin: str) -> Iterator[None]:
        with self.errors_explained():
            try:
                self._patiently(begin)
                yield
                self.db.execute("COMMIT")
            except BaseException:  # a signal may raise anywhere, and a disk may fill with the last page
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    def begin_run(self, run_id: str, started: str, sync: str = "") -> None:
        """Put the run on record before it does anything."""
        with self.transaction():
            self.db.execute("INSERT INTO run (id, started, sync) VALUES (?, ?, ?)", (run_id, started, sync))
            self.db.execute("DELETE FROM run WHERE number <= (SELECT MAX(number) FROM run) - ?", (RUNS_KEPT,))

    def end_run(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """Add the summary to the run's record."""
        with self.transaction():
            self.db.execute("UPDATE run SET summary = ? WHERE id = ?", (json.dumps(summary), run_id))

    def give_back_space(self) -> None:
        """Give free space back to the disk, once it is more than half of the file.

        Less than half is kept for the next deliveries. The whole file is written again, which for that time takes the
        same space in the temporary folder and on the disk; page by page, it would take three times as long.
        """
        with self.errors_explained():
            free = self.db.execute("PRAGMA freelist_count").fetchone()[0]
            pages = self.db.execute("PRAGMA page_count").fetchone()[0]
            if free > 1000 and free > pages // 2:
                self.db.execute("PRAGMA auto_vacuum=NONE")  # files of earlier versions keep a map of pages for that
                self._patiently("VACUUM")

    def history(self, count: int) -> list[RunRecord]:
        """The last `count` runs, newest first."""
        with self.errors_explained():
            return _runs(self.db, count)


class StateCopy(State):
    """A copy of the state at `path`, to try out what a run would do: the file itself is only read.

    It is in a temporary file of SQLite's own, with mode 0600 and without a name, so it ends with the process, however
    that ends. It starts empty when there is no state yet.
    """

    def _keep_copy(self, path: Path) -> None:
        """Nothing to do: it is a copy itself."""

    def _refuse_another_file(self) -> None:
        """Nothing to do: no other process can reach it."""

    def _connect(self) -> sqlite3.Connection:
        copy = sqlite3.connect("", isolation_level=None)
        try:
            if self.path.exists():
                with closing(_open_to_read(self.path)) as original:
                    original.backup(copy)
        except BaseException:
            copy.close()
            raise
        return copy


def read_history(path: Path, count: int) -> list[RunRecord]:
    """The last `count` runs on record at `path`, newest first; the file is only read, and none is made."""
    path = path.resolve()
    with _errors_explained(path):
        if not path.exists():
            return []
        with closing(_open_to_read(path)) as db:
            return _runs(db, count)


def _runs(db: sqlite3.Connection, count: int) -> list[RunRecord]:
    sync = "sync" if version_of(db) == VERSION else "''"
    rows = db.execute(f"SELECT id, started, {sync}, summary FROM run ORDER BY number DESC LIMIT ?", (count,))
    return [RunRecord(run, at, of, json.loads(summary) if summary else None) for run, at, of, summary in rows]


def _open_to_read(path: Path) -> sqlite3.Connection:
    """The file as it stands at this moment, also while a run writes it; neither it nor its folder is changed.

    SQLite's read-only mode takes in the write-ahead log that a run under way, or one that was killed, has beside the
    file. If there is no log, that mode would leave one behind. Then it is an ordinary connection, which cleans up after
    itself, or, if nothing may be written, one that does not look for a log.
    """
    if all(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-shm")):
        mode = "mode=ro"
    else:
        mode = "mode=rw" if all(os.access(place, os.W_OK) for place in (path, path.parent)) else "immutable=1"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, timeout=5)
    try:
        _check_schema(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _check_schema(db: sqlite3.Connection, path: Path) -> int:
    """The version of the schema in the file, 0 for an empty one; refuses what no released program wrote."""
    version, tables, application = db.execute(
        "SELECT (SELECT user_version FROM pragma_user_version), (SELECT COUNT(*) FROM sqlite_master), "
        "(SELECT application_id FROM pragma_application_id)"  # one statement: another process may be making them
    ).fetchone()
    if not version and not tables:
        return 0
    if application != APPLICATION_ID:
        raise StateError(f"{path} is an SQLite file of another program; name another STATE_FILE")
    if RELEASED_BEFORE < version < VERSION:
        copy = _copy_of_1_0_0(path)
        back = f"put {copy.name}, its copy of the state of 1.0.0, in its place" if copy.exists() else "restore a backup"
        raise StateError(
            f"{path} was written by a program that was never released (version {version} of the state's schema); "
            f"{back}, or move it away (everything is sent again, events under the same ids)"
        )
    if version not in (RELEASED_BEFORE, VERSION):
        raise StateError(
            f"{path} was written by a newer program (version {version} of the state's schema; this program knows "
            f"version {VERSION}); use the program that wrote it, or move the file away (everything is sent again)"
        )
    return int(version)


def _copy_of_1_0_0(path: Path) -> Path:
    """Where the state of version 1.0.0 is kept when it is brought up to date."""
    return path.with_name(f"{path.name}.v{RELEASED_BEFORE}")


def _inode(status: os.stat_result) -> tuple[int, int]:
    """What identifies a file, whatever its name."""
    return status.st_dev, status.st_ino


@contextmanager
def _errors_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StateError(f"the state {path} {_advice(error)} ({error})") from error


_RESTORE = (
    "restore a backup and run once with --full, or move the file away: then everything is sent again, events "
    "under the same ids. Users who have left the segment meanwhile keep their field: clear it in Iterable"
)
_NO_TEMPORARY_FOLDER = (
    "needs a temporary folder that may be written, and there is none: PrivateTmp=true in a systemd unit gives one, or "
    "name one in TMPDIR; /var/tmp and /tmp are tried too"
)
_FULL = "the disk is full (its own, or that of the temporary folder: TMPDIR, /var/tmp); free space and run again"


def _advice(error: Exception) -> str:
    """What is wrong with the file, and what to do."""
    if getattr(error, "sqlite_errorname", "") == "SQLITE_IOERR_GETTEMPPATH":
        return _NO_TEMPORARY_FOLDER
    text = str(error).lower()
    for sign, advice in (
        ("not a database", f"is not an SQLite file; {_RESTORE}"),
        ("malformed", f"is damaged; {_RESTORE}"),
        ("full", f"cannot grow: {_FULL}"),
        ("no space", f"cannot grow: {_FULL}"),
        ("readonly", "may not be written; check the owner and mode of the file and its folder"),
        ("permission", "may not be read or written; check the owner and mode of the file and its folder"),
        ("locked", "is in use by another program; end it and run again"),
        ("unable to open", "cannot be opened; check that its folder exists and may be written"),
    ):
        if sign in text:
            return advice
    return "cannot be used; check the file, its folder and the disk"
