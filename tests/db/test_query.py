"""The session, and the parameters of a query."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import db
from db import MySQLParams
from sync.rows.source import Source, SourceError, StatementError
from sync.rows.statement import bound_values, double_percent, named_placeholder, parse
from tests.db.asking import SINCE, SINCE_LOCAL, run
from tests.mariadb import Server


@pytest.mark.database
class TestSession:
    """What the query finds around it."""

    def test_description(self, source: Source, sample: MySQLParams) -> None:
        """The description names everything but the password."""
        assert source.description == f"mysql://app@127.0.0.1:{sample.port}/{sample.database}"

    def test_utc_and_utf8(self, source: Source) -> None:
        """The session's time is UTC, its text UTF-8, and its sql_mode the server's own."""
        (row,) = run(
            source,
            "SELECT @@time_zone AS zone, @@character_set_results AS charset, @@sql_mode = @@global.sql_mode AS same,"
            " TIMESTAMPDIFF(SECOND, NOW(), UTC_TIMESTAMP()) AS off, '花🌻' AS text",
        )

        assert row == {"zone": "+00:00", "charset": "utf8mb4", "same": 1, "off": 0, "text": "花🌻"}

    def test_each_query_sees_its_moment(self, mariadb: Server) -> None:
        """A second query sees what was written since the first."""
        params = mariadb.database("CREATE TABLE t (id INT)")
        source = db.connect(params)
        assert run(source, "SELECT id FROM t") == []

        mariadb.execute("INSERT INTO t VALUES (1)", database=params.database)

        assert run(source, "SELECT id FROM t") == [{"id": 1}]
        source.close()

    def test_slow_query_is_waited_for(self, sample: MySQLParams) -> None:
        """The connect timeout is about connecting: a query may take longer."""
        source = db.connect(replace(sample, connect_timeout=0.5))

        assert run(source, "SELECT SLEEP(0.7) AS slept") == [{"slept": 0}]
        source.close()

    def test_close_twice(self, sample: MySQLParams) -> None:
        """Closing again does nothing."""
        source = db.connect(sample)
        source.close()
        source.close()


PARAMETER = st.sampled_from([":since", ":since_local"])


OPAQUE = st.sampled_from(
    [
        "':since'",
        "'it''s :since; %s'",
        r"'\' :since'",
        r"'\\'",
        '":since"',
        r'"\" :since"',
        '"a"":since"',
        "`:since`",
        r"`\`",
        "`a``:since`",
        "-- :since ' ; \n",
        "--\n",
        '# :since " ;\n',
        "/* :since ' ; */",
        "/*+ :since */",
        "/**/",
        "/* -- */",
    ]
)


CODE = st.sampled_from(
    [
        *("SELECT ", " % ", "%s", "%(since)s", "%%", "x", " \n", "(1,2)", "1--1", "-", "/", "*", "\\", "$.a", "{}"),
        *(":sinces", ":since_", ":sinceé", ": since", "@a:=1", "/*! ", "/*!50101 ", "/*M! ", " */"),
    ]
)


@given(st.lists(st.one_of(PARAMETER.map(lambda text: (True, text)), (OPAQUE | CODE).map(lambda text: (False, text)))))
def test_parameters_are_found_in_code_only(pieces: list[tuple[bool, str]]) -> None:
    """Whatever stands around it, a parameter in code is bound and everything else arrives unchanged."""
    in_code = [(True, ":since"), (True, ":since_local")]  # else one that is only in quotes is refused
    spaced = [(bound, f" {text} ") for bound, text in [*in_code, *pieces]]
    sql = "SELECT" + "".join(text for _, text in spaced)
    values = {"since": "'S'", "since_local": "'L'"}

    statement = parse(sql)
    sent = statement.render(double_percent, named_placeholder) % values

    assert sent == "SELECT" + "".join(f" {values[text.strip()[1:]]} " if bound else text for bound, text in spaced)
    assert statement.parameters == {text.strip()[1:] for bound, text in spaced if bound}


@given(st.text() | st.text(alphabet="'\"`\\-#/*!M;:since_local \n0"), st.booleans())
def test_any_text_parses_or_is_refused(sql: str, backslash_escapes: bool) -> None:
    """No text whatever makes the search for parameters fail or lose a character."""
    try:
        statement = parse(sql, backslash_escapes=backslash_escapes)
    except SourceError:
        return

    kept = statement.render(str, ":{}".format)
    assert kept == sql or kept.replace(";", "") == sql.replace(";", "")


QUOTED = [
    "SELECT id FROM t WHERE at >= '{}'",
    'SELECT id FROM t WHERE at >= "{}"',
    "SELECT id FROM t WHERE at >= `{}`",
    "SELECT id FROM t WHERE at >= DATE('{}')",
    "SELECT id FROM t WHERE at >= TIMESTAMP'{}' - INTERVAL 1 DAY",
    "SELECT id FROM t WHERE at >= ' {} 00:00:00' AND '' = ''",
    "SELECT id FROM t WHERE at >= '{}' -- not {}\n",
    "SELECT id FROM t WHERE at >= '{}' /* {} # {} */",
    "SELECT id FROM t /*! WHERE at >= '{}' */",
    "SELECT id FROM t WHERE at >= CONCAT('it''s', '{}')",
    "CALL views_since('{}')",
]


@pytest.mark.parametrize("name", [":since", ":since_local", ":SINCE"])
@pytest.mark.parametrize("sql", QUOTED)
def test_parameter_that_is_only_in_quotes(sql: str, name: str) -> None:
    """A parameter in quotes is a text, by which every row is new or none: it is refused, unless it is bound as well."""
    quoted = sql.replace("{}", name)

    with pytest.raises(
        StatementError, match=f"QUERY_FILE has {name.lower()} only inside quotes.*write it without them"
    ):
        parse(quoted)
    other = ":since" if name == ":since_local" else ":since_local"
    with pytest.raises(StatementError):
        parse(f"{quoted} UNION SELECT {other}")
    assert name.lower()[1:] in parse(f"{quoted} UNION SELECT {name.lower()}").parameters


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 -- at >= ':since'",
        "SELECT 1 # at >= ':since'",
        "SELECT 1 /* at >= ':since' */",
        "SELECT `member:since`, 'member:since', \"member:since\" FROM t",
        "SELECT ':since_when', ':sinceé', ': since', 'since', '@since' FROM t",
    ],
)
def test_what_is_no_parameter_in_quotes(sql: str) -> None:
    """Comments do not count, nor does a name or a text in which `:since` stands behind or before other letters."""
    assert parse(sql).parameters == set()


@pytest.mark.parametrize("ending", ["'", '"', "`", "/*", "'a\\", "/* *", "--", "#"])
def test_what_is_never_closed_reaches_to_the_end(ending: str) -> None:
    """Quotes and comments that are never closed hide what follows, and the server says what is wrong."""
    assert parse(f"SELECT :since {ending} :since").parameters == {"since"}
    assert parse(f"SELECT {ending}").parameters == set()


@pytest.mark.parametrize("sql", ["SELECT 1;", "SELECT 1 ;; \n", "SELECT 1; -- done", "SELECT 1 /* ; */", "SELECT ';'"])
def test_one_statement_may_end_in_a_semicolon(sql: str) -> None:
    """A semicolon that ends the statement, or that is text, is no second statement."""
    assert parse(sql).parameters == set()


def test_times_are_bound_in_their_zones() -> None:
    """An aware time is bound in UTC, a wall clock as it is, both in whole seconds."""
    since = datetime(2026, 1, 6, 1, 0, 0, 999999, timezone(timedelta(hours=2)))

    assert bound_values(since, datetime(2026, 1, 6, 1)) == {
        "since": "2026-01-05 23:00:00",
        "since_local": "2026-01-06 01:00:00",
    }
    for wrong in ((SINCE_LOCAL, SINCE_LOCAL), (SINCE, SINCE)):
        with pytest.raises(ValueError, match="since is an aware time"):
            bound_values(*wrong)


@pytest.mark.database
class TestParameters:
    """The same on the server, which has the last word on what is code."""

    @pytest.mark.parametrize(
        ("expression", "value"),
        [
            (":since", "2026-01-06 12:30:15"),
            (":since_local", "2026-01-06 13:30:15"),
            ("':since'", ":since"),
            ("'100% :since'", "100% :since"),
            ("'%s %(since)s %%'", "%s %(since)s %%"),
            (r"'\':since'", "':since"),
            ("'it''s :since'", "it's :since"),
            ('":since"', ":since"),
            ("5 % 3", 2),
            ("/*! :since */", "2026-01-06 12:30:15"),
            pytest.param("/*M! :since */", "2026-01-06 12:30:15", marks=pytest.mark.database("MariaDB")),
            pytest.param("1 /*M! + :since */", 1, marks=pytest.mark.database("MySQL")),
            ("1 /* :since */", 1),
            ("2 # :since '\n", 2),
            ("3 -- :since '\n", 3),
            ("4--1", 5),
            ("'a' LIKE 'a%' AND :since LIKE '2026%'", 1),
            ("CONCAT(:since,':since',:since_local)", "2026-01-06 12:30:15:since2026-01-06 13:30:15"),
        ],
    )
    def test_bound(self, source: Source, expression: str, value: object) -> None:
        """The server gets a value where it reads code, and the very text elsewhere."""
        (row,) = run(source, f"SELECT {expression} AS `x:since`, :since AS since;")

        assert row == {"x:since": value, "since": "2026-01-06 12:30:15"}

    def test_no_backslash_escapes(self, mariadb: Server, sample: MySQLParams) -> None:
        """Where the server's sql_mode makes a backslash a letter, it is one here too."""
        mariadb.execute("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'")
        try:
            source = db.connect(sample)
        finally:
            mariadb.execute("SET GLOBAL sql_mode = DEFAULT")

        assert run(source, r"SELECT '\' AS a, :since AS b, 'c' AS c") == [
            {"a": "\\", "b": "2026-01-06 12:30:15", "c": "c"}
        ]
        source.close()

    @pytest.mark.parametrize(
        ("sql", "used"),
        [
            ("SELECT :since", True),
            ("SELECT :since_local", True),
            ("SELECT 1 -- :since ':since'", False),
        ],
    )
    def test_uses_since(self, source: Source, sql: str, used: bool) -> None:
        """A query that does not look at the window can be told from one that does."""
        with source.query(sql, SINCE, SINCE_LOCAL) as result:
            assert result.uses_since is used
