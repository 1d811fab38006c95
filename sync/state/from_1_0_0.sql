-- The one step that brings a state of version 1.0.0 up to date: before the new tables are made, and after it.
-- Nothing is sent again: the first half of a fingerprint is the beginning of the digest that 1.0.0 kept.

-- # before
ALTER TABLE profile RENAME TO old_profile;
ALTER TABLE event RENAME TO old_event;
ALTER TABLE owed_user RENAME TO old_user;
ALTER TABLE owed_event RENAME TO old_owed_event;
ALTER TABLE run RENAME TO old_run;

-- # after
INSERT INTO sync (id, destination, project, segment_field) SELECT id, name, name, segment_field FROM destination;
INSERT INTO known (sync, key, fingerprint, rejected, seen)
    SELECT destination, identity, substr(delivered, 1, 8), substr(rejected, 1, 8), seen FROM old_profile
    UNION ALL SELECT destination, id, substr(delivered, 1, 8), substr(rejected, 1, 8), seen FROM old_event;
INSERT INTO member SELECT destination, segment_field, identity FROM old_profile JOIN destination ON id = destination
    WHERE in_segment > 0 AND segment_field <> '';

-- A body loses the name at its top, and a profile's the segment at its end. Where 1.0.0 had changed SEGMENT_FIELD there is
-- none, and the digest is of another body: so no row says what a profile says.
CREATE TEMP TABLE old AS
    SELECT place, destination, identity, identity AS key, NULL AS moment, digest, body,
        CASE WHEN segment_field <> '' THEN ',' || json_quote(segment_field) || ':true}}' ELSE '}}' END AS ending
    FROM old_user JOIN destination ON id = destination WHERE body IS NOT NULL
    UNION ALL SELECT rowid, destination, identity, id, moment, digest, body, '' FROM old_owed_event;
INSERT INTO pending (sync, state, person, key, moment, inside, fingerprint, since, body)
    SELECT destination, 0, identity, key, moment, 1, CASE WHEN moment IS NOT NULL THEN substr(digest, 1, 8) END,
        CAST(strftime('%s', 'now') AS INTEGER),
        substr(body, length(name) + 1, length(body) - length(name) - CASE WHEN whole THEN length(ending) ELSE 2 END)
    FROM (SELECT *, substr(body, length(body) - length(ending) + 1) = ending AS whole,
        CASE WHEN identity GLOB 'id:*' THEN '{"userId":' || json_quote(substr(identity, 4))
            ELSE '{"email":' || json_quote(identity) END || ',' AS name FROM old) ORDER BY moment IS NOT NULL, place;
DROP TABLE old;

INSERT INTO run SELECT number, id, started, '', summary FROM old_run;
DROP TABLE old_profile;
DROP TABLE old_event;
DROP TABLE old_user;
DROP TABLE old_owed_event;
DROP TABLE old_run;
DROP TABLE destination;
