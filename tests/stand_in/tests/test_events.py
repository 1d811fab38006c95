"""Events at the stand-in, one by one and in bulk; what a body may be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stand_in.stand_in import StandIn
from tests.stand_in.tests.asking import (
    ANN,
    BULK_TRACK,
    BULK_UPDATE,
    NOW,
    TRACK,
    UPDATE,
    event,
    said,
    send,
    update,
)


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
