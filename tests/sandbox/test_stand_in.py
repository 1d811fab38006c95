"""The stand-in is as strict as the real thing: what the other tests rely on is proved here, over a socket."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from sync.sandbox.answers import Request
from sync.sandbox.faults import Fault, at_random, on, scripted
from sync.sandbox.project import Project
from sync.sandbox.rules import FieldTypes, ProjectRules
from sync.sandbox.stand_in import StandIn
from tests import faults as catalogue
from tests.faults import EVERY_FAULT, EVERY_GARBLED_FAULT, EVERY_JWT_FAULT, EVERY_REFUSAL, EVERY_TRANSIENT_FAULT

NOW = 1_768_000_000
ANN = "ann@example.com"
UPDATE, BULK_UPDATE = "/api/users/update", "/api/users/bulkUpdate"
TRACK, BULK_TRACK = "/api/events/track", "/api/events/trackBulk"
JWT_KEY, JWT_SECRET = "jwt-enabled-key", "2EB6A2F34691492F81A819AEDA32427F"


@pytest.fixture
def iterable() -> Iterator[StandIn]:
    """A project at a fixed time, with a key of either kind."""
    with StandIn(clock=lambda: float(NOW), jwt_api_key=JWT_KEY, jwt_secret=JWT_SECRET) as running:
        yield running


def send(
    iterable: StandIn,
    path: str,
    body: Any = None,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    data: bytes | None = None,
) -> requests.Response:
    """One request with the server-side key, unless *headers* say otherwise."""
    own = {"Api-Key": iterable.api_key, "Content-Type": "application/json", **(headers or {})}
    content = json.dumps(body).encode() if data is None else data
    return requests.request(
        method,
        iterable.url + path,
        data=content if method == "POST" else None,
        headers={name: value for name, value in own.items() if value},
        timeout=2,
        allow_redirects=False,
    )


def read(iterable: StandIn, path: str, **headers: str) -> requests.Response:
    """One GET with the server-side key."""
    return send(iterable, path, method="GET", headers=headers)


def update(iterable: StandIn, email: str = ANN, **data_fields: Any) -> requests.Response:
    """One users/update of *email*."""
    return send(iterable, UPDATE, {"email": email, "dataFields": data_fields})


def event(number: int = 1, email: str = ANN, **more: Any) -> dict[str, Any]:
    """An event as it is sent."""
    return {"email": email, "eventName": "page_view", "id": f"pv-{number}", "createdAt": NOW - 60, **more}


def token(secret: str = JWT_SECRET, **claims: Any) -> str:
    """A JWT for Ann that holds for an hour; a claim given as None is left out."""
    whole = {"email": ANN, "iat": NOW, "exp": NOW + 3600, **claims}
    return jwt.encode({name: value for name, value in whole.items() if value is not None}, secret, "HS256")


def send_with_jwt(
    iterable: StandIn, bearer: str, body: Any = None, path: str = UPDATE, method: str = "POST"
) -> requests.Response:
    """One request with the JWT-enabled key and *bearer*."""
    headers = {"Api-Key": JWT_KEY, "Authorization": bearer and f"Bearer {bearer}"}
    return send(iterable, path, body or {"email": ANN}, method=method, headers=headers)


def said(response: requests.Response) -> tuple[int, str]:
    """Status and code of an answer."""
    return response.status_code, response.json()["code"]


# Profiles


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


@pytest.mark.parametrize("body", [{}, {"email": ANN, "userId": "1"}], ids=["none", "both"])
def test_exactly_one_identity(iterable: StandIn, body: object) -> None:
    """A user is named by an address or by an id, and by one of them."""
    assert said(send(iterable, UPDATE, body)) == (400, "BadParams")


def test_hybrid_project_refuses_a_conflict(iterable: StandIn) -> None:
    """In a hybrid project both identities may come, but not of two users."""
    iterable.hybrid = True

    assert send(iterable, UPDATE, {"email": ANN, "userId": "1"}).ok
    assert send(iterable, UPDATE, {"userId": "1", "dataFields": {"a": 1}}).ok
    assert said(send(iterable, UPDATE, {"email": "bob@example.com", "userId": "1"})) == (409, "Conflict")
    assert iterable.profiles == {ANN: {"a": 1}}


def test_email_based_project_asks_for_prefer_user_id(iterable: StandIn) -> None:
    """There, an unknown user id makes a user only with preferUserId."""
    iterable.email_based = True

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


# Field types


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
        "fields": {"a": "object", "a.b": "object", "a.b.c": "long", "home_geo_location": "geo_location"}
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


# Bodies


@pytest.mark.parametrize(
    ("body", "at", "complaint"),
    [
        ({"email": 1}, "obj.email", "String value expected"),
        ({"email": ANN, "dataFields": []}, "obj.dataFields", "Object value expected"),
        ({"email": ANN, "preferUserId": "yes"}, "obj.preferUserId", "Boolean value expected"),
        ({"email": ANN, "userId": None}, "obj.userId", "String value expected"),
        ({"email": ANN, "datafields": {}}, "obj.datafields", "Unknown field"),
        ([], "obj", "Object value expected"),
    ],
)
def test_badly_typed_envelope(iterable: StandIn, body: object, at: str, complaint: str) -> None:
    """The envelope's types are checked, and the answer names the place."""
    response = send(iterable, UPDATE, body)

    assert said(response) == (400, "BadJsonBody")
    assert response.json()["msg"] == "[/api/users/update] Invalid JSON body"
    assert response.json()["params"] == {at: complaint}


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": "\xff"}'])
def test_what_is_not_json_is_refused(iterable: StandIn, data: bytes) -> None:
    """NaN and infinity are Python's and not JSON's, and bytes must be UTF-8."""
    assert said(send(iterable, UPDATE, data=data)) == (400, "BadJsonBody")


