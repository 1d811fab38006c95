"""The state file: what was delivered, what was rejected and why, what is owed, and the runs.

One SQLite file in WAL mode, readable by its owner alone. This module opens it, copies it, knows its schema and keeps
the history of runs; the other files of this room are what a run does with it. Every commit reaches the disk before a
request relies on it (`synchronous=FULL`): a power loss must not bring back what the state had already forgotten.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

APPLICATION_ID = 0x49744D79
RUNS_KEPT = 10_000
CACHE_KIB = 2_000

STEPS_TO_A_SIGNAL = 100_000
"""Steps of SQLite's machine, a millisecond or so; when Python is called in between, it runs signal handlers."""

FIRST_SCHEMA = """
CREATE TABLE destination (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    segment_field TEXT NOT NULL DEFAULT ''
);
CREATE TABLE profile (                 -- what Iterable holds of a user, as far as it is known
    destination INTEGER NOT NULL,
    identity TEXT NOT NULL,
    delivered BLOB,                    -- digest of the payload Iterable has; NULL: in doubt, or none
    rejected BLOB,                     -- digest of the payload that was rejected
    reason TEXT,
    in_segment INTEGER NOT NULL,       -- 0 no, 1 yes, 2 perhaps: sent, and the answer not recorded
    seen INTEGER NOT NULL,             -- the day (since 1970) of a result that held the user, a week exact
    PRIMARY KEY (destination, identity)
) WITHOUT ROWID;
CREATE TABLE event (
    destination INTEGER NOT NULL,
    id BLOB NOT NULL,
    delivered BLOB,
    rejected BLOB,
    reason TEXT,
    seen INTEGER NOT NULL,
    PRIMARY KEY (destination, id)
) WITHOUT ROWID;
CREATE TABLE owed_user (               -- who has something coming, in the order of delivery
    place INTEGER PRIMARY KEY,
    destination INTEGER NOT NULL,
    identity TEXT NOT NULL,
    digest BLOB,
    body TEXT,                         -- the profile's payload; NULL: only events are owed
    UNIQUE (destination, identity)
);
CREATE TABLE owed_event (
    destination INTEGER NOT NULL,
    id BLOB NOT NULL,
    identity TEXT NOT NULL,
    moment INTEGER NOT NULL,
    digest BLOB NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (destination, id)
);
CREATE INDEX owed_event_of_user ON owed_event (destination, identity, moment);
CREATE TABLE run (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    started TEXT NOT NULL,             -- UTC
    summary TEXT                       -- JSON; NULL: the run did not come to its end
);
"""

KNOWN_FAILERS = """
CREATE TABLE failer (                  -- who is a known failer: a call failed, and nothing was delivered since
    destination INTEGER NOT NULL,
    identity TEXT NOT NULL,
    seen INTEGER NOT NULL,             -- the day (since 1970) of the last failure
    PRIMARY KEY (destination, identity)
) WITHOUT ROWID;
ALTER TABLE destination ADD COLUMN stops_in_a_row INTEGER NOT NULL DEFAULT 0;
"""

STEPS = (FIRST_SCHEMA, KNOWN_FAILERS)
"""What makes each version of the schema out of the one before; version 1 comes from an empty file."""


class StateError(Exception):
    """The state cannot be read or written; one sentence that says what to do."""


class RunRecord(NamedTuple):
    """One run of the history; `summary` is None when the run did not come to its end."""

    id: str
    started: str
    summary: Mapping[str, Any] | None


def fingerprint(api_key: str) -> str:
    """Twelve hex digits that tell two keys apart and give neither away."""
    return hashlib.sha256(b"iterable destination\0" + api_key.encode()).hexdigest()[:12]


