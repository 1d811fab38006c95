"""schema.sql, seed.sql and query.sql, on MariaDB and on the embedded SQLite."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import db
from sync.demo import sample_database as embedded
from sync.rows.source import Kind, Row, Source, SourceError
from tests.mariadb import Server, numbers

PROJECT = Path(__file__).resolve().parents[2]
SCHEMA, SEED, QUERY = (PROJECT / name for name in ("schema.sql", "seed.sql", "query.sql"))
COLUMNS = [
    *("id", "email", "first_name", "last_name", "plan_type", "candidate"),
    *("page", "device", "browser", "location", "event_time"),
]


def ask(source: Source, days: float = 7, sql: str | None = None) -> list[Row]:
    """All rows of a query, which is query.sql by default."""
    since = datetime.now(UTC) - timedelta(days=days)
    return list(source.query(sql or QUERY.read_text("utf-8"), since, since.replace(tzinfo=None)))


@pytest.fixture
def sqlite() -> Any:
    """The embedded sample database."""
    source = embedded.sample_database(SCHEMA, SEED)
    yield source
    source.close()


def test_no_driver_is_needed() -> None:
    """The embedded database is imported and asked also where PyMySQL cannot be imported."""
    program = (
        "import sys; sys.modules['pymysql'] = None\n"
        "from datetime import UTC, datetime; from pathlib import Path\n"
        "from sync.demo.sample_database import sample_database\n"
        "source = sample_database(*map(Path, sys.argv[1:3])); since = datetime.now(UTC)\n"
        "print(len(list(source.query('SELECT 1 AS one', since, since.replace(tzinfo=None))))); source.close()\n"
        "try: import pymysql\n"
        "except ImportError: print('no driver')\n"
    )
    command = [sys.executable, "-c", program, str(SCHEMA), str(SEED)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout == "1\nno driver\n", done.stderr


def test_broken_seed_is_a_sentence(tmp_path: Path) -> None:
    """A seed that SQLite cannot run is reported, not a traceback."""
    broken = tmp_path / "seed.sql"
    broken.write_text("INSERT INTO page_views (user_id, page) VALUES (99, 'pricing');")

    with pytest.raises(SourceError, match=r"FOREIGN KEY .*: correct .*seed\.sql"):
        embedded.sample_database(SCHEMA, broken)


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("", "incomplete input"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("DELETE FROM page_views", "syntax error"),
        ("WITH x AS (SELECT 1) DELETE FROM page_views", "syntax error"),
        ("SELECT missing FROM customers", "no such column: missing"),
        ("SELECT * FROM nowhere", "no such table"),
    ],
)
def test_embedded_refuses(sqlite: Source, sql: str, sentence: str) -> None:
    """The embedded database answers one SELECT, and says what is wrong with anything else."""
    with pytest.raises(SourceError, match=sentence):
        sqlite.query(sql, datetime.now(UTC), datetime(2026, 1, 1))

    assert len(ask(sqlite)) == 8


def test_query_finds_the_eight(sqlite: Source) -> None:
    """The rows in the result are those for which the seed has a reason, newest first, ties by id."""
    rows = ask(sqlite)

    assert [row["id"] for row in rows] == [2, 1, 3, 5, 6, 4, 7, 8]
    assert list(rows[0]) == COLUMNS
    assert {row["plan_type"] for row in rows} == {"pro"}
    assert [row["event_time"] for row in rows] == sorted((row["event_time"] for row in rows), reverse=True)
    by_id = {row["id"]: row for row in rows}
    assert by_id[1]["page"] == "pricing", "Ada's newest view of all is of another page"
    assert by_id[3]["page"] == "settings", "of Ciara's two views in one second the later stored counts"
    assert by_id[5]["last_name"] is None
    assert (by_id[4]["first_name"], by_id[3]["last_name"]) == ("Zoë 🌻", "O'Brien")


@pytest.mark.parametrize(("days", "users"), [(0, 0), (9, 9), (60, 9)])
def test_since_moves_the_window(sqlite: Source, days: int, users: int) -> None:
    """A longer window finds the customer whose views are older; one that starts now finds nobody."""
    assert len(ask(sqlite, days)) == users


@pytest.mark.parametrize("clock", ["00:00:00", "12:00:00", "23:59:59"])
def test_eight_at_any_time_of_day(sqlite: Source, clock: str) -> None:
    """The first and the last second of a day find the same rows."""
    now = datetime.fromisoformat(f"{datetime.now(UTC):%Y-%m-%d} {clock}+00:00")
    since = now - timedelta(days=7)

    rows = list(sqlite.query(QUERY.read_text("utf-8"), since, since.replace(tzinfo=None)))

    assert len(rows) == 8
    assert all(row["event_time"].replace(tzinfo=UTC) < now for row in rows)


def test_sizes_and_addresses(sqlite: Source) -> None:
    """16 customers on all plans, 40 views, and no address that could be somebody's."""
    customers = ask(sqlite, sql="SELECT * FROM customers")
    views = ask(sqlite, sql="SELECT * FROM page_views")

    assert (len(customers), len(views)) == (16, 40)
    assert {row["plan_type"] for row in customers} == {"free", "basic", "pro", "pro_legacy", "enterprise", None}
    assert all(re.fullmatch(r"[\w.+]+@example\.com", row["email"].lower()) for row in customers)
    assert all(row["event_time"].date() < datetime.now(UTC).date() for row in views), "never in the future"