def test_content_type_is_needed(iterable: StandIn) -> None:
    """A body that does not say it is JSON is not read; parameters of the type do not matter."""
    plain = send(iterable, UPDATE, {"email": ANN}, headers={"Content-Type": "text/plain"})
    with_charset = {"Content-Type": "Application/JSON; charset=utf-8"}

    assert plain.status_code == 415
    assert send(iterable, UPDATE, {"email": ANN}, headers=with_charset).ok


def test_four_megabytes_and_no_more(iterable: StandIn) -> None:
    """A body of 4,000,000 bytes is taken, one byte more is not, and neither takes long."""
    user = json.dumps({"email": ANN, "dataFields": {"a": "x"}})
    users = ",".join([user] * 60_000)
    whole = f'{{"users":[{users[: (len(user) + 1) * 1000 - 1]}]'.encode().ljust(3_999_999) + b"}"

    assert send(iterable, BULK_UPDATE, data=whole).json()["successCount"] == 1000
    assert send(iterable, BULK_UPDATE, data=whole + b" ").status_code == 413
    assert iterable.warnings == [f"{ANN} is 1000 times in one bulkUpdate"]


# Events


def test_event_is_stored_under_its_id(iterable: StandIn) -> None:
    """The same id again updates the event and is counted, new fields are named once."""
    first = send(iterable, TRACK, event(1, dataFields={"page": "/a", "bot": False}))
    second = send(iterable, TRACK, event(1, dataFields={"page": "/b"}))

    assert first.json() == {
        "msg": "Event with id: pv-1 tracked. Fields that were created were: [page_view.page,page_view.bot]",
        "code": "Success",
        "params": {"id": "pv-1"},
    }
    assert second.json()["msg"] == "Event with id: pv-1 tracked."
    assert iterable.events == {"pv-1": {**event(1), "dataFields": {"page": "/b"}, "writes": 2}}
    assert iterable.warnings == []


def test_event_without_id_gets_one(iterable: StandIn) -> None:
    """A generated id has 32 lower-case hexadecimal digits; a missing time is the time of arrival."""
    response = send(iterable, TRACK, {"email": ANN, "eventName": "page_view"})
    (event_id,) = iterable.events

    assert response.json()["params"] == {"id": event_id}
    assert (len(event_id), int(event_id, 16) > 0) == (32, True)
    assert iterable.events[event_id]["createdAt"] == NOW


