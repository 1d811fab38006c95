-- What a run collects, in tables that are gone with it.

-- The payloads of the result; then whatever else this run is to deliver.
-- mark: 0 none, the mapping asks for none; 1 unchanged; 2 pending; 3 known rejected; 4 newly rejected; 5 present, the
-- user is in the result by a row without a usable address alone; 6 exit, pending and takes the user out of the segment
CREATE TEMP TABLE scan (
    line INTEGER,                      -- of the result, from 1; NULL: it is not from there
    person TEXT NOT NULL,
    key NOT NULL,
    rank INTEGER,                      -- of several rows with one key the one with the highest counts
    moment INTEGER,
    mark INTEGER NOT NULL,
    fingerprint BLOB,                  -- NULL: the same as on record
    address TEXT,
    reason TEXT,
    lacks TEXT,                        -- why the profile goes without the user's other name
    former BLOB,                       -- the id that the event has, or would have, by an address of its user
    inside INTEGER NOT NULL DEFAULT 1,
    since INTEGER,
    place INTEGER,                     -- in the backlog, where it comes from there
    body TEXT
);

-- The users of this run's backlog in their order, each with the first and the last place.
CREATE TEMP TABLE turn (
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL, person TEXT NOT NULL, failed INTEGER NOT NULL,
    leaves INTEGER NOT NULL, taken INTEGER NOT NULL DEFAULT 0
);

-- Whose address changes; the reason where the change is not made.
CREATE TEMP TABLE change (
    person TEXT PRIMARY KEY, old TEXT NOT NULL, new TEXT NOT NULL, line INTEGER NOT NULL, reason TEXT
) WITHOUT ROWID;
CREATE INDEX temp.change_old ON change (old, line);
CREATE INDEX temp.change_new ON change (new);

-- The users of the result at an address that somebody's row gives anew, the newest first.
CREATE TEMP TABLE shared (
    address TEXT NOT NULL, rank INTEGER, line INTEGER, person TEXT NOT NULL, PRIMARY KEY (address, rank DESC, line)
) WITHOUT ROWID;

-- Who takes over what is on record for a person; who waits for an address until the next run.
CREATE TEMP TABLE heir (person TEXT PRIMARY KEY, heir TEXT NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE waits (person TEXT PRIMARY KEY, address TEXT NOT NULL) WITHOUT ROWID;

-- Rows that another row replaces although they differ; members who are not in the result.
CREATE TEMP TABLE merged (line INTEGER NOT NULL, kind TEXT NOT NULL, identity TEXT NOT NULL);
CREATE TEMP TABLE gone (person TEXT NOT NULL);

-- # merge
CREATE INDEX temp.scan_key ON scan (key, rank DESC, line);
CREATE TEMP TABLE repeated AS SELECT key FROM temp.scan GROUP BY key HAVING COUNT(*) > 1;
CREATE TEMP TABLE alike AS SELECT s.rowid AS row, s.line, CASE WHEN s.moment IS NULL THEN 'profile' ELSE 'event' END
    AS kind, ROW_NUMBER() OVER same AS number, CASE WHEN :by_id THEN s.person ELSE COALESCE(s.address, s.person) END
    AS identity, s.rank = FIRST_VALUE(s.rank) OVER same AND substr(COALESCE(s.fingerprint, k.fingerprint), 1, 8) IS NOT
        FIRST_VALUE(substr(COALESCE(s.fingerprint, k.fingerprint), 1, 8)) OVER same AS differs
FROM temp.repeated r CROSS JOIN temp.scan s ON s.key = r.key LEFT JOIN known k ON k.sync = :sync AND k.key = s.key
WINDOW same AS (PARTITION BY s.key ORDER BY s.rank DESC, s.line);
INSERT INTO temp.merged SELECT line, kind, identity FROM temp.alike WHERE differs;
DELETE FROM temp.scan WHERE rowid IN (SELECT row FROM temp.alike WHERE number > 1);
DROP TABLE temp.alike;
