"""Profiles at the stand-in: identities, merging, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stand_in.names import ProjectType
from tests.stand_in.rules import FieldTypes
from tests.stand_in.stand_in import StandIn
from tests.stand_in.tests.asking import (
    ANN,
    BULK_UPDATE,
    TRACK,
    UPDATE,
    event,
    read,
    said,
    send,
    update,
)


def test_update_creates_and_merges_at_the_top_level(iterable: StandIn) -> None:
    """Fields that are not sent stay, fields that are sent replace, and the address is stored lower-cased."""
    first = update(iterable, "Ann@Example.com", plan="gold", visits=3)
    second = update(iterable, plan="silver")

    assert first.json() == {
        "msg": "User successfully created/updated. New fields created are: [plan,visits]",
        "code": "Success",
        "params": None,
    }
    assert second.json()["msg"] == "User successfully created/updated."
    assert iterable.profiles == {ANN: {"plan": "silver", "visits": 3}}
    assert iterable.writes == {ANN: 2}


def test_null_clears(iterable: StandIn) -> None:
    """A null removes the field; it does not give a new field a type."""
    update(iterable, plan="gold", visits=3)
    update(iterable, plan=None, never_seen=None)

    assert iterable.profiles[ANN] == {"visits": 3}
    assert iterable.field_types.user == {"plan": "string", "visits": "long"}


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        pytest.param(False, {"b": {"y": 2}}, id="replaces by default"),
        pytest.param(True, {"a": 1, "b": {"y": 2}, "d": [3]}, id="one level deep, and nulls clear"),
    ],
)
def test_nested_objects_merge_one_level_deep(iterable: StandIn, merge: bool, expected: object) -> None:
    """mergeNestedObjects merges the object's own keys and nothing below them; arrays replace."""
    update(iterable, o={"a": 1, "b": {"x": 1}, "c": 1, "d": [1, 2]})
    changed: dict[str, Any] = {"b": {"y": 2}}
    if merge:
        changed |= {"c": None, "d": [3]}
    send(iterable, UPDATE, {"email": ANN, "mergeNestedObjects": merge, "dataFields": {"o": changed}})

    assert iterable.profiles[ANN]["o"] == expected


@pytest.mark.parametrize(
    "address",
    ["000", "sayan", "user @example.com", ".a@example.com", "a..b@example.com", "a@host", "a@x.invalid", ""],
)
def test_malformed_address_is_refused(iterable: StandIn, address: str) -> None:
    """An address that Commons EmailValidator would not take is no user."""
    response = update(iterable, address)

    assert said(response) == (400, "InvalidEmailAddressError")
    assert response.json()["msg"] == f"Invalid email: {address}"
    assert iterable.profiles == {}


@pytest.mark.parametrize("user_id", ["", "x" * 53, "trailing ", "Zoë"])
def test_malformed_user_id_is_refused(iterable: StandIn, user_id: str) -> None:
    """A user id has 1 to 52 printable ASCII characters and no space at its end."""
    assert said(send(iterable, UPDATE, {"userId": user_id})) == (400, "InvalidUserIdError")


def test_user_ids_keep_their_case(iterable: StandIn) -> None:
    """User ids that differ in case are different users."""
    for user_id in ("u1", "U1"):
        assert send(iterable, UPDATE, {"userId": user_id}).ok

    assert set(iterable.profiles) == {"u1", "U1"}


def test_a_body_names_a_user(iterable: StandIn) -> None:
    """A user is named by an address, by an id or by both, but not by nothing."""
    assert said(send(iterable, UPDATE, {})) == (400, "BadParams")


def test_hybrid_project_refuses_a_conflict(iterable: StandIn) -> None:
    """In a hybrid project both identities may come, but not of two users."""
    assert send(iterable, UPDATE, {"email": ANN, "userId": "1"}).ok
    assert send(iterable, UPDATE, {"userId": "1", "dataFields": {"a": 1}}).ok
    assert said(send(iterable, UPDATE, {"email": "bob@example.com", "userId": "1"})) == (409, "Conflict")
    assert iterable.profiles == {ANN: {"a": 1}}


def test_email_based_project_asks_for_prefer_user_id(iterable: StandIn) -> None:
    """There, an unknown user id makes a user only with preferUserId."""
    iterable.project_type = ProjectType.EMAIL

    assert said(send(iterable, UPDATE, {"userId": "1"})) == (400, "BadParams")
    assert send(iterable, UPDATE, {"userId": "1", "preferUserId": True}).ok


def test_forgotten_users_are_never_written(iterable: StandIn) -> None:
    """The right to be forgotten holds on every endpoint."""
    iterable.forgotten.add(ANN)

    assert said(update(iterable)) == (409, "ForgottenUserError")
    assert said(send(iterable, TRACK, event())) == (400, "ForgottenUserError")
    bulk = send(iterable, BULK_UPDATE, {"users": [{"email": ANN}]}).json()
    assert bulk["failedUpdates"]["forgottenEmails"] == [ANN]
    assert iterable.profiles == {}