@pytest.mark.parametrize("event_id", ["pv_1", "pv:1", "pv.1", "", "x" * 513, "é"])
def test_event_id_has_letters_digits_and_hyphens(iterable: StandIn, event_id: str) -> None:
    """Any other character, or more than 512 bytes, is refused."""
    assert said(send(iterable, TRACK, {**event(), "id": event_id})) == (400, "BadParams")


@pytest.mark.parametrize(
    ("change", "at"),
    [({"eventName": 1}, "eventName"), ({"createdAt": "1"}, "createdAt"), ({"createdAt": 1.5}, "createdAt")],
)
def test_event_envelope_is_typed(iterable: StandIn, change: dict[str, Any], at: str) -> None:
    """Names are strings and times are whole numbers."""
    assert list(send(iterable, TRACK, event(**change)).json()["params"]) == [f"obj.{at}"]


def test_event_needs_a_name(iterable: StandIn) -> None:
    """An event without eventName is a bad body."""
    response = send(iterable, TRACK, {"email": ANN})

    assert response.json()["params"] == {"obj.eventName": "Value expected"}


@pytest.mark.parametrize("created", [NOW * 1000, 0, NOW + 90_000], ids=["milliseconds", "zero", "future"])
def test_odd_times_are_taken_and_noted(iterable: StandIn, created: int) -> None:
    """Iterable takes milliseconds without a word; the stand-in says a word."""
    assert send(iterable, TRACK, event(createdAt=created)).ok
    assert iterable.warnings == [f"createdAt {created} is not a recent time in Unix seconds"]


def test_event_id_of_another_user_is_noted(iterable: StandIn) -> None:
    """Ids are unique in the project: one that comes again for somebody else is a collision."""
    send(iterable, TRACK, event())
    send(iterable, TRACK, event(email="bob@example.com"))

    assert iterable.warnings == ["the event id pv-1 came again for another user or event name"]


def test_disallowed_event_is_refused_inside_a_200(iterable: StandIn) -> None:
    """A switched-off event name answers 200, and nothing is stored."""
    iterable.disallowed_events.add("page_view")
    response = send(iterable, TRACK, event())
    bulk = send(iterable, BULK_TRACK, {"events": [event(1), event(2), event(3, eventName="sale")]}).json()

    assert (response.status_code, response.json()["code"]) == (200, "BadParams")
    assert "is disallowed from tracking" in response.json()["msg"]
    assert (bulk["successCount"], bulk["failCount"]) == (1, 2)
    assert bulk["disallowedEventNames"] == ["page_view"]
    assert list(iterable.events) == ["pv-3"]


def test_events_may_need_their_user(iterable: StandIn) -> None:
    """With the switch on, an event of a user nobody knows is refused; by default it is taken."""
    iterable.events_need_user = True
    response = send(iterable, TRACK, event())
    bulk = send(iterable, BULK_TRACK, {"events": [event()]}).json()

    assert response.json()["msg"] == f"User does not exist. Email: {ANN} UserId: "
    assert bulk["failedUpdates"]["notFoundEmails"] == [ANN]
    assert update(iterable).ok
    assert send(iterable, TRACK, event()).ok


# Bulk


def test_bulk_update_answers_with_every_list(iterable: StandIn) -> None:
    """A bad user fails alone, inside a 200 that has no code."""
    good = {"email": ANN, "dataFields": {"plan": "gold"}}
    response = send(iterable, BULK_UPDATE, {"users": [good, {"email": "shrouti"}]})
    kinds = ("invalid", "notFound", "invalidData", "conflict", "forgotten")
    failed: dict[str, list[str]] = {kind + who: [] for kind in kinds for who in ("Emails", "UserIds")}

    assert response.status_code == 200
    assert response.json() == {
        "successCount": 1,
        "failCount": 1,
        "invalidEmails": ["shrouti"],
        "invalidUserIds": [],
        "filteredOutFields": [],
        "createdFields": ["plan"],
        "noOpEmails": [],
        "noOpUserIds": [],
        "failedUpdates": {**failed, "invalidEmails": ["shrouti"]},
    }
    assert iterable.profiles == {ANN: {"plan": "gold"}}


