-- Sample rows: 16 customers and 40 page views, of which query.sql finds 8 customers at any time of any day.
-- Every day is counted back from today in UTC, so running this again tomorrow brings the rows up to date.
--
--     mysql --user=USER --password DATABASE < seed.sql
--
-- Only its own rows are replaced: ids 1 to 16 with an address at example.com, which is nobody's. Where the
-- tables hold other rows with these ids, an INSERT fails and the transaction leaves everything as it was.

/*! SET NAMES utf8mb4 */;
/*! SET time_zone = '+00:00' */;

BEGIN;

DELETE FROM page_views WHERE user_id IN (
    SELECT id FROM customers WHERE id BETWEEN 1 AND 16 AND email LIKE '%@example.com'
);
DELETE FROM customers WHERE id BETWEEN 1 AND 16 AND email LIKE '%@example.com';

INSERT INTO customers (id, email, first_name, last_name, plan_type, candidate) VALUES
    -- In the result.
    (1, 'ada.park@example.com', 'Ada', 'Park', 'pro', 'annual_billing'),      -- the plain case
    (2, 'Ben.Ruiz@Example.com', 'Ben', 'Ruiz', 'pro', 'team_seats'),          -- typed with capitals
    (3, 'ciara.obrien@example.com', 'Ciara', 'O''Brien', 'pro', NULL),        -- an apostrophe; no candidate
    (4, 'zoe.lindstrom@example.com', 'Zoë 🌻', 'Lindström', 'pro', 'beta'),   -- beyond ASCII, beyond 3 bytes
    (5, 'devi@example.com', 'Devi', NULL, 'pro', 'annual_billing'),           -- no last name
    (6, 'frank.moss@example.com', '=1+1', 'Moss', 'pro', 'beta'),             -- a spreadsheet would run it
    (7, 'gita.rao+news@example.com', 'Gita', 'Rao', 'pro', 'team_seats'),     -- a tagged address
    (8, 'hana.sato@example.com', '花', '佐藤', 'pro', ''),                    -- empty is not NULL
    -- On the plan, and still not in the result.
    (9, 'ivo.klein@example.com', 'Ivo', 'Klein', 'pro', NULL),                -- looked too long ago
    (10, 'jun.wu@example.com', 'Jun', 'Wu', 'pro', 'beta'),                   -- looked at other pages
    (11, 'kai.berg@example.com', 'Kai', 'Berg', 'pro', NULL),                 -- never looked at anything
    -- On other plans.
    (12, 'lea.roux@example.com', 'Lea', 'Roux', 'free', 'pro_trial'),
    (13, 'max.stein@example.com', 'Max', 'Stein', 'basic', 'pro_trial'),
    (14, 'nia.cole@example.com', 'Nia', 'Cole', 'enterprise', NULL),
    (15, 'omar.haddad@example.com', 'Omar', 'Haddad', 'pro_legacy', NULL),    -- begins like the plan
    (16, 'pia.novak@example.com', 'Pia', 'Novak', NULL, NULL);                -- no plan at all