class State:
    """An open state file, made when there is none. For one thread; raises StateError for what SQLite or disk refuse."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return sqlite3.connect(self.path, isolation_level=None, timeout=5)

    def _prepare(self) -> None:
        version = 0
        if self.db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            version = _check_schema(self.db, self.path)
        self._bring_up_to_date(version)
        for pragma in (
            "synchronous=FULL",
            f"cache_size=-{CACHE_KIB}",
            "temp_store=FILE",
            "journal_size_limit=16000000",
            "journal_mode=WAL",
        ):
            self.db.execute(f"PRAGMA {pragma}")

    def _bring_up_to_date(self, version: int) -> None:
        """Take the schema from `version` (0: an empty file) to this program's, in one transaction."""
        if version == 0:
            self.db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        if version < len(STEPS):
            self.db.executescript(
                f"BEGIN IMMEDIATE;{''.join(STEPS[version:])}PRAGMA application_id={APPLICATION_ID};"
                f"PRAGMA user_version={len(STEPS)};COMMIT;"
            )

    def errors_explained(self) -> AbstractContextManager[None]:
        """Turn what SQLite or the disk says into a sentence for the operator."""
        return _errors_explained(self.path)

    def hear_signals(self) -> None:
        """From here on a signal's handler runs also in the middle of a long statement; if it raises, that ends it."""
        self.db.set_progress_handler(lambda: None, STEPS_TO_A_SIGNAL)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it."""
        with self.errors_explained():
            try:
                self.db.execute("BEGIN IMMEDIATE")
                yield
                self.db.execute("COMMIT")
            except BaseException:  # a signal may raise anywhere, and a disk may fill with the last page
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    def destination(self, base_url: str, api_key: str, name: str = "") -> int:
        """The number of the destination called `name`, or of this project's address and key.

        A name that is new takes over what is known of the address and key, so that naming a destination loses nothing.
        """
        unnamed = f"{base_url}#{fingerprint(api_key)}"
        with self.transaction():
            found = self._destination(name or unnamed)
            if found is None and name:
                self.db.execute("UPDATE destination SET name = ? WHERE name = ?", (name, unnamed))
                found = self._destination(name)
            if found is None:
                self.db.execute("INSERT INTO destination (name) VALUES (?)", (name or unnamed,))
                found = self._destination(name or unnamed)
        assert found is not None  # noqa: S101 - it was just inserted
        return found

    def _destination(self, name: str) -> int | None:
        row = self.db.execute("SELECT id FROM destination WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def begin_run(self, run_id: str, started: str) -> None:
        """Put the run on record before it does anything."""
        with self.transaction():
            self.db.execute("INSERT INTO run (id, started) VALUES (?, ?)", (run_id, started))
            self.db.execute("DELETE FROM run WHERE number <= (SELECT MAX(number) FROM run) - ?", (RUNS_KEPT,))

    def end_run(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """Add the summary to the run's record."""
        with self.transaction():
            self.db.execute("UPDATE run SET summary = ? WHERE id = ?", (json.dumps(summary), run_id))

    def give_back_space(self) -> None:
        """Return to the disk what many deliveries left free in the file."""
        with self.errors_explained():
            free = self.db.execute("PRAGMA freelist_count").fetchone()[0]
            pages = self.db.execute("PRAGMA page_count").fetchone()[0]
            if free > 1000 and free > pages // 4:
                self.db.executescript("PRAGMA incremental_vacuum")  # execute() would give back one page alone

    def history(self, count: int) -> list[RunRecord]:
        """The last `count` runs, newest first."""
        with self.errors_explained():
            return _runs(self.db, count)


class StateCopy(State):
    """A copy of the state at `path`, to try out what a run would do: the file itself is only read.

    It lies in a temporary file of SQLite's own: mode 0600, without a name, so that it ends with the process, however
    that ends. It starts empty when there is no state yet.
    """

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
    with _errors_explained(path):
        if not path.exists():
            return []
        with closing(_open_to_read(path)) as db:
            return _runs(db, count)


def _runs(db: sqlite3.Connection, count: int) -> list[RunRecord]:
    rows = db.execute("SELECT id, started, summary FROM run ORDER BY number DESC LIMIT ?", (count,))
    return [RunRecord(run, started, json.loads(summary) if summary else None) for run, started, summary in rows]


def _open_to_read(path: Path) -> sqlite3.Connection:
    """The file as it stands at this moment, also while a run writes it; neither it nor its folder is changed.

    SQLite's read-only mode takes in the write-ahead log that a run under way, or one that was killed, has beside the
    file. Where there is no log, that mode would leave one behind: then an ordinary connection, which tidies up after
    itself, or, where nothing may be written, one that looks for no log.
    """
    if all(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-shm")):
        mode = "mode=ro"
    else:
        mode = "mode=rw" if all(os.access(place, os.W_OK) for place in (path, path.parent)) else "immutable=1"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, timeout=5)
    try:
        db.execute("BEGIN")  # from the first statement on, what is read stays as it is
        _check_schema(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _check_schema(db: sqlite3.Connection, path: Path) -> int:
    """The version of the schema in the file; refuses one that is not a state, or of a version yet to come."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StateError(f"{path} is an SQLite file of another program; name another STATE_FILE")
    if not 0 < version <= len(STEPS):
        raise StateError(
            f"{path} was written by a newer program (version {version} of the state's schema; this program knows "
            f"version {len(STEPS)}); use the program that wrote it, or move the file away (everything is sent again)"
        )
    return version


@contextmanager
def _errors_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StateError(f"the state {path} {_advice(error)} ({error})") from error


_RESTORE = (
    "restore it and run with --full, or move it away, and everything is sent again, events under the same ids; users "
    "who left the segment meanwhile have to be cleared in Iterable"
)
_FULL = "the disk is full, its own or that of the temporary folder (TMPDIR, /var/tmp); free space and run again"


def _advice(error: Exception) -> str:
    """What is wrong with the file, and what to do."""
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