def test_bulk_track_answers_with_every_list(iterable: StandIn) -> None:
    """A failed event is named by its user only."""
    response = send(iterable, BULK_TRACK, {"events": [event(dataFields={"p": 1}), event(2, "sayan")]})

    assert response.json() == {
        "successCount": 1,
        "failCount": 1,
        "invalidEmails": ["sayan"],
        "invalidUserIds": [],
        "disallowedEventNames": [],
        "filteredOutFields": [],
        "createdFields": ["page_view.p"],
        "failedUpdates": {
            "invalidEmails": ["sayan"],
            "invalidUserIds": [],
            "notFoundEmails": [],
            "notFoundUserIds": [],
            "forgottenEmails": [],
            "forgottenUserIds": [],
        },
    }


def test_one_bad_envelope_refuses_the_batch(iterable: StandIn) -> None:
    """A badly typed item refuses its whole batch, and the answer names its place."""
    users = send(iterable, BULK_UPDATE, {"users": [{"email": ANN}, {"email": ANN, "preferUserId": "x"}]})
    events = send(iterable, BULK_TRACK, {"events": [event(), event(2, createdAt="x"), 3]})

    assert users.json()["params"] == {"obj.users[1].preferUserId": "Boolean value expected"}
    assert events.json()["params"] == {
        "obj.events[1].createdAt": "Number value expected",
        "obj.events[2]": "Object value expected",
    }
    assert (iterable.profiles, iterable.events) == ({}, {})


def test_type_conflict_in_bulk(iterable: StandIn) -> None:
    """By default one conflict refuses the batch; by the switch it fails one user."""
    users = [{"email": ANN, "dataFields": {"a": 1}}, {"email": "bob@example.com", "dataFields": {"a": "x"}}]

    assert said(send(iterable, BULK_UPDATE, {"users": users})) == (400, "RequestFieldsTypesMismatched")
    assert (iterable.profiles, iterable.field_types.user) == ({}, {})
    iterable.conflict_rejects_batch = False
    bulk = send(iterable, BULK_UPDATE, {"users": users}).json()
    assert bulk["failedUpdates"]["invalidDataEmails"] == ["bob@example.com"]
    assert iterable.profiles == {ANN: {"a": 1}}


# Keys and tokens


@pytest.mark.parametrize("key", ["", "wrong"])
def test_wrong_key(iterable: StandIn, key: str) -> None:
    """Without a key of the project nothing is read."""
    response = send(iterable, UPDATE, {"email": ANN}, headers={"Api-Key": key})

    assert said(response) == (401, "BadApiKey")
    assert response.json()["params"] == {"ip": "127.0.0.1", "endpoint": UPDATE}


def test_read_only_key_reads_what_it_may(iterable: StandIn) -> None:
    """It passes the usual check of a key and fails on writes and on users."""
    iterable.read_only_key = "read-only-key"
    key = {"Api-Key": "read-only-key"}

    assert send(iterable, "/api/channels", method="GET", headers=key).ok
    assert send(iterable, "/api/users/getFields", method="GET", headers=key).ok
    assert said(send(iterable, f"/api/users/{ANN}", method="GET", headers=key)) == (401, "BadApiKey")
    response = send(iterable, UPDATE, {"email": ANN}, headers=key)
    assert response.json()["params"]["apiKeyType"] == "ReadOnly"


def test_jwt_key_writes_its_user(iterable: StandIn) -> None:
    """With both headers and a token of the user, profile and event are taken."""
    assert send_with_jwt(iterable, token()).ok
    assert send_with_jwt(iterable, token(), event(), TRACK).ok
    query = f"?email={ANN}&count=1&platform=iOS&SDKVersion=None"
    assert send_with_jwt(iterable, token(), path="/api/inApp/getMessages" + query, method="GET").ok


def test_official_jwt_sample_holds() -> None:
    """The sample of the JWT documentation is signed as the stand-in checks it."""
    sample = (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
        "eyJlbWFpbCI6InRlc3RAaXRlcmFibGUuY29tIiwiaWF0IjoxNTk5NjkzMjE4LCJleHAiOjE1OTk2OTMyMTl9."
        "eDbexB7CnK2jGsXvHfYENrCEkblrLKxgMNbmlfJHXUA"
    )
    with StandIn(jwt_api_key=JWT_KEY, jwt_secret=JWT_SECRET, clock=lambda: 1_599_693_218.0) as iterable:
        assert send_with_jwt(iterable, sample, {"email": "test@iterable.com"}).ok


