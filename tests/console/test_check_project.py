"""--check against the project: credentials and field types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sync.rows.source import Column, Kind
from tests import faults as catalogue
from tests.console.desk import Desk, with_jwt
from tests.sample_rows import COLUMNS, address, person


def test_a_read_only_key_looks_the_same(desk: Desk) -> None:
    """What cannot be known without writing is said: a read-only key passes this check, too."""
    desk.world.environ["ITERABLE_API_KEY"] = "read-only-key"
    assert desk.check() == []
    (line,) = [line for line in desk.told("ok") if line.startswith("credentials:")]
    assert line.endswith("accepts the key (it would accept a read-only key too; only a write shows the difference)")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (catalogue.ACTION_NOT_FOUND, "404"),
        (catalogue.MOVED, "301"),
        (catalogue.UNAVAILABLE, "503"),
        (catalogue.RATE_LIMITED, "429"),
        (catalogue.CLOSED, "connection"),
        (catalogue.PAGE, "200 without a JSON object"),
    ],
    ids=str,
)
def test_what_is_not_iterable(desk: Desk, fault: catalogue.Fault, told: str) -> None:
    """Any other answer is told as it is, with the setting to look at; it is not called a bad key."""
    desk.iterable.faults = lambda _request: fault
    (wrong,) = desk.check()
    assert wrong.startswith(f"credentials: {desk.iterable.url}: ") and told in wrong
    assert wrong.endswith("; check ITERABLE_API_BASE_URL and the network")


def test_a_key_that_is_refused(desk: Desk) -> None:
    """The remedy names all that may be wrong with it, the region too."""
    desk.world.environ["ITERABLE_API_KEY"] = "another-key"
    (wrong,) = desk.check()
    assert "Invalid API key; check ITERABLE_API_KEY, its project and its type, and in ITERABLE_API_BASE_URL" in wrong


def test_jwt_is_tried_without_writing(desk: Desk) -> None:
    """A Mobile or Web key: the token of the first usable row's user is made and accepted."""
    with_jwt(desk)
    desk.world.rows[0]["email"] = "nobody"
    assert desk.check() == []
    assert f"credentials: key and JWT are accepted (tried with {address(2)}, nothing was written)" in desk.told("ok")
    assert [request.path for request in desk.iterable.requests] == ["/api/channels", "/api/inApp/getMessages"]
    assert desk.iterable.requests[-1].headers["authorization"].startswith("Bearer ")
    assert any("a JWT-enabled key may not read them" in note for note in desk.told("note"))


@pytest.mark.parametrize("name", ["page_view", ""])
def test_an_event_that_a_client_side_key_may_not_create(desk: Desk, name: str) -> None:
    """Calls for an event that the project does not know are accepted and not stored: with a JWT-enabled key, which may
    not look, it is said beforehand; without events, and with a server-side key, there is nothing to say."""
    desk.check()
    assert "setting Event Creation" not in desk.out
    with_jwt(desk, EVENT_NAME=name)
    assert desk.check() == []
    told = [note for note in desk.told("note") if note.startswith("events: ")]
    assert len(told) == bool(name)
    assert all(
        f"if {name} is not a custom event of the project yet" in note and "setting Event Creation" in note
        for note in told
    )


def test_jwt_for_a_user_id(desk: Desk) -> None:
    """The token claims the user id where the row is known by one."""
    with_jwt(desk, USER_ID_COLUMN="id")
    assert desk.check() == []
    assert "(tried with 1, nothing was written)" in desk.out
    assert desk.iterable.requests[-1].query.startswith("userId=1&")


def test_jwt_with_a_server_side_key(desk: Desk) -> None:
    """A server-side key takes no JWT, whatever it may read: the setting is wrong."""
    with_jwt(desk, ITERABLE_API_KEY=desk.iterable.api_key)
    assert any("is a server-side key" in told for told in desk.check())


@pytest.mark.parametrize(
    ("environ", "wrong"),
    [
        (
            {"ITERABLE_JWT_SECRET": "x" * 32},
            "the JWT was refused: 401 InvalidJwtPayload: JWT is invalid; check ITERABLE_JWT_",
        ),
        ({"ITERABLE_API_KEY": "no-key-at-all"}, "401 BadApiKey: Invalid API key; check ITERABLE_API_KEY"),
    ],
)
def test_jwt_is_refused(desk: Desk, environ: dict[str, str], wrong: str) -> None:
    """A secret that is not the key's, and a key that is none: which of the two it was is told."""
    with_jwt(desk, **environ)
    (found,) = desk.check()
    assert found.startswith(f"credentials: {wrong}")
    assert all(value not in desk.out for value in environ.values())


def test_jwt_with_an_unwelcome_claim(desk: Desk) -> None:
    """`invalid payload` names JWT_ISSUER, whose claim Iterable does not document."""
    with_jwt(desk)
    desk.iterable.reject_extra_claims = True
    (found,) = desk.check()
    assert "JWT_ISSUER may be the cause" in found


def test_jwt_of_a_user_who_is_new(desk: Desk) -> None:
    """ "Email could not be found" proves that the token was read; a run creates the user."""
    with_jwt(desk)
    desk.iterable.jwt_needs_user = True
    assert desk.check() == []
    assert any(
        "the JWT was understood, but user1@example.com is not in the project yet" in n for n in desk.told("note")
    )


