-- The state file. Everything belongs to one sync; a person is what all rows of one user have in common.

-- A sync at a destination.
CREATE TABLE sync (
    id INTEGER PRIMARY KEY,
    name TEXT,                         -- NULL: brought along from 1.0.0, and taken over by no sync yet
    destination TEXT NOT NULL,         -- its name, or the project
    project TEXT NOT NULL,             -- the address and a fingerprint of the key, as the last run used them
    segment_field TEXT NOT NULL,       -- that of the last run: what is claimed of the backlog is about it
    settings TEXT,                     -- JSON: what the ids of events depend on; NULL: not on record yet
    stops_in_a_row INTEGER NOT NULL DEFAULT 0,
    UNIQUE (name, destination)
);

-- Which sync writes a segment field.
CREATE TABLE segment_claim (field TEXT NOT NULL, sync INTEGER NOT NULL, PRIMARY KEY (field, sync)) WITHOUT ROWID;

-- What Iterable has, and what was rejected. A fingerprint has 8 bytes for the body as it is sent, and then 8 for the
-- raw values that it is made from, unless something about them is unusual.
CREATE TABLE known (
    sync INTEGER NOT NULL,
    key NOT NULL,                      -- a person (TEXT): the profile; an event's id (BLOB, 16 bytes): the event
    fingerprint BLOB,                  -- of what Iterable has; NULL: nothing, or nobody knows
    rejected BLOB,                     -- of what was rejected
    sent_as BLOB,                      -- the id by which Iterable knows the event, where it is not the key
    seen INTEGER NOT NULL,             -- the day (since 1970) of a result that held it, a week exact
    PRIMARY KEY (sync, key)
) WITHOUT ROWID;

-- Who is in a segment, or may be.
CREATE TABLE member (
    sync INTEGER NOT NULL, field TEXT NOT NULL, person TEXT NOT NULL, PRIMARY KEY (sync, field, person)
) WITHOUT ROWID;

-- The addresses of those whose user ids are known, where the address identifies.
CREATE TABLE name (
    sync INTEGER NOT NULL,
    person TEXT NOT NULL,
    address TEXT NOT NULL,
    state INTEGER NOT NULL,            -- 0: Iterable knows the person by it; 1: perhaps, a change to it is unconfirmed;
                                       -- 2: once, so that the ids of old events may have been made with it
    seen INTEGER NOT NULL,
    PRIMARY KEY (sync, person, address)
) WITHOUT ROWID;
CREATE INDEX name_of_address ON name (address, sync, state);

-- The backlog, in the order of delivery, the payloads of a user side by side.
CREATE TABLE pending (
    place INTEGER PRIMARY KEY,
    sync INTEGER NOT NULL,
    state INTEGER NOT NULL,            -- 0 pending -> 1 claimed -> 2 unconfirmed, 3 delivered or 4 rejected;
                                       -- settled: 1, 2 -> 0; 3 -> gone; 4 -> 5 set aside, until it is asked for again
    person TEXT NOT NULL,
    key NOT NULL,                      -- as in known
    moment INTEGER,                    -- of an event, in microseconds since 1970; NULL: a profile
    inside INTEGER NOT NULL,           -- the user is: 1 in the result, 0 no longer, -1 no longer and leaves the segment
    address TEXT,                      -- that names the person to Iterable; NULL: the person itself does
    fingerprint BLOB,                  -- what known will hold of it; NULL: no row says this
    reason TEXT,                       -- why it was rejected, also of what is tried again in every run
    since INTEGER NOT NULL,            -- Unix seconds
    body TEXT                          -- without the name at its top and the segment at its end; NULL: an exit alone
);
CREATE INDEX pending_of_sync ON pending (sync);

-- Who is a repeat failure, and the day of the last failure.
CREATE TABLE failer (
    sync INTEGER NOT NULL, person TEXT NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (sync, person)
) WITHOUT ROWID;

CREATE TABLE run (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    started TEXT NOT NULL,             -- UTC
    sync TEXT NOT NULL DEFAULT '',
    summary TEXT                       -- JSON; NULL: the run did not come to its end
);