@pytest.mark.parametrize("path", [BULK_UPDATE, BULK_TRACK, f"/api/users/{ANN}", "/api/channels"])
def test_jwt_key_may_not_do_bulk_or_reads(iterable: StandIn, path: str) -> None:
    """JWT-enabled keys are client-side keys."""
    body: dict[str, Any] = {"users": []}
    response = send_with_jwt(iterable, token(), body, path, "POST" if "ulk" in path else "GET")

    assert said(response) == (401, "BadApiKey")
    assert response.json()["msg"] == "Disabled API key or insufficient privileges"
    assert response.json()["params"] == {
        "ip": "127.0.0.1",
        "endpoint": path,
        "apiKeyIdentifier": "jwt-enab",
        "apiKeyType": "Mobile",
    }


def unsigned_token() -> str:
    """A token whose signature is right and whose header says there is none."""
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    signed = f"{head}.{token().split('.')[1]}"
    signature = hmac.digest(JWT_SECRET.encode(), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    ("bearer", "code", "msg"),
    [
        ("", "BadAuthorizationHeader", "jwt authorization header is not set"),
        ("a.b", "InvalidJwtPayload", "jwt format is invalid"),
        (token() + "=", "InvalidJwtPayload", "jwt format is invalid"),
        (token("0" * 32), "InvalidJwtPayload", "jwt is invalid"),
        (unsigned_token(), "InvalidJwtPayload", "jwt is invalid"),
        (token(exp=str(NOW + 60)), "InvalidJwtPayload", "invalid payload"),
        (token(exp=None), "InvalidJwtPayload", "invalid payload"),
        (token(userId="1"), "InvalidJwtPayload", "invalid payload"),
        (token(email=None), "InvalidJwtPayload", "jwt payload requires a value for userid or email"),
        (token(exp=NOW + 31_536_001), "InvalidJwtPayload", "exp must be less than 1 year from iat"),
        (token(iat=NOW - 60, exp=NOW), "InvalidJwtPayload", "jwt token is expired"),
        (token(email="Ann@example.com"), "JwtUserIdentifiersMismatched", ""),
        (token(email=None, userId="1"), "JwtUserIdentifiersMismatched", ""),
    ],
)
def test_what_is_wrong_with_a_token(iterable: StandIn, bearer: str, code: str, msg: str) -> None:
    """Each defect has its code and the message that the SDKs look for."""
    response = send_with_jwt(iterable, bearer)

    assert said(response) == (401, code)
    assert not msg or response.json()["msg"].lower() == msg
    assert iterable.profiles == {}


def test_longest_token_and_extra_claims(iterable: StandIn) -> None:
    """A lifetime of exactly a year is allowed; whether other claims are is a switch."""
    assert send_with_jwt(iterable, token(exp=NOW + 31_536_000, iss="me")).ok
    iterable.reject_extra_claims = True
    assert send_with_jwt(iterable, token(iss="me")).json()["msg"] == "Invalid payload"


def test_jwt_events_under_the_projects_switches(iterable: StandIn) -> None:
    """An event may need its user first, and a blocked name is answered with success and not stored."""
    iterable.jwt_needs_user = True
    assert send_with_jwt(iterable, token(), event(), TRACK).json()["msg"] == "Email could not be found"
    send_with_jwt(iterable, token())
    iterable.blocked_events.add("page_view")

    assert said(send_with_jwt(iterable, token(), event(), TRACK)) == (200, "Success")
    assert iterable.events == {}


# Reads


def test_user_as_read(iterable: StandIn) -> None:
    """A known user comes with Iterable's own fields, an unknown one is an empty object, by any road."""
    update(iterable, "ann+a@example.com", plan="gold")
    by_path = read(iterable, "/api/users/ann%2Ba%40example.com").json()

    assert by_path == read(iterable, "/api/users/getByEmail?email=ann%2Ba@example.com").json()
    assert by_path["user"]["email"] == "ann+a@example.com"
    assert by_path["user"]["dataFields"]["plan"] == "gold"
    assert by_path["user"]["dataFields"]["profileUpdatedAt"] == "2026-01-09 23:06:40 +00:00"
    assert read(iterable, "/api/users/bob@example.com").json() == {}
    assert read(iterable, "/api/users/byUserId/1").json() == {}
    assert said(read(iterable, "/api/users/000")) == (400, "InvalidEmailAddressError")


