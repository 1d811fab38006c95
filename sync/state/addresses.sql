-- Who is who where the address identifies and the user id is known. Everything on record is a person's, so that an
-- address that changes changes nothing but the table of names.

-- # former ids
-- An event that is on record under an id made with an address is its person's, and keeps that id.
INSERT INTO known (sync, key, fingerprint, rejected, sent_as, seen)
SELECT k.sync, s.key, CASE s.mark WHEN 1 THEN s.fingerprint END, k.rejected, s.former, k.seen
FROM temp.scan s CROSS JOIN known k ON k.sync = :sync AND k.key = s.former WHERE s.former IS NOT NULL;
DELETE FROM known WHERE sync = :sync AND key IN (SELECT former FROM temp.scan WHERE former IS NOT NULL);
INSERT OR IGNORE INTO name SELECT :sync, person, address, 2, :today FROM temp.scan
WHERE :by_id AND moment IS NULL AND address IS NOT NULL;

-- # the id identifies
UPDATE name SET state = 2 WHERE sync = :sync AND state < 2;

-- # changes
INSERT INTO temp.change (person, old, new, line) SELECT s.person, n.address, s.address, s.line
FROM temp.scan s CROSS JOIN name n ON n.sync = :sync AND n.person = s.person AND n.state = 0
WHERE s.moment IS NULL AND s.mark = 2 AND (n.address <> s.address OR EXISTS
    (SELECT 1 FROM name p WHERE p.sync = :sync AND p.person = s.person AND p.state = 1));
INSERT INTO temp.shared SELECT address, rank, line, person FROM temp.scan
WHERE moment IS NULL AND address IS NOT NULL AND (fingerprint IS NOT NULL OR mark = 0) ORDER BY address;
INSERT OR IGNORE INTO temp.shared SELECT n.address, s.rank, s.line, s.person
FROM (SELECT address FROM temp.shared UNION SELECT old FROM temp.change) a
CROSS JOIN name n ON n.sync = :sync AND n.address = a.address AND n.state = 0
CROSS JOIN temp.scan s ON s.key = n.person AND s.address = n.address;

-- # not made
-- An address is not changed while another id of the result has it, and does not change it itself. Each change that is
-- not made leaves an address in place, for which another may not be made either: so this is asked until nothing follows.
UPDATE temp.change AS c SET reason = printf(:still_shared, old)
WHERE reason IS NULL AND old <> new AND (
    EXISTS (SELECT 1 FROM name n CROSS JOIN temp.scan s ON s.key = n.person WHERE n.sync = :sync AND n.state = 0
        AND n.address = c.old AND n.person <> c.person
        AND NOT EXISTS (SELECT 1 FROM temp.change o WHERE o.person = n.person AND o.reason IS NULL))
    OR EXISTS (SELECT 1 FROM temp.change o WHERE o.old = c.old AND o.line < c.line AND o.reason IS NULL));
UPDATE temp.change AS c SET reason = printf(:already_taken, new)
WHERE reason IS NULL AND old <> new AND (
    EXISTS (SELECT 1 FROM name n CROSS JOIN temp.scan s ON s.key = n.person WHERE n.sync = :sync AND n.state = 0
        AND n.address = c.new AND n.person <> c.person
        AND NOT EXISTS (SELECT 1 FROM temp.change o WHERE o.person = n.person AND o.reason IS NULL))
    OR c.person <> (SELECT a.person FROM temp.shared a WHERE a.address = c.new ORDER BY rank DESC, line LIMIT 1));

-- # one user
-- Whoever stays at an address that is not changed is somebody else.
UPDATE OR REPLACE member SET person = c.old FROM temp.change c
WHERE member.sync = :sync AND member.person = c.person AND c.reason IS NOT NULL;
UPDATE name SET state = 2
WHERE sync = :sync AND person IN (SELECT person FROM temp.change WHERE reason IS NOT NULL);

