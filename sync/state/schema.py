"""The tables of the state file, and the steps that bring an older file up to date, each once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

APPLICATION_ID = 0x49744D79

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
"""As version 1.0.0 of the program made it."""

KNOWN_FAILERS = """
CREATE TABLE failer (                  -- who is a known failer: a call failed, and nothing was delivered since
    destination INTEGER NOT NULL,
    identity TEXT NOT NULL,
    seen INTEGER NOT NULL,             -- the day (since 1970) of the last failure
    PRIMARY KEY (destination, identity)
) WITHOUT ROWID;
ALTER TABLE destination ADD COLUMN stops_in_a_row INTEGER NOT NULL DEFAULT 0;
"""

SYNCS = """
CREATE TABLE sync (                    -- a sync at a destination: all that the state knows belongs to one of them
    id INTEGER PRIMARY KEY,
    name TEXT,                         -- NULL: known from before syncs had names, and taken over by none yet
    destination TEXT NOT NULL,         -- its name, or the project
    project TEXT NOT NULL,             -- the address and a fingerprint of the key, as the last run used them
    segment_field TEXT NOT NULL,       -- the field that profile.in_segment speaks of
    stops_in_a_row INTEGER NOT NULL DEFAULT 0,
    settings TEXT,                     -- JSON: what the ids of events hang on; NULL: not on record yet
    UNIQUE (name, destination)
);
INSERT INTO sync (id, destination, project, segment_field, stops_in_a_row)
    SELECT id, name, name, segment_field, stops_in_a_row FROM destination;
DROP TABLE destination;
ALTER TABLE profile RENAME COLUMN destination TO sync;
ALTER TABLE event RENAME COLUMN destination TO sync;
ALTER TABLE owed_user RENAME COLUMN destination TO sync;
ALTER TABLE owed_event RENAME COLUMN destination TO sync;
ALTER TABLE failer RENAME COLUMN destination TO sync;
ALTER TABLE owed_user ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;
ALTER TABLE owed_event ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;
CREATE INDEX owed_user_aside ON owed_user (sync) WHERE aside > 0;
CREATE INDEX owed_event_aside ON owed_event (sync) WHERE aside > 0;
ALTER TABLE run ADD COLUMN sync TEXT NOT NULL DEFAULT '';
CREATE TABLE segment_claim (           -- which sync writes a segment field
    field TEXT NOT NULL,
    sync INTEGER NOT NULL,
    PRIMARY KEY (field, sync)
) WITHOUT ROWID;
CREATE TABLE other_member (            -- who is in a segment whose field the sync does not write at present
    sync INTEGER NOT NULL,
    field TEXT NOT NULL,
    identity TEXT NOT NULL,
    in_segment INTEGER NOT NULL,
    PRIMARY KEY (sync, field, identity)
) WITHOUT ROWID;
"""
"""`aside`: not owed at present, because it was rejected (1) or because the user's profile was (2); it is kept, so that
it comes back when it is asked for again. From here on `in_segment` is 3 where the exit was rejected."""

NAMES = """
CREATE TABLE name_of_id (              -- the addresses of the users whose ids are known
    sync INTEGER NOT NULL,
    person TEXT NOT NULL,              -- the user id, as an identity
    address TEXT,                      -- the one by which Iterable knows the user; NULL: the id identifies
    perhaps TEXT,                      -- those by which it may, a line each: a move was sent, its answer not recorded
    first TEXT NOT NULL,               -- the one by which the ids of the oldest events may have been made
    seen INTEGER NOT NULL,
    PRIMARY KEY (sync, person)
) WITHOUT ROWID;
CREATE INDEX id_of_name ON name_of_id (sync, address);
ALTER TABLE profile ADD COLUMN again INTEGER NOT NULL DEFAULT 0;
ALTER TABLE owed_user ADD COLUMN person TEXT;
"""
"""`person` of what is owed: the user id, where addresses may change. `again`: the rejection was over a name that
another user has, and is tried again in every run."""

DEBTS = """
CREATE TABLE debt (                    -- since when a user is owed something: noted at the end of each run
    sync INTEGER NOT NULL,
    identity TEXT NOT NULL,
    since INTEGER NOT NULL,            -- Unix seconds
    PRIMARY KEY (sync, identity)
) WITHOUT ROWID;
"""

OWNERS = """
ALTER TABLE owed_event ADD COLUMN person TEXT;
"""
"""Whose event it is, where addresses may change: it goes along with the user id, and to nobody else."""

FINGERPRINTS = """
ALTER TABLE profile ADD COLUMN fingerprint BLOB;
ALTER TABLE profile ADD COLUMN moment INTEGER;
ALTER TABLE profile ADD COLUMN number INTEGER;
ALTER TABLE event ADD COLUMN fingerprint BLOB;
ALTER TABLE event ADD COLUMN number INTEGER;
ALTER TABLE sync ADD COLUMN numbers INTEGER NOT NULL DEFAULT 0;
"""
"""Of the raw values that what was delivered was made of, and for a profile the moment of that row. `number` is unique
among the profiles or events of a sync; `numbers` is the last that was given."""

SPOOL = """
CREATE TABLE owed_event_in_order (
    place INTEGER PRIMARY KEY,
    sync INTEGER NOT NULL,
    id BLOB NOT NULL,
    identity TEXT NOT NULL,
    moment INTEGER NOT NULL,
    digest BLOB NOT NULL,
    body TEXT NOT NULL,
    aside INTEGER NOT NULL DEFAULT 0,
    person TEXT,
    fingerprint BLOB
);
INSERT INTO owed_event_in_order (sync, id, identity, moment, digest, body, aside, person)
    SELECT sync, id, identity, moment, digest, body, aside, person FROM owed_event ORDER BY rowid;