def test_events_as_read(iterable: StandIn) -> None:
    """The newest come first, with their time as text."""
    for number in range(3):
        send(iterable, TRACK, event(number, createdAt=NOW + number))
    found = read(iterable, f"/api/events/{ANN}?limit=2").json()["events"]

    assert [one["createdAt"] for one in found] == ["2026-01-09 23:06:42 +00:00", "2026-01-09 23:06:41 +00:00"]
    assert said(read(iterable, f"/api/events/{ANN}?limit=201")) == (400, "BadParams")


def test_writes_become_visible_late(iterable: StandIn) -> None:
    """A GET right after a write shows what was before it."""
    update(iterable, plan="gold")
    iterable.visible_after = 60
    update(iterable, plan="silver")
    update(iterable, "bob@example.com", plan="gold")

    assert read(iterable, f"/api/users/{ANN}").json() == {}
    assert read(iterable, "/api/users/bob@example.com").json() == {}
    iterable.visible_after = 0
    assert read(iterable, f"/api/users/{ANN}").json()["user"]["dataFields"]["plan"] == "silver"


def test_lists_and_channels(iterable: StandIn) -> None:
    """The cheap reads answer in their documented shape."""
    assert list(read(iterable, "/api/lists").json()) == ["lists"]
    assert list(read(iterable, "/api/channels").json()["channels"][0]) == [
        "id",
        "name",
        "channelType",
        "messageMedium",
    ]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/users/updat"), ("GET", UPDATE), ("DELETE", "/api/lists"), ("GET", "/api/users/a/b")],
)
def test_wrong_url(iterable: StandIn, method: str, path: str) -> None:
    """A path or method that Iterable does not have gets the web server's page."""
    response = send(iterable, path, {}, method=method)

    assert (response.status_code, "Action not found" in response.text) == (404, True)


# Limits


def test_limit_holds_in_any_second() -> None:
    """Never more than the limit in any one second; the answers beyond it alternate between the forms."""
    with StandIn(limits={UPDATE: 3}, retry_after="7") as iterable:
        answers = [update(iterable) for _ in range(5)]

        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[3].json()["code"] == "RateLimitExceeded"
        assert answers[4].headers["Content-Type"] == "text/plain"
        assert {answer.headers["Retry-After"] for answer in answers[3:]} == {"7"}
        assert send(iterable, TRACK, event(createdAt=int(time.time()))).ok


def test_limit_slides_with_the_arrivals() -> None:
    """The window is the second before an arrival, not a second of the clock; a refused one does not count."""
    project = Project(ProjectRules(limits={"/api/lists": 2}))
    statuses = []
    for arrived in (0.5, 0.9, 1.2, 1.5, 1.6, 1.95):
        headers = {"api-key": "stand-in-key"}
        request = Request("GET", "/api/lists", "", headers, b"", arrived)
        statuses.append(project.handle(request).status)

    assert statuses == [200, 200, 429, 200, 429, 200]


# The wire


def test_answers_carry_the_recorded_headers(iterable: StandIn) -> None:
    """The header set is the one of recorded answers."""
    headers = update(iterable).headers

    assert headers["Content-Type"] == "application/json"
    assert headers["Server"].startswith("iterable-ingress ")
    assert {"Date", "Connection", "Vary", "Request-Time", "Content-Length"} <= set(headers)


def test_what_was_sent_is_kept(iterable: StandIn) -> None:
    """Requests are kept as they came, with how they were answered, and counted."""
    update(iterable, "sayan")
    (request,) = iterable.requests

    assert (request.method, request.path, request.status) == ("POST", UPDATE, 400)
    assert request.json() == {"email": "sayan", "dataFields": {}}
    assert request.headers["api-key"] == iterable.api_key
    assert iterable.counts == {(UPDATE, 400): 1}
    iterable.keep_requests = False
    update(iterable)
    assert (len(iterable.requests), iterable.counts.total()) == (1, 2)


