-- Whom Iterable should have as the database says: users of the result of whom nothing is pending, and users who have
-- left the segment. On a copy of the state, once a run is planned.
CREATE INDEX temp.turn_person ON turn (person);
CREATE INDEX temp.scan_event ON scan (person, moment) WHERE moment IS NOT NULL AND mark = 1;
CREATE TEMP TABLE verify AS
SELECT person, CASE WHEN :by_id THEN person ELSE COALESCE(address, person) END AS identity, 0 AS is_gone, body
FROM temp.scan u WHERE moment IS NULL AND (mark = 1 OR (mark = 0 AND EXISTS
    (SELECT 1 FROM temp.scan e WHERE e.person = u.person AND e.moment IS NOT NULL AND e.mark = 1)))
AND NOT EXISTS (SELECT 1 FROM temp.turn t WHERE t.person = u.person);
INSERT INTO temp.verify SELECT k.key, COALESCE(n.address, k.key), 1, NULL
FROM known k LEFT JOIN name n ON n.sync = :sync AND n.person = k.key AND n.state = 0
WHERE :everybody AND k.sync = :sync AND typeof(k.key) = 'text' AND k.rejected IS NULL
AND (k.key GLOB 'id:*' = :by_id OR n.address IS NOT NULL)
AND NOT EXISTS (SELECT 1 FROM member m WHERE m.sync = :sync AND m.field = :field AND m.person = k.key)
AND NOT EXISTS (SELECT 1 FROM temp.scan s WHERE s.key = k.key)
AND k.key NOT IN (SELECT person FROM pending WHERE sync = :sync);
