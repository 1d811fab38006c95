-- What follows from a result, in one transaction and in this order.

-- # another field
-- What was made of a row with another segment field is not what any row says now.
DELETE FROM pending WHERE sync = :sync AND body IS NULL;
UPDATE pending SET fingerprint = NULL WHERE sync = :sync AND moment IS NULL;
UPDATE sync SET segment_field = :field WHERE id = :sync;

-- # old names
-- Members whose current name is unknown are removed from the record: nobody's field is set to false for that.
DELETE FROM member WHERE sync = :sync AND CASE WHEN :by_id THEN person NOT GLOB 'id:*' ELSE person GLOB 'id:*'
    AND NOT EXISTS (SELECT 1 FROM name n WHERE n.sync = :sync AND n.person = member.person AND n.state = 0) END;

-- # derive
-- A pending event of a rejected profile has the profile's outcome; it keeps its body and comes back with it.
UPDATE temp.scan SET mark = (SELECT u.mark FROM temp.scan u WHERE u.key = scan.person)
WHERE moment IS NOT NULL AND mark = 2
AND EXISTS (SELECT 1 FROM temp.scan u WHERE u.key = scan.person AND u.mark IN (3, 4));

-- # ask again
-- What was rejected is pending again, whole: profiles, events whose rows have left the result, exits. It stays pending
-- if this run does not get to it.
UPDATE known SET rejected = NULL, fingerprint = CASE WHEN NOT :full THEN fingerprint END
WHERE sync = :sync AND key IN (SELECT key FROM temp.scan WHERE mark = 2);
UPDATE known SET rejected = NULL
WHERE sync = :sync AND key IN (SELECT key FROM pending WHERE sync = :sync AND state = 5);
UPDATE pending SET state = 0, reason = NULL WHERE sync = :sync AND (state = 5 OR reason IS NOT NULL);

-- # gone
-- Who was in the segment and is not in the result, and nobody else who has the same address.
INSERT INTO temp.gone SELECT m.person FROM member m WHERE m.sync = :sync AND m.field = :field
AND NOT EXISTS (SELECT 1 FROM temp.scan s WHERE s.key = m.person)
AND NOT EXISTS (SELECT 1 FROM name n CROSS JOIN temp.scan s ON s.key = n.person
    WHERE n.sync = :sync AND n.address = m.person AND n.state = 0);

-- # carry over
-- The backlog is taken along, as far as the result says nothing else of the same payload. Since when it is there stays
-- known, and why it was rejected before. Events that were set aside with a profile come back with it; a profile that comes
-- back says all that an exit would say.
UPDATE pending AS p SET state = 0, reason = NULL WHERE sync = :sync AND state = 5 AND moment IS NOT NULL
AND EXISTS (SELECT 1 FROM temp.scan u WHERE u.key = p.person AND u.mark <= 2)
AND NOT EXISTS (SELECT 1 FROM known k WHERE k.sync = :sync AND k.key = p.key AND k.rejected IS NOT NULL);
DELETE FROM pending WHERE sync = :sync AND state = 0 AND body IS NULL
AND key IN (SELECT key FROM pending WHERE sync = :sync AND state = 0 AND body IS NOT NULL AND moment IS NULL);
UPDATE temp.scan SET since = p.since, reason =
    CASE WHEN substr(p.fingerprint, 1, 8) = substr(scan.fingerprint, 1, 8) THEN p.reason END
FROM pending p WHERE p.sync = :sync AND p.state = 0 AND p.key = scan.key AND scan.mark = 2;
DELETE FROM pending AS p WHERE sync = :sync AND state IN (0, 5)
AND (EXISTS (SELECT 1 FROM temp.scan s WHERE s.key = p.key AND (s.mark IN (1, 2, 4) OR s.body IS NOT NULL))
    OR key IN (SELECT former FROM temp.scan WHERE former IS NOT NULL));

-- Profiles of users who are no longer in the result say so. Whatever is pending for a user goes where that user's
-- profile goes, unless that is somebody else's address. A run that sees a part of the table serves the users of its
-- rows alone, and so does one that holds an exit back. Events wait while the result's profile is rejected.
INSERT INTO temp.scan (person, key, moment, mark, inside, fingerprint, address, reason, since, place, body)
SELECT person, key, moment, CASE WHEN still < 0 THEN 6 ELSE 2 END, still,
    CASE WHEN still = 1 THEN fingerprint END, goes_to, reason, since, place, body
FROM (SELECT p.*, u.key IS NOT NULL AS is_there, COALESCE(u.mark, 0) AS of_profile,
    CASE WHEN u.key IS NOT NULL OR p.moment IS NOT NULL OR :field = '' THEN 1
        WHEN p.body IS NULL OR EXISTS (SELECT 1 FROM member m WHERE m.sync = :sync AND m.field = :field
            AND m.person = p.person) THEN -1 ELSE 0 END AS still,
    CASE WHEN NOT :by_id THEN COALESCE(u.address, n.address, p.address) END AS goes_to,
    n.address IS NULL AND EXISTS (SELECT 1 FROM name o WHERE o.sync = :sync AND o.address = p.address
        AND o.person <> p.person AND o.state = 0) AS is_taken
    FROM pending p LEFT JOIN temp.scan u ON u.key = p.person
    LEFT JOIN name n ON n.sync = :sync AND n.person = p.person AND n.state = 0
    WHERE p.sync = :sync AND p.state = 0)