def test_one_connection_serves_many_requests(iterable: StandIn) -> None:
    """Connections are kept alive, whatever the answer was."""
    with requests.Session() as session:
        for body in ("{}", "[]", "{"):
            session.post(iterable.url + UPDATE, data=body, headers={"api-KEY": iterable.api_key}, timeout=2)

    assert (iterable.connections, iterable.counts.total()) == (1, 3)


def read_until(wire: socket.socket, text: bytes, times: int) -> bytes:
    """What came until *text* was in it so many times."""
    got = b""
    while got.count(text) < times:
        more = wire.recv(65_536)
        assert more, got
        got += more
    return got


def raw_update(number: int) -> bytes:
    """One users/update as bytes, its header names in odd cases."""
    body = json.dumps({"email": f"u{number}@example.com"}).encode()
    head = f"POST {UPDATE} HTTP/1.1\r\nAPI-KEY: stand-in-key\r\ncontent-type:application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_pipelined_requests_are_answered_in_order() -> None:
    """What comes while an answer is due waits for it."""
    with (
        StandIn(latency=0.002) as iterable,
        socket.create_connection(("127.0.0.1", iterable.port), timeout=2) as wire,
    ):
        wire.sendall(b"".join(raw_update(number) for number in range(3)))
        read_until(wire, b"Success", 3)

        assert list(iterable.profiles) == [f"u{number}@example.com" for number in range(3)]
        assert iterable.most_in_flight == 1


def test_request_may_come_byte_by_byte(iterable: StandIn) -> None:
    """A request is what its lengths say, however it is cut up."""
    with socket.create_connection(("127.0.0.1", iterable.port), timeout=2) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in raw_update(1):
            wire.send(bytes([byte]))
        read_until(wire, b"Success", 1)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"x" * 70_000, b"431"),
    ],
)
def test_bad_heads_end_the_connection(iterable: StandIn, head: bytes, status: bytes) -> None:
    """What is not HTTP with a Content-Length is answered once, and closed."""
    with socket.create_connection(("127.0.0.1", iterable.port), timeout=2) as wire:
        wire.sendall(head)

        assert read_until(wire, b"</html>", 1).startswith(b"HTTP/1.1 " + status)
        assert wire.recv(1) == b""


