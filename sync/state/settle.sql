-- What became of all that was claimed of a sync: at the end of a run, and at the beginning of the next one, if the run
-- did not come to its end. Besides, outcomes.py learns from answers that an address was changed or a profile rejected,
-- and `--repair` (verification.py) what a read has shown.

-- What was answered.
INSERT INTO known (sync, key, fingerprint, rejected, seen)
SELECT sync, key, CASE state WHEN 3 THEN fingerprint END, CASE state WHEN 4 THEN fingerprint END, :today
FROM pending WHERE sync = :sync AND state IN (3, 4) ORDER BY key
ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint, rejected = excluded.rejected;

-- What was not: from the claim on, nobody knows what Iterable has.
INSERT INTO known (sync, key, seen)
SELECT sync, key, :today FROM pending WHERE sync = :sync AND state IN (1, 2) ORDER BY key
ON CONFLICT DO UPDATE SET fingerprint = NULL;

-- Members, and those who may be.
INSERT OR IGNORE INTO member SELECT p.sync, s.segment_field, p.person FROM sync s CROSS JOIN pending p ON p.sync = s.id
WHERE s.id = :sync AND s.segment_field <> '' AND p.state IN (1, 2, 3) AND p.moment IS NULL AND p.inside = 1
ORDER BY p.person;
DELETE FROM member WHERE sync = :sync AND field = (SELECT segment_field FROM sync WHERE id = :sync)
AND person IN (SELECT person FROM pending WHERE sync = :sync AND moment IS NULL
    AND ((state = 3 AND inside < 1) OR (state = 4 AND inside = -1)));

-- The addresses by which persons are known for the first time, and those by which they may be.
INSERT INTO name
SELECT sync, person, address, EXISTS (SELECT 1 FROM name n WHERE n.sync = p.sync AND n.person = p.person
    AND n.state = 0), :today
FROM pending p WHERE sync = :sync AND state IN (1, 2, 3) AND moment IS NULL AND address IS NOT NULL ORDER BY person
ON CONFLICT DO UPDATE SET state = MIN(name.state, excluded.state);

-- An exit takes along what was set aside of its user.
DELETE FROM pending WHERE sync = :sync AND state = 5 AND moment IS NULL
AND key IN (SELECT key FROM pending WHERE sync = :sync AND state = 3 AND inside = -1);

DELETE FROM pending WHERE sync = :sync AND state = 3;
UPDATE pending SET state = CASE state WHEN 4 THEN 5 ELSE 0 END WHERE sync = :sync AND state IN (1, 2, 4);
