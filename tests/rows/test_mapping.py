"""Which column becomes which field, and every problem of that."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from sync.rows.mapping import RESERVED_FIELDS, Field, Mapping, mapping_problems, parse_fields, unset_problems
from sync.rows.source import Column, Kind
from tests.rows.payload_samples import COLUMNS, SAMPLE, USER_ID


def test_fields_with_every_problem() -> None:
    """All problems of a field list are told at once."""
    with pytest.raises(ValueError, match="a comma too many") as caught:
        parse_fields("a,,b:c:int,d:e:json:f,:g,h:,i:j..k,l:x,m:x,n:y.z,o:y")
    for words in ("'int'", "'d:e:json:f'", "':g'", "'h:'", "'i:j..k'", "2 columns for the field x", "makes y both"):
        assert words in str(caught.value)
    assert str(caught.value).count("give it a name with AS in the query") == 1
    with pytest.raises(ValueError, match=r"as in column:field$"):
        parse_fields("a:x,b:x")
    with pytest.raises(ValueError, match="give it a name with AS in the query"):
        parse_fields("price,net,price,gross")


def test_fields() -> None:
    """A column alone keeps its name; the same column may fill two fields."""
    assert parse_fields(" ") == ()
    assert parse_fields("a, b:c , a:d.e:json") == (
        Field("a", ("a",), None),
        Field("b", ("c",), None),
        Field("a", ("d", "e"), "json"),
    )


def test_good_mapping() -> None:
    """The sample's mapping has no problems, nor has one without events or without profiles."""
    assert mapping_problems(SAMPLE, COLUMNS) == []
    assert mapping_problems(USER_ID, COLUMNS) == []
    assert mapping_problems(replace(SAMPLE, user_fields=()), COLUMNS) == []
    assert mapping_problems(replace(SAMPLE, event_name="", event_time_column="", event_key=()), COLUMNS) == []


def test_mapping_with_every_problem() -> None:
    """Whatever is wrong with a mapping is found before anything is sent, all at once, with the columns that exist."""
    mapping = Mapping(
        email_column="mail",
        user_id_column=None,
        user_fields=parse_fields("nope,blob,a:email,a:devices.x,a:home_geo_location,a:seg.x"),
        segment_field="seg",
        event_name="seen",
        event_fields=parse_fields("blob:data,gone"),
        event_time_column="a",
        event_key=("lost",),
        timezone=UTC,
    )
    columns = [Column("a", Kind.TEXT), Column("a", Kind.TEXT), Column("blob", Kind.BINARY)]
    problems = mapping_problems(mapping, columns)
    for words in (
        "2 columns named a",
        "EMAIL_COLUMN names the column mail",
        "USER_FIELDS names the column nope",
        "EVENT_FIELDS names the column gone",
        "EVENT_KEY names the column lost",
        "USER_FIELDS writes to email,",
        "USER_FIELDS writes to devices.x",
        "SEGMENT_FIELD is seg",
        "blob:blob:string",
        "blob:data:string",
        "home_geo_location.lat",
        "EVENT_TIME_COLUMN names a, which is text",
    ):
        assert sum(words in problem for problem in problems) == 1, words
    assert len(problems) == 12
    assert all("'a', 'a', 'blob'" in problem for problem in problems if "missing" in problem)


@pytest.mark.parametrize(
    ("fields", "name", "words"),
    [
        ("CONCAT(n, '-', id):label", "CONCAT(n, '-', id)", "a part of the column \"CONCAT(n, '-', id)\""),
        ("CONCAT(n,'-',id)", "CONCAT(n, '-', id)", "a part of the column \"CONCAT(n, '-', id)\""),
        ("IF(a, b, c):x.y:json", "IF(a, b, c)", "a part of the column 'IF(a, b, c)'"),
        ("a,b", "a,b", "a part of the column 'a,b'"),
        ("x:y", "x:y", "a part of the column 'x:y'"),
        ("x:y:json", "x:y", "a part of the column 'x:y'"),
        ("first\n", "first\n,last", "a part of the column 'first\\n,last'"),
    ],
)
def test_columns_that_have_no_plain_name(fields: str, name: str, words: str) -> None:
    """One that a list splits is told in one sentence, with the remedy."""
    mapping = replace(SAMPLE, user_fields=parse_fields(fields))
    (problem,) = mapping_problems(mapping, [*COLUMNS, Column(name, Kind.TEXT)])
    assert problem.startswith(f"USER_FIELDS names {words}")
    assert ": give it a name with AS in the query, and use that name here (the query returns: 'id'," in problem
    assert problem.endswith(f", {name!r})")
    assert "\n" not in problem