def test_close_and_continue_are_honoured(iterable: StandIn) -> None:
    """`Expect: 100-continue` is answered before the body, `Connection: close` after it."""
    with socket.create_connection(("127.0.0.1", iterable.port), timeout=2) as wire:
        head, _, body = raw_update(1).partition(b"\r\n\r\n")
        wire.sendall(head + b"\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        read_until(wire, b"100 Continue", 1)
        wire.sendall(body)
        read_until(wire, b"Success", 1)

        assert wire.recv(1) == b""


def test_closes_at_once_with_answers_pending() -> None:
    """Leaving the context does not wait for answers that are due."""
    with StandIn(latency=60) as iterable:
        connection = http.client.HTTPConnection("127.0.0.1", iterable.port, timeout=2)
        connection.request("GET", "/api/lists", headers={"Api-Key": iterable.api_key})
        while not iterable.requests:
            time.sleep(0.001)
        started = time.monotonic()

    assert time.monotonic() - started < 1
    with pytest.raises(ConnectionError):
        connection.getresponse()
    connection.close()


def test_port_in_use_is_said() -> None:
    """A port that is taken is an error where the stand-in is entered."""
    with StandIn() as iterable, pytest.raises(OSError, match="in use"), StandIn(port=iterable.port):
        pass


def test_own_failure_is_noted(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in a test's faults is to be found, and not to be taken for a lost connection."""
    iterable.faults = lambda request: request.json()["nothing"]
    with pytest.raises(requests.ConnectionError):
        update(iterable)

    assert iterable.warnings == ["the stand-in itself failed: KeyError('nothing')"]
    assert "KeyError" in caplog.text


# Faults


def outcome(iterable: StandIn, timeout: float = 2) -> tuple[int, bytes] | None:
    """Status and body of one update, None without a whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", iterable.port, timeout=timeout)
    headers = {"Api-Key": iterable.api_key, "Content-Type": "application/json"}
    try:
        connection.request("POST", UPDATE, json.dumps({"email": ANN}), headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
def test_every_fault_does_what_it_says(iterable: StandIn, fault: Fault) -> None:
    """Each fault gives its answer or none, applies or does not, and the next request is served again."""
    iterable.faults = scripted([fault])
    whole = not fault.silent and not fault.missing
    expected = (fault.answer.status, fault.answer.body) if fault.answer and whole else None

    patience = 0.03 if fault.ending is catalogue.Ending.HOLD else 2
    assert outcome(iterable, patience) == expected
    assert (ANN in iterable.profiles) is fault.applies
    assert iterable.requests[0].fault == fault.name
    after = outcome(iterable)
    assert after is not None
    assert after[0] == 200


def test_fault_names_tell_them_apart() -> None:
    """Each fault has a name of its own and stands in one list."""
    names = [str(fault) for fault in EVERY_FAULT]
    parts = (EVERY_TRANSIENT_FAULT, EVERY_GARBLED_FAULT, EVERY_REFUSAL, EVERY_JWT_FAULT)

    assert len(names) == len(set(names)) == sum(map(len, parts))


def test_reset_and_close_differ(iterable: StandIn) -> None:
    """One ends with RST, the other with FIN."""
    for fault, error in (
        (catalogue.RESET, ConnectionResetError),
        (catalogue.CLOSED, http.client.RemoteDisconnected),
    ):
        iterable.faults = scripted([fault])
        connection = http.client.HTTPConnection("127.0.0.1", iterable.port, timeout=2)
        connection.request("GET", "/api/lists")
        with pytest.raises(error) as caught:
            connection.getresponse()
        connection.close()
        assert caught.type is error


def test_constructed_faults(iterable: StandIn) -> None:
    """Redirections, late answers and bulk results of any content can be made to order."""
    iterable.faults = scripted(
        [catalogue.redirect(307, "http://elsewhere/"), catalogue.slow(0.01), catalogue.bulk_result(1, 0, x=[])]
    )
    redirected, late, bulk = (update(iterable) for _ in range(3))

    assert (redirected.status_code, redirected.headers["Location"]) == (307, "http://elsewhere/")
    assert late.ok
    assert late.elapsed.total_seconds() >= 0.01
    assert bulk.json() == {"successCount": 1, "failCount": 0, "x": []}
    assert iterable.writes[ANN] == 2


def test_random_faults_repeat() -> None:
    """The same seed gives the same faults in the same order, in about the share asked for."""
    request = Request("GET", "/", "", {}, b"", 0)

    def drawn(seed: int) -> list[Fault | None]:
        faults = at_random(seed, 0.2, EVERY_FAULT)
        return [faults(request) for _ in range(1000)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 150 < sum(fault is not None for fault in drawn(1)) < 250


def test_faults_for_one_path(iterable: StandIn) -> None:
    """A script on one path is not used up by requests to others."""
    iterable.faults = on(TRACK, scripted([catalogue.UNAVAILABLE]))

    assert update(iterable).ok
    assert send(iterable, TRACK, event()).status_code == 503
    assert send(iterable, TRACK, event()).ok


def test_reading_while_it_serves(iterable: StandIn) -> None:
    """What it saw can be read from another thread at any time."""
    thread = threading.Thread(target=lambda: [update(iterable, f"u{n}@example.com") for n in range(50)])
    thread.start()
    while thread.is_alive():
        counts, profiles = iterable.counts.total(), len(iterable.profiles)
        assert counts <= profiles
        time.sleep(0.001)
    thread.join()

    assert len(iterable.profiles) == len(iterable.requests) == iterable.writes.total() == 50


# A process of its own


@pytest.mark.parametrize("ending", ["stdin", "SIGTERM"])
def test_process_serves_and_reports(ending: str) -> None:
    """It prints its URL first and its statistics last, ended by either way."""
    command = [sys.executable, "-m", "bench.stand_in", "--api-key", "k", "--limits"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        answer = requests.get(url + "/api/lists", headers={"Api-Key": "k"}, timeout=2)
        if ending == "SIGTERM":
            process.terminate()
        report, _ = process.communicate(timeout=5)

    assert answer.ok
    assert json.loads(report)["counts"] == {"/api/lists 200": 1}
    assert process.returncode == 0