DROP TABLE owed_event;
ALTER TABLE owed_event_in_order RENAME TO owed_event;
CREATE INDEX owed_event_of_user ON owed_event (sync, identity, moment);
CREATE INDEX owed_event_aside ON owed_event (sync) WHERE aside > 0;
ALTER TABLE owed_user ADD COLUMN fingerprint BLOB;
ALTER TABLE owed_user ADD COLUMN moment INTEGER;
CREATE TABLE delivered_event (         -- on its way into the table of events
    place INTEGER PRIMARY KEY,
    sync INTEGER NOT NULL,
    id BLOB NOT NULL,
    digest BLOB NOT NULL,
    seen INTEGER NOT NULL,
    fingerprint BLOB,
    number INTEGER
);
"""
"""Owed events lie in the order of the result, and no index is kept of their ids, which are as good as random: it took
more than the events themselves. Each id is there once all the same, because what is owed to the users of a result
replaces what was. `fingerprint` and `moment` are those of the row that what is owed was made of. What is in
`delivered_event`, and why, says delivered.py."""

IN_ORDER = """
CREATE TABLE owed_user_in_order (
    place INTEGER PRIMARY KEY,
    sync INTEGER NOT NULL,
    identity TEXT NOT NULL,            -- once for each sync
    digest BLOB,
    body TEXT,
    aside INTEGER NOT NULL DEFAULT 0,
    person TEXT,
    fingerprint BLOB,
    moment INTEGER,
    in_doubt INTEGER NOT NULL DEFAULT 0 -- 1: the profile was claimed, and no answer is on record; 2: so it is, and
                                        -- its user may be in the segment
);
INSERT INTO owed_user_in_order (place, sync, identity, digest, body, aside, person, fingerprint, moment)
    SELECT place, sync, identity, digest, body, aside, person, fingerprint, moment FROM owed_user ORDER BY place;
DROP TABLE owed_user;
ALTER TABLE owed_user_in_order RENAME TO owed_user;
CREATE INDEX owed_user_of_sync ON owed_user (sync);
CREATE INDEX owed_user_aside ON owed_user (sync) WHERE aside > 0;
DROP INDEX owed_event_of_user;
CREATE INDEX owed_event_of_sync ON owed_event (sync);
CREATE INDEX profile_again ON profile (sync, identity) WHERE again;
CREATE TABLE delivered_profile (       -- on its way into the table of profiles
    place INTEGER PRIMARY KEY,
    sync INTEGER NOT NULL,
    identity TEXT NOT NULL,
    digest BLOB,
    in_segment INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    moment INTEGER,
    fingerprint BLOB
);
CREATE INDEX delivered_profile_of_sync ON delivered_profile (sync);
ALTER TABLE delivered_event DROP COLUMN number;
CREATE INDEX delivered_event_of_sync ON delivered_event (sync);
"""
"""What is owed is found by its place alone: spool.py says why. Deliveries and doubts wait where they are cheap to
write: delivered.py says for what."""

STEPS = (FIRST_SCHEMA, KNOWN_FAILERS, SYNCS, NAMES, DEBTS, OWNERS, FINGERPRINTS, SPOOL, IN_ORDER)
"""What makes each version of the schema out of the one before; version 1 comes from an empty file."""


def version_of(db: sqlite3.Connection) -> int:
    """The version of the schema in the file; 0 for one that is empty."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def bring_up_to_date(db: sqlite3.Connection) -> None:
    """Take the schema to this program's version; in a transaction that the caller began."""
    version = version_of(db)  # another process may have taken the steps meanwhile
    for step in STEPS[version:]:
        for statement in _statements(step):
            db.execute(statement)
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={len(STEPS)}")


def _statements(script: str) -> Iterator[str]:
    """The statements one by one: `executescript` would commit the transaction first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