def test_embedded_kinds_are_declared(sqlite: Source) -> None:
    """Kinds come from schema.sql, through an alias too; an expression counts as text."""
    sql = "SELECT id, email, event_time AS seen, id + 1 AS next FROM (SELECT c.id, email, event_time\
           FROM customers c JOIN page_views v ON v.user_id = c.id) AS x"
    since = datetime(2026, 1, 1, tzinfo=UTC)

    result = sqlite.query(sql, since, since.replace(tzinfo=None))

    kinds = [column.kind for column in result.columns]
    assert kinds == [Kind.INTEGER, Kind.TEXT, Kind.TIMESTAMP, Kind.TEXT]
    assert type(next(iter(result))["seen"]) is datetime


def test_embedded_knows_every_type_of_the_schema() -> None:
    """No type is in schema.sql for which the embedded database has no kind."""
    declared = set(re.findall(r"^    [a-z_]+ ([A-Z]+)", SCHEMA.read_text("utf-8"), re.MULTILINE))

    assert declared == set(embedded._KINDS)


def test_embedded_limit_and_second_query(sqlite: Source) -> None:
    """A limit ends the rows, and the next query begins anew."""
    since = datetime(2020, 1, 1, tzinfo=UTC)
    result = sqlite.query("SELECT id FROM page_views ORDER BY id", since, since.replace(tzinfo=None), limit=3)

    assert [row["id"] for row in result] == [1, 2, 3]
    assert not result.uses_since
    assert len(ask(sqlite)) == 8


def test_embedded_enforces_its_foreign_key(sqlite: Any) -> None:
    """A view belongs to a customer, in SQLite too."""
    with pytest.raises(Exception, match="FOREIGN KEY"):
        sqlite._connection.execute("INSERT INTO page_views (user_id, page) VALUES (99, 'pricing')")


def test_scripts_run_twice_on_sqlite(sqlite: Any) -> None:
    """Running both files again changes nothing."""
    before = ask(sqlite)

    for script in (SCHEMA, SEED):
        sqlite._connection.executescript(script.read_text("utf-8"))

    assert ask(sqlite) == before