WHERE (is_there OR :everybody AND NOT is_taken) AND (moment IS NULL OR of_profile NOT IN (3, 4)) ORDER BY place;
DELETE FROM pending WHERE place IN (SELECT place FROM temp.scan WHERE place IS NOT NULL);

-- # exits
-- An exit is a payload like any other; a profile that is pending all the same says it as well.
INSERT INTO temp.scan (person, key, mark, inside, address)
SELECT g.person, g.person, 6, -1, n.address FROM temp.gone g
LEFT JOIN name n ON NOT :by_id AND n.sync = :sync AND n.person = g.person AND n.state = 0
WHERE NOT EXISTS (SELECT 1 FROM temp.scan s WHERE s.key = g.person);

-- # rejections and ages
-- New rejections are put on record, and who was seen; what was not seen for 90 days is forgotten, except the address at
-- which a member is taken out of the segment. `seen` is only written when it is a week old, so that a run in which
-- nothing changed writes next to nothing.
INSERT INTO known (sync, key, rejected, seen)
SELECT :sync, key, fingerprint, :today FROM temp.scan WHERE mark = 4 AND reason IS NOT NULL
ON CONFLICT DO UPDATE SET rejected = excluded.rejected;
UPDATE known SET seen = :today WHERE sync = :sync AND seen < :today - 7
AND EXISTS (SELECT 1 FROM temp.scan s WHERE s.key = known.key);
UPDATE name SET seen = :today WHERE sync = :sync AND seen < :today - 7
AND EXISTS (SELECT 1 FROM temp.scan s WHERE s.key = name.person);
DELETE FROM failer WHERE :everybody AND sync = :sync AND seen < :today - 90;
DELETE FROM name WHERE :everybody AND sync = :sync AND seen < :today - 90
AND person NOT IN (SELECT person FROM member WHERE sync = :sync);
DELETE FROM known WHERE :everybody AND sync = :sync AND seen < :today - 90;
DELETE FROM pending AS p WHERE :everybody AND sync = :sync AND state = 5
AND NOT EXISTS (SELECT 1 FROM known k WHERE k.sync = :sync AND k.key IN (p.key, p.person));

-- # line up
-- What is set aside comes first; then the backlog in the order of delivery: users who are not in the result, the result
-- in the query's order, exits, and last of all repeat failures. A user's profile comes before the events.
INSERT INTO pending (sync, state, person, key, moment, inside, fingerprint, since, body)
SELECT :sync, 5, person, key, moment, inside, fingerprint, COALESCE(since, :now), body FROM temp.scan
WHERE mark IN (3, 4) AND body IS NOT NULL;
CREATE INDEX temp.scan_person ON scan (person, moment, line, mark, place) WHERE mark IN (2, 6);
INSERT INTO temp.turn (first, last, person, failed, leaves)
SELECT base + 1 + SUM(payloads) OVER before - payloads, base + SUM(payloads) OVER before, person, failed, leaves
FROM (SELECT COALESCE(MAX(place), 0) AS base FROM pending) CROSS JOIN (
    SELECT person, COUNT(*) AS payloads, MAX(mark) = 6 AS leaves, MIN(line) AS line, MIN(place) AS place,
        EXISTS (SELECT 1 FROM failer f WHERE f.sync = :sync AND f.person = scan.person) AS failed
    FROM temp.scan INDEXED BY scan_person WHERE mark IN (2, 6) GROUP BY person)
WINDOW before AS (ORDER BY failed, leaves, line, place, person ROWS UNBOUNDED PRECEDING);
INSERT INTO pending (sync, state, person, key, moment, inside, address, fingerprint, reason, since, body)
SELECT :sync, 0, s.person, s.key, s.moment, s.inside, CASE WHEN NOT :by_id THEN NULLIF(COALESCE(s.address,
    CASE WHEN :follows THEN (SELECT u.address FROM temp.scan u WHERE u.key = s.person AND u.address IS NOT NULL) END),
    s.person) END, s.fingerprint, s.reason, COALESCE(s.since, :now), s.body
FROM temp.turn t CROSS JOIN temp.scan s INDEXED BY scan_person ON s.person = t.person AND s.mark IN (2, 6)
ORDER BY t.first, s.moment, s.line;
UPDATE temp.turn SET taken = 1 WHERE person IN (SELECT person FROM temp.waits);

-- # after delivery
-- The next run recognises by their raw values the rows whose bodies were made and are at Iterable as they are.
INSERT INTO known (sync, key, fingerprint, seen)
SELECT :sync, key, fingerprint, :today FROM temp.scan WHERE mark = 1 AND fingerprint IS NOT NULL ORDER BY +key
ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint WHERE fingerprint <> excluded.fingerprint;