INSERT INTO page_views (id, user_id, page, device, browser, location, event_time) VALUES
    -- Ada: the newest of many views counts, and a newer view of another page does not.
    (1, 1, 'pricing', 'desktop', 'Chrome', 'Berlin', TIMESTAMP(SUBDATE(UTC_DATE(), 5), '08:12:00')),
    (2, 1, 'settings', 'desktop', 'Chrome', 'Berlin', TIMESTAMP(SUBDATE(UTC_DATE(), 4), '17:45:10')),
    (3, 1, 'pricing', 'mobile', 'Safari', 'Hamburg', TIMESTAMP(SUBDATE(UTC_DATE(), 2), '21:03:44')),
    (4, 1, 'pricing', 'desktop', 'Chrome', 'Berlin', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '09:30:05')),
    (5, 1, 'home', 'desktop', 'Chrome', 'Berlin', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '09:31:00')),
    -- Ben: stored out of order, so the newest is not the last.
    (6, 2, 'settings', 'mobile', 'Chrome', 'Madrid', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '22:15:30')),
    (7, 2, 'settings', 'mobile', 'Chrome', 'Madrid', TIMESTAMP(SUBDATE(UTC_DATE(), 3), '06:20:00')),
    (8, 2, 'pricing', 'desktop', 'Edge', 'Madrid', TIMESTAMP(SUBDATE(UTC_DATE(), 2), '12:00:00')),
    -- Ciara: two pages in one second; the one stored later counts.
    (9, 3, 'pricing', 'tablet', 'Safari', 'Cork', TIMESTAMP(SUBDATE(UTC_DATE(), 2), '10:00:00')),
    (10, 3, 'settings', 'tablet', 'Safari', 'Cork', TIMESTAMP(SUBDATE(UTC_DATE(), 2), '10:00:00')),
    -- Zoë: a place beyond ASCII, in the first second of a day.
    (11, 4, 'pricing', 'desktop', 'Firefox', 'Malmö', TIMESTAMP(SUBDATE(UTC_DATE(), 3), '00:00:00')),
    (12, 4, 'pricing', 'desktop', 'Firefox', 'Malmö', TIMESTAMP(SUBDATE(UTC_DATE(), 6), '15:25:35')),
    -- Devi and Frank: the same second, so the ids settle who comes first.
    (13, 5, 'settings', 'mobile', 'Safari', 'Bandung', TIMESTAMP(SUBDATE(UTC_DATE(), 3), '13:37:00')),
    (14, 6, 'pricing', 'desktop', 'Chrome', 'Leeds', TIMESTAMP(SUBDATE(UTC_DATE(), 3), '13:37:00')),
    -- Gita: no device, browser or place was recorded.
    (15, 7, 'pricing', NULL, NULL, NULL, TIMESTAMP(SUBDATE(UTC_DATE(), 4), '23:59:59')),
    -- Hana: the oldest moment that is always inside seven days, and two views before them.
    (16, 8, 'settings', 'mobile', 'Chrome', '東京', TIMESTAMP(SUBDATE(UTC_DATE(), 6), '00:00:00')),
    (17, 8, 'settings', 'mobile', 'Chrome', '東京', TIMESTAMP(SUBDATE(UTC_DATE(), 8), '11:11:11')),
    (18, 8, 'pricing', 'desktop', 'Chrome', '東京', TIMESTAMP(SUBDATE(UTC_DATE(), 20), '11:11:11')),
    -- Ivo: the newest moment that is always outside seven days, and older ones.
    (19, 9, 'pricing', 'desktop', 'Firefox', 'Vienna', TIMESTAMP(SUBDATE(UTC_DATE(), 8), '23:59:59')),
    (20, 9, 'settings', 'desktop', 'Firefox', 'Vienna', TIMESTAMP(SUBDATE(UTC_DATE(), 15), '10:05:00')),
    (21, 9, 'pricing', 'mobile', 'Firefox', 'Vienna', TIMESTAMP(SUBDATE(UTC_DATE(), 40), '19:00:00')),
    (22, 9, 'home', 'mobile', 'Firefox', 'Vienna', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '19:00:00')),
    -- Jun: every other page, one of which begins like the one that counts.
    (23, 10, 'home', 'desktop', 'Edge', 'Singapore', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '01:00:00')),
    (24, 10, 'docs', 'desktop', 'Edge', 'Singapore', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '01:05:00')),
    (25, 10, 'blog', 'desktop', 'Edge', 'Singapore', TIMESTAMP(SUBDATE(UTC_DATE(), 2), '03:15:00')),
    (26, 10, 'pricing-faq', 'desktop', 'Edge', 'Singapore', TIMESTAMP(SUBDATE(UTC_DATE(), 2), '03:20:00')),
    (27, 10, 'support', 'mobile', 'Chrome', 'Singapore', TIMESTAMP(SUBDATE(UTC_DATE(), 4), '14:00:00')),
    -- Other plans looked at the same pages, and newer than everybody.
    (28, 12, 'pricing', 'mobile', 'Safari', 'Lyon', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '23:50:00')),
    (29, 12, 'pricing', 'mobile', 'Safari', 'Lyon', TIMESTAMP(SUBDATE(UTC_DATE(), 3), '18:40:00')),
    (30, 12, 'home', 'mobile', 'Safari', 'Lyon', TIMESTAMP(SUBDATE(UTC_DATE(), 3), '18:39:00')),
    (31, 13, 'pricing', 'desktop', 'Chrome', 'Zurich', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '23:51:00')),
    (32, 13, 'settings', 'desktop', 'Chrome', 'Zurich', TIMESTAMP(SUBDATE(UTC_DATE(), 5), '07:30:00')),
    (33, 14, 'settings', 'desktop', 'Edge', 'Boston', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '23:52:00')),
    (34, 14, 'docs', 'desktop', 'Edge', 'Boston', TIMESTAMP(SUBDATE(UTC_DATE(), 2), '16:00:00')),
    (35, 15, 'pricing', 'tablet', 'Chrome', 'Amman', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '23:53:00')),
    (36, 16, 'pricing', 'desktop', 'Safari', 'Brno', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '23:54:00')),
    -- Views of other pages by customers who are in the result: they change nothing.
    (37, 2, 'blog', 'mobile', 'Chrome', 'Madrid', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '22:20:00')),
    (38, 4, 'docs', 'desktop', 'Firefox', 'Malmö', TIMESTAMP(SUBDATE(UTC_DATE(), 1), '08:00:00')),
    (39, 5, 'home', 'mobile', 'Safari', 'Bandung', TIMESTAMP(SUBDATE(UTC_DATE(), 2), '13:00:00')),
    (40, 7, 'support', NULL, NULL, NULL, TIMESTAMP(SUBDATE(UTC_DATE(), 3), '09:09:09'));

COMMIT;