def test_a_javascript_key_cannot_be_tried(desk: Desk) -> None:
    """A JavaScript key may read nothing: that the token was made is all that can be said."""
    with_jwt(desk)
    params = {"ip": "127.0.0.1", "apiKeyType": "JavaScript"}
    refusal = catalogue.refused(401, "BadApiKey", "Disabled API key or insufficient privileges", params)
    desk.iterable.faults = lambda _request: refusal
    assert desk.check() == []
    assert any("the key may be a JavaScript key, or disabled" in note for note in desk.told("note"))


def test_jwt_without_anybody_to_try_it_with(desk: Desk) -> None:
    """Without a usable row there is nobody to make a token for: said, and no request made."""
    with_jwt(desk)
    desk.world.rows = []
    assert desk.check() == []
    assert any("the token was not tried" in note for note in desk.told("note"))
    assert desk.iterable.requests == []


TEXT, JSON = Kind.TEXT, Kind.JSON


@pytest.mark.parametrize(
    ("types", "sentence"),
    [
        ({"plan_type": "long"}, "plan_type has the type long in this project, but the query returns text"),
        ({"plan_type": "boolean"}, "plan_type has the type boolean in this project, but the query returns text"),
        ({"plan_type": "date"}, "plan_type has the type date in this project, but the query returns text"),
        ({"plan_type": "object"}, "plan_type has the type object in this project, but the query returns text"),
        ({"plan_type.name": "string"}, "plan_type has the type object in this project, but the query returns text"),
        (
            {"recent_page_view": "string"},
            "recent_page_view has the type string in this project, but the query returns true or false",
        ),
    ],
)
def test_a_type_that_does_not_fit(desk: Desk, types: dict[str, str], sentence: str) -> None:
    """A field that has another type in the project is wrong, and what the query gives is said."""
    desk.iterable.field_types.user.update(types)
    (wrong,) = desk.check()
    assert wrong == f"field types: {sentence}; map it to another field name or type"


@pytest.mark.parametrize(
    ("kind", "value", "fits", "sentence"),
    [
        (
            Kind.INTEGER,
            5,
            ("long", "double"),
            "x has the type string in this project, but the query returns whole numbers",
        ),
        (Kind.NUMBER, 5.5, ("double",), "x has the type string in this project, but the query returns decimal numbers"),
        (Kind.BOOLEAN, 1, ("boolean",), "x has the type string in this project, but the query returns true or false"),
        (
            JSON,
            '{"a": 1}',
            ("object", "geo_location"),
            "x has the type string in this project, but the query returns an object",
        ),
        (JSON, '["a", null]', ("string",), "x has the type long in this project, but the query returns text"),
        (
            JSON,
            "[null, 1]",
            ("long", "double"),
            "x has the type string in this project, but the query returns whole numbers",
        ),
        (JSON, '[{"a": 1}]', ("object",), "x has the type string in this project, but the query returns an object"),
        (JSON, "[]", ("string", "long", "object"), ""),
        (
            TEXT,
            "2026-01-06 10:00:00",
            ("date", "string", "keyword"),
            "x has the type long in this project, but the query returns text",
        ),
        (TEXT, None, ("string", "long", "date", "object"), ""),
    ],
)
def test_types_that_fit(desk: Desk, kind: Kind, value: Any, fits: Sequence[str], sentence: str) -> None:
    """Each kind of column with the project's types that take it, and one that does not; an array is as its values."""
    desk.world.columns = (*COLUMNS, Column("x", kind))
    desk.world.rows = [person(1, x=None), person(2, x=value)]
    desk.world.environ["USER_FIELDS"] = "first_name,x"
    for fitting in fits:
        desk.iterable.field_types.user["x"] = fitting
        assert desk.check() == []
    if sentence:
        desk.iterable.field_types.user["x"] = sentence.split()[4]
        (wrong,) = desk.check()
        assert sentence in wrong


def test_nested_fields_are_compared(desk: Desk) -> None:
    """`address.city` is compared by its dotted name, and what is in a JSON column, too."""
    desk.world.columns = (*COLUMNS, Column("likes", JSON))
    desk.world.rows = [person(1, likes='{"shoes": {"size": 40}}')]
    desk.world.environ["USER_FIELDS"] = "location:address.city,likes"
    desk.iterable.field_types.user |= {"address.city": "long", "likes.shoes.size": "string"}

    assert [wrong.partition(";")[0] for wrong in desk.check()] == [
        "field types: address.city has the type long in this project, but the query returns text",
        "field types: likes.shoes.size has the type string in this project, but the query returns whole numbers",
    ]
    desk.iterable.field_types.user |= {"address.city": "string", "likes.shoes.size": "long"}
    assert desk.check() == []
    assert "field types: 2 fields fit the project's types; new: recent_page_view" in desk.told("ok")


def test_new_fields_are_named(desk: Desk) -> None:
    """Fields that the project does not have yet are named: a typing error would create one for ever."""
    desk.iterable.field_types.user["first_name"] = "string"
    assert desk.check() == []
    new = "field types: 1 fields fit the project's types; new: last_name, plan_type, recent_page_view"
    assert new in desk.told("ok")


def test_fields_that_cannot_be_read(desk: Desk) -> None:
    """A project that does not tell its fields is worth a note, and no error."""
    desk.iterable.faults = catalogue.on("/api/users/getFields", lambda _request: catalogue.FORBIDDEN)
    assert desk.check() == []
    assert any("the project's fields could not be read: 403" in note for note in desk.told("note"))
