-- The two sample tables. The same text runs on MySQL 8, MariaDB 10.2+ and SQLite: what stands between
-- /*! and */ is code to the first two and a comment to SQLite.
--
-- It creates what is missing and touches nothing that is there:
--     mysql --user=USER --password DATABASE < schema.sql

/*! SET NAMES utf8mb4 */;

CREATE TABLE IF NOT EXISTS customers (
    id INTEGER NOT NULL PRIMARY KEY /*! AUTO_INCREMENT */,
    email VARCHAR(255),
    first_name VARCHAR(100),
    last_name VARCHAR(100),
    plan_type VARCHAR(50),
    candidate VARCHAR(100)
    /*! , INDEX customers_by_plan (plan_type) */
) /*! ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 */;

CREATE TABLE IF NOT EXISTS page_views (
    id INTEGER NOT NULL PRIMARY KEY /*! AUTO_INCREMENT */,
    user_id INTEGER NOT NULL,
    page VARCHAR(100) NOT NULL,
    device VARCHAR(50),
    browser VARCHAR(50),
    location VARCHAR(100),
    -- The explicit default matters: without one, some servers change the first TIMESTAMP column on every UPDATE.
    event_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT page_views_user FOREIGN KEY (user_id) REFERENCES customers (id)
    -- The two indexes for query.sql: by page and time, and by user.
    /*! , INDEX page_views_by_page (page, event_time)
        , INDEX page_views_by_user (user_id, page, event_time) */
) /*! ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 */;