def test_columns_of_other_settings_that_have_no_plain_name() -> None:
    """A setting of one column takes any name whole; a list of them is split at commas."""
    columns = [*COLUMNS, Column("IF(a, b, c)", Kind.TEXT), Column("f(x:y)", Kind.DATETIME)]
    whole = replace(SAMPLE, email_column="IF(a, b, c)", event_time_column="f(x:y)", event_key=("f(x:y)",))
    assert mapping_problems(whole, columns) == []
    (problem,) = mapping_problems(replace(SAMPLE, event_key=("IF(a", "b", "c)")), columns)
    assert problem.startswith("EVENT_KEY names a part of the column 'IF(a, b, c)', which contains a comma or a colon: ")


@pytest.mark.parametrize("text", ["CONCAT(a, ', ', b)", "TIME_FORMAT(t, '%H:%i:%s:%f')", "x:y:z", "IF(a, '..', b)"])
def test_a_list_that_such_a_name_spoils(text: str) -> None:
    """Where the parts are no fields at all, the remedy is told with what is wrong with them."""
    with pytest.raises(ValueError, match="give it a name with AS in the query"):
        parse_fields(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"email_column": "id"}, "EMAIL_COLUMN names id, which is integer"),
        ({"user_id_column": "event_time"}, "USER_ID_COLUMN names event_time, which is datetime"),
        ({"segment_field": "a.b"}, "its name must not contain a dot"),
        ({"segment_field": "email"}, "Iterable manages itself"),
        ({"segment_field": "candidate"}, "rename one of them"),
    ],
)
def test_mapping_problem(changes: dict[str, Any], words: str) -> None:
    """Each problem is one sentence."""
    (problem,) = mapping_problems(replace(SAMPLE, **changes), COLUMNS)
    assert words in problem


@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.NUMBER, Kind.DATE])
def test_how_a_user_id_becomes_text(kind: Kind) -> None:
    """A user id of another type is refused with what a query makes text of it by: bytes are often a UUID."""
    (problem,) = mapping_problems(replace(SAMPLE, user_id_column="v"), [*COLUMNS, Column("v", kind)])
    assert problem.startswith(f"USER_ID_COLUMN names v, which is {kind.value}: name a column of text, or ")
    assert "CAST(v AS CHAR) AS v in the query, or LOWER(HEX(v)) AS v of a binary UUID" in problem


@pytest.mark.parametrize("kind", [Kind.NUMBER, Kind.TEXT])
def test_how_an_event_time_becomes_one(kind: Kind) -> None:
    """A number is no date to a server, which would make NULL of Unix seconds: they are made whole instead."""
    (problem,) = mapping_problems(replace(SAMPLE, event_time_column="v"), [*COLUMNS, Column("v", kind)])
    assert f"EVENT_TIME_COLUMN names v, which is {kind.value}, not a time: name another column, or " in problem
    assert "CAST(v AS DATETIME) AS v in the query, or CAST(v AS SIGNED) AS v if it holds Unix seconds" in problem


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"email_column": None},
            "EMAIL_COLUMN and USER_ID_COLUMN are both empty; one must name the column that identifies the user",
        ),
        ({"event_time_column": ""}, "EVENT_TIME_COLUMN is empty; an event needs it (or leave EVENT_NAME empty)"),
        ({"event_key": ()}, "EVENT_KEY is empty; an event needs it (or leave EVENT_NAME empty)"),
        (
            {"user_fields": (), "event_name": ""},
            "USER_FIELDS and EVENT_NAME are both empty; there would be nothing to send",
        ),
    ],
)
def test_what_a_mapping_leaves_empty(changes: dict[str, Any], problem: str) -> None:
    """What no mapping can do without is said by the settings alone, and not again beside the columns of a query."""
    mapping = replace(SAMPLE, **changes)
    assert list(unset_problems(mapping)) == [problem]
    assert mapping_problems(mapping, COLUMNS) == []


def test_what_a_mapping_may_leave_empty() -> None:
    """One name of the user is enough, and without events nothing about them is needed."""
    assert list(unset_problems(SAMPLE)) == list(unset_problems(USER_ID)) == []
    assert list(unset_problems(replace(SAMPLE, user_fields=(), segment_field=""))) == []
    assert list(unset_problems(replace(SAMPLE, event_name="", event_time_column="", event_key=()))) == []


def test_reserved_fields_are_free_in_events() -> None:
    """Only the profile's own fields are Iterable's; an event may have a field `email`."""
    fields = tuple(Field("page", (name,), None) for name in sorted(RESERVED_FIELDS))
    assert mapping_problems(replace(SAMPLE, event_fields=fields), COLUMNS) == []