@pytest.mark.database
class TestServer:
    """The same on a real server."""

    def test_same_rows_and_kinds_as_sqlite(self, mariadb: Server, sqlite: Source) -> None:
        """Both databases give equal rows and equal kinds."""
        source = db.connect(mariadb.sample())
        since = datetime.now(UTC) - timedelta(days=7)
        here, there = (
            each.query(QUERY.read_text("utf-8"), since, since.replace(tzinfo=None)) for each in (sqlite, source)
        )

        assert here.columns == there.columns
        assert list(here) == list(there)
        assert here.uses_since and there.uses_since
        source.close()

    def test_foreign_rows_survive(self, mariadb: Server) -> None:
        """Neither file changes a row that is not the sample's; where ids collide the seed changes nothing."""
        params = mariadb.database(SCHEMA.read_text("utf-8"))
        mariadb.execute(
            "INSERT INTO customers (id, email) VALUES (7, 'someone@real.test'), (99, 'x@example.com')",
            database=params.database,
        )

        mariadb.execute(SCHEMA.read_text("utf-8"), database=params.database)
        with pytest.raises(Exception, match="Duplicate entry '7'"):
            mariadb.execute(SEED.read_text("utf-8"), database=params.database)

        rows = mariadb.execute("SELECT id, email FROM customers ORDER BY id", database=params.database)
        assert rows == ((7, "someone@real.test"), (99, "x@example.com"))

    def test_seed_twice(self, mariadb: Server) -> None:
        """A second run brings the sample's dates up to date and leaves other rows alone."""
        params = mariadb.sample()
        mariadb.execute(
            "INSERT INTO customers (email) VALUES ('own@real.test'); UPDATE page_views SET event_time = '2020-01-01'",
            database=params.database,
        )

        mariadb.execute(SEED.read_text("utf-8"), database=params.database)

        source = db.connect(params)
        assert len(ask(source)) == 8
        assert ask(source, sql="SELECT id, email FROM customers WHERE id > 16") == [
            {"id": 17, "email": "own@real.test"}
        ]
        source.close()

    def test_seed_in_another_zone(self, mariadb: Server) -> None:
        """The seed means UTC whatever the zone of the session that runs it."""
        params = mariadb.database(SCHEMA.read_text("utf-8"))

        mariadb.execute("SET time_zone = '-11:00';" + SEED.read_text("utf-8"), database=params.database)

        source = db.connect(params)
        newest = ask(source)[0]["event_time"]
        yesterday: date = datetime.now(UTC).date() - timedelta(days=1)
        assert newest == datetime.fromisoformat(f"{yesterday} 22:15:30")
        source.close()

    def test_updates_keep_event_time(self, mariadb: Server) -> None:
        """The column has no ON UPDATE, on servers too that imply one."""
        params = mariadb.database("SET explicit_defaults_for_timestamp = OFF;" + SCHEMA.read_text("utf-8"))

        (_, created) = mariadb.execute("SHOW CREATE TABLE page_views", database=params.database)[0]

        assert "AUTO_INCREMENT" in created
        assert "FOREIGN KEY (`user_id`) REFERENCES `customers` (`id`)" in created
        assert "utf8mb4" in created
        assert "ON UPDATE" not in created

    @pytest.mark.parametrize(
        ("views_within", "every_how_many_pro", "indexes"),
        [
            pytest.param(4000, 4, {"page_views_by_page", "PRIMARY"}, id="few views in the window"),
            pytest.param(3, 4000, {"customers_by_plan", "page_views_by_user"}, id="few customers on the plan"),
        ],
    )
    def test_query_uses_the_indexes(
        self, mariadb: Server, views_within: int, every_how_many_pro: int, indexes: set[str]
    ) -> None:
        """Whichever side is the smaller, the views are found through an index, and what else is sent by their keys."""
        params = mariadb.database(SCHEMA.read_text("utf-8"))
        mariadb.execute(
            f"""
            INSERT INTO customers (id, email, plan_type)
            SELECT seq, CONCAT('u', seq, '@example.com'), IF(seq % {every_how_many_pro} = 0, 'pro', 'free')
            FROM {numbers(4)} WHERE seq <= 8000;
            INSERT INTO page_views (user_id, page, event_time)
            SELECT seq % 8000 + 1, ELT(seq % 5 + 1, 'home', 'pricing', 'docs', 'settings', 'blog'),
                UTC_TIMESTAMP() - INTERVAL IF(seq % {views_within} = 0, 1, 30) DAY
            FROM {numbers(5)} WHERE seq <= 20000;
            ANALYZE TABLE customers, page_views;
            """,
            database=params.database,
        )
        source = db.connect(params)

        plan = ask(source, sql="EXPLAIN FORMAT=TRADITIONAL " + QUERY.read_text("utf-8"))

        reads = [row for row in plan if not row["table"].startswith("<derived")]
        ranking = [row["key"] for row in reads if row["select_type"] == "DERIVED"]
        assert set(ranking) == indexes
        assert [row["type"] for row in reads if row["select_type"] != "DERIVED"] == ["eq_ref", "eq_ref"]
        source.close()