def test_reserved_fields_are_noted(iterable: StandIn) -> None:
    """Writing a field that Iterable keeps itself is taken and noted."""
    assert update(iterable, signupDate="2026-01-06", _x=1).ok
    assert iterable.warnings == [
        "the reserved field 'signupDate' is in dataFields",
        "the field name '_x' is against Iterable's rules for names",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gold", "string"),
        (1, "long"),
        (1.0, "double"),
        (True, "boolean"),
        ({"a": 1}, "object"),
        (["gold"], "string"),
        ("2026-01-06", "date"),
        ("2026-01-06 09:15:00", "date"),
        ("2026-01-06 09:15:00 +00:00", "date"),
        ("2026-01-06T09:15:00.000Z", "date"),
        ("2026-01-06T09:15:00.000+00:00", "date"),
        ("2026-01-06T09:15:00", "string"),
        ("2026-01-06 09:15:00.000", "string"),
        ("2026-01-06T09:15:00.123456+00:00", "string"),
        ("0000-00-00", "string"),
    ],
)
def test_first_value_fixes_the_type(iterable: StandIn, value: object, expected: str) -> None:
    """A new field has the type of its first value; strings in one of the listed layouts are dates."""
    update(iterable, field=value)

    assert read(iterable, "/api/users/getFields").json()["fields"]["field"] == expected


def test_fields_are_listed_flat(iterable: StandIn) -> None:
    """getFields names nested fields with dots, and knows geographic points."""
    update(iterable, a={"b": {"c": 1}}, home_geo_location={"lat": 1.5, "lon": 2.5})

    assert read(iterable, "/api/users/getFields").json() == {
        "fields": {
            **{"email": "string", "userId": "string"},
            **{"a": "object", "a.b": "object", "a.b.c": "long", "home_geo_location": "geo_location"},
        }
    }


def test_type_conflict_refuses_the_whole_call(iterable: StandIn) -> None:
    """A value of another type than the field's refuses the request, naming field, types and value."""
    iterable.field_types.user["joined"] = "date"
    response = update(iterable, joined="GGG", plan="gold")

    assert said(response) == (400, "RequestFieldsTypesMismatched")
    assert response.json()["params"]["validationErrors"] == {
        "joined": {
            "incomingTypes": ["string", "keyword"],
            "expectedType": "date",
            "_type": "UnexpectedType",
            "offendingValue": "GGG",
            "category": "user",
        }
    }
    assert (iterable.profiles, iterable.field_types.user) == ({}, {"joined": "date"})


@pytest.mark.parametrize(
    ("known", "value", "fits"),
    [
        ("double", 1, True),
        ("long", 1.5, False),
        ("long", "1", False),
        ("boolean", 1, False),
        ("long", True, False),
        ("string", "2026-01-06", True),
        ("object", "x", False),
        ("string", {"a": 1}, False),
        ("long", None, True),
        ("long", [], True),
    ],
)
def test_what_fits_a_type(known: str, value: object, fits: bool) -> None:
    """Nothing is coerced but whole numbers into doubles and dates into strings; nothing has no type."""
    with StandIn(field_types=FieldTypes(user={"field": known})) as iterable:
        assert update(iterable, field=value).ok is fits


def test_event_fields_are_typed_by_event_name(iterable: StandIn) -> None:
    """The same field may have another type in another event."""
    assert send(iterable, TRACK, event(1, dataFields={"page": "x"})).ok
    assert send(iterable, TRACK, event(2, eventName="sale", dataFields={"page": 1})).ok
    assert not send(iterable, TRACK, event(3, dataFields={"page": 1})).ok
    assert iterable.field_types.events == {"page_view": {"page": "string"}, "sale": {"page": "long"}}


def test_unknown_fields_are_dropped_when_asked(iterable: StandIn) -> None:
    """createNewFields false drops them without an error; the project's setting holds where it is not sent."""
    iterable.field_types.user["plan"] = "string"
    body = {"email": ANN, "createNewFields": False, "dataFields": {"plan": "gold", "new": 1}}
    assert send(iterable, UPDATE, body).ok
    iterable.drop_unknown_fields = True
    bulk = send(iterable, BULK_UPDATE, {"users": [{"email": ANN, "dataFields": {"new": 1}}]}).json()

    assert iterable.profiles[ANN] == {"plan": "gold"}
    assert (bulk["filteredOutFields"], bulk["successCount"]) == (["new"], 1)


def test_project_has_room_for_so_many_fields(iterable: StandIn) -> None:
    """A request that would go over the limit of fields is refused as a whole."""
    iterable.user_field_limit = 2
    response = update(iterable, a=1, b=1, c=1)

    assert said(response) == (400, "UniqueFieldsLimitExceeded")
    assert response.json()["params"] == {"limit": 2, "requestedTotal": 3, "newFields": ["a", "b", "c"]}