-- Persons who share an address are one user, whose profile is the newest row's: what is on record of the others, and
-- of the address itself, is that one's.
INSERT INTO temp.heir SELECT person, newest FROM (SELECT person, FIRST_VALUE(person) OVER
    (PARTITION BY address ORDER BY rank DESC, line) AS newest FROM temp.shared) WHERE person <> newest;
INSERT OR IGNORE INTO temp.heir SELECT n.person, a.person FROM temp.shared a
CROSS JOIN name n ON n.sync = :sync AND n.address = a.address AND n.state = 0
WHERE a.person NOT IN (SELECT person FROM temp.heir)
AND a.person NOT IN (SELECT person FROM temp.change WHERE reason IS NULL)
AND NOT EXISTS (SELECT 1 FROM temp.scan s WHERE s.key = n.person);
INSERT OR IGNORE INTO temp.heir SELECT a.address, a.person FROM temp.shared a
WHERE a.address <> a.person AND a.person NOT IN (SELECT person FROM temp.heir)
AND a.person NOT IN (SELECT person FROM temp.change WHERE reason IS NULL)
AND NOT EXISTS (SELECT 1 FROM temp.scan s WHERE s.key = a.address);
UPDATE OR REPLACE member SET person = h.heir FROM temp.heir h WHERE sync = :sync AND member.person = h.person;
DELETE FROM pending WHERE sync = :sync AND moment IS NULL AND person IN (SELECT person FROM temp.heir);
UPDATE pending SET person = h.heir FROM temp.heir h WHERE sync = :sync AND pending.person = h.person;
UPDATE known SET fingerprint = NULL WHERE sync = :sync AND key IN (SELECT person FROM temp.heir);
INSERT INTO temp.merged SELECT s.line, 'profile', s.address FROM temp.heir h
CROSS JOIN temp.scan s ON s.key = h.person AND s.fingerprint IS NOT NULL
CROSS JOIN temp.scan u ON u.key = h.heir AND u.rank = s.rank;
DELETE FROM temp.scan WHERE moment IS NULL AND key IN (SELECT person FROM temp.heir);
UPDATE temp.scan SET person = h.heir FROM temp.heir h WHERE scan.person = h.person;

-- # waits
-- Address changes that wait for each other wait for ever, and so do those that wait for these: their rows are rejected.
WITH RECURSIVE free (person, old) AS (
    SELECT person, old FROM temp.change c WHERE reason IS NULL AND old <> new AND NOT EXISTS
        (SELECT 1 FROM temp.change o WHERE o.old = c.new AND o.reason IS NULL AND o.old <> o.new)
    UNION SELECT c.person, c.old FROM free JOIN temp.change c ON c.new = free.old
        WHERE c.reason IS NULL AND c.old <> c.new)
UPDATE temp.scan SET body = NULL, fingerprint = CAST('swap ' || c.new AS BLOB),
    mark = 4 - EXISTS (SELECT 1 FROM known k WHERE k.sync = :sync AND k.key = c.person
        AND k.rejected = CAST('swap ' || c.new AS BLOB)),
    reason = printf(:changed_places, substr(c.person, 4), c.new)
FROM temp.change c WHERE scan.key = c.person AND c.reason IS NULL AND c.old <> c.new
AND c.person NOT IN (SELECT person FROM free);

-- A user who takes an address that another gives up gets it in the next run.
INSERT OR IGNORE INTO temp.waits SELECT a.person, a.address FROM temp.change c
CROSS JOIN temp.shared a ON a.address = c.old AND a.person <> c.person
CROSS JOIN temp.scan s ON s.key = a.person AND s.mark = 2 WHERE c.reason IS NULL AND c.old <> c.new;

-- # known by
-- Persons who share an address are known by it as soon as their user is.
INSERT INTO name SELECT :sync, h.person, n.address, 0, :today FROM temp.heir h
CROSS JOIN name n ON n.sync = :sync AND n.person = h.heir AND n.state = 0
WHERE h.person GLOB 'id:*' AND NOT EXISTS (SELECT 1 FROM name o WHERE o.sync = :sync AND o.person = h.person AND o.state = 0)
ON CONFLICT DO UPDATE SET state = 0;
