-- Customers on the pro plan who looked at pricing or settings since :since, newest first:
-- one row per customer, with the latest such view. Views at the same time are ordered by id, so that the
-- same data always gives the same rows in the same order.
-- The ranking sorts only the columns it needs; the others are joined afterwards, for the latest views alone.
--
-- :since is bound as the start of the window in UTC, which is what a TIMESTAMP column compares with;
-- a DATETIME column would be compared with :since_local, the same moment in the zone of DB_TIMEZONE.

WITH ranked AS (
    SELECT
        v.id, v.user_id, v.event_time,
        ROW_NUMBER() OVER (PARTITION BY v.user_id ORDER BY v.event_time DESC, v.id DESC) AS recency
    FROM page_views AS v
    JOIN customers AS c ON c.id = v.user_id
    WHERE c.plan_type = 'pro'
      AND v.page IN ('pricing', 'settings')
      AND v.event_time >= :since
)
SELECT
    c.id, c.email, c.first_name, c.last_name, c.plan_type, c.candidate,
    v.page, v.device, v.browser, v.location, v.event_time
FROM ranked
JOIN page_views AS v ON v.id = ranked.id
JOIN customers AS c ON c.id = ranked.user_id
WHERE ranked.recency = 1
ORDER BY ranked.event_time DESC, ranked.user_id;
