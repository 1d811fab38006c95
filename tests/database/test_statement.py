"""The text of a query: where its parameters stand, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.database.statement import bound_values, parse
from sync.rows.source import StatementError
from tests.examples import examples

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


@examples(100)
@given(st.lists(st.one_of(PARAMETER.map(lambda text: (True, text)), (OPAQUE | CODE).map(lambda text: (False, text)))))
def test_parameters_are_found_in_code_only(pieces: list[tuple[bool, str]]) -> None:
    """Whatever stands around it, a parameter in code is bound and everything else arrives unchanged."""
    in_code = [(True, ":since"), (True, ":since_local")]  # else one that is only in quotes is refused
    spaced = [(bound, f" {text} ") for bound, text in [*in_code, *pieces]]
    sql = "SELECT" + "".join(text for _, text in spaced)
    values = {"since": "'S'", "since_local": "'L'"}

    statement = parse(sql)
    sent = statement.text % values

    assert sent == "SELECT" + "".join(f" {values[text.strip()[1:]]} " if bound else text for bound, text in spaced)
    assert statement.parameters == {text.strip()[1:] for bound, text in spaced if bound}


@examples(100)
@given(st.text() | st.text(alphabet="'\"`\\-#/*!M;:since_local \n0"), st.booleans())
def test_any_text_parses_or_is_refused(sql: str, backslash_escapes: bool) -> None:
    """No text whatever makes the search for parameters fail or lose a character."""
    try:
        statement = parse(sql, backslash_escapes=backslash_escapes)
    except StatementError:
        return

    assert statement.text % {"since": ":since", "since_local": ":since_local"} == sql


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

    with pytest.raises(StatementError, match=f"QUERY_FILE has {name.lower()} only inside quotes.*remove the quotes"):
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


def test_times_are_bound_in_their_zones() -> None:
    """An aware time is bound in UTC, a wall clock as it is, both in whole seconds."""
    since = datetime(2026, 1, 6, 1, 0, 0, 999999, timezone(timedelta(hours=2)))

    assert bound_values(since, datetime(2026, 1, 6, 1)) == {
        "since": "2026-01-05 23:00:00",
        "since_local": "2026-01-06 01:00:00",
    }
