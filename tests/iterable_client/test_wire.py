"""What goes over the wire, and which payloads do not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sync.api.answers import Verdict
from sync.api.endpoints import DEEPEST, EVENTS_TRACK_BULK, USERS_BULK_UPDATE, USERS_UPDATE
from tests import faults as catalogue
from tests.iterable_client.helpers import (
    ANN,
    NOW,
    client_of,
    lines,
    update,
)
from tests.stand_in.faults import scripted
from tests.stand_in.stand_in import StandIn


def recursive() -> dict[str, Any]:
    """An object that contains itself."""
    it: dict[str, Any] = {}
    it["it"] = it
    return it


def deep(levels: int) -> object:
    """A list of a list of a list."""
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), [1, {"x": float("nan")}], object(), {1, 2}, b"x", 1j, "\ud800"],
    ids=[
        "NaN",
        "infinite",
        "minus infinite",
        "NaN within",
        "object",
        "set",
        "bytes",
        "complex",
        "half a surrogate pair",
    ],
)
def test_what_is_not_json_is_rejected_without_a_request(
    iterable: StandIn, caplog: pytest.LogCaptureFixture, value: object
) -> None:
    """NaN never leaves the house, nor anything else that JSON does not know: the row is rejected and it is logged."""
    success, data = result = client_of(iterable).update_user(ANN, {"field": value})

    assert (success, result.verdict, result.attempts) == (False, Verdict.REJECTED, 0)
    assert "not JSON" in data["error"]
    assert iterable.requests == []
    assert [line for line in lines(caplog) if "not JSON" in line and f"email={ANN}" in line]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(recursive(), id="recursive"),
        pytest.param(deep(DEEPEST - 1), id="a-level-too-many"),
        pytest.param(deep(9_000), id="as-some-Pythons-can-write"),
        pytest.param(deep(300_000), id="as-none-can"),
    ],
)
def test_bottomless_payload_is_rejected(iterable: StandIn, value: object) -> None:
    """Objects that contain themselves, or are too deep, are rejected like others that are not JSON, on every Python."""
    result = client_of(iterable).update_user(ANN, {"field": value})

    assert (result.verdict, result.reason) == (
        Verdict.REJECTED,
        "the payload is not JSON: it is nested deeper than 500 levels",
    )
    assert iterable.requests == []


def test_deep_payload_is_sent(iterable: StandIn) -> None:
    """What is as deep as is allowed goes to Iterable."""
    assert client_of(iterable).update_user(ANN, {"field": deep(DEEPEST - 2)}).verdict is Verdict.ACCEPTED


def test_update_user(iterable: StandIn) -> None:
    """The address trimmed and lower-cased, the fields as they are, text in UTF-8, null for NULL."""
    success, data = client_of(iterable).update_user(" Ann@Example.COM ", {"name": "Zoë", "plan": None, "n": 1.5})

    request = iterable.requests[0]
    assert (success, data["code"]) == (True, "Success")
    assert (request.method, request.path) == ("POST", "/api/users/update")
    assert request.body == '{"email":"ann@example.com","dataFields":{"name":"Zoë","plan":null,"n":1.5}}'.encode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["api-key"] == iterable.api_key
    assert "authorization" not in request.headers
    assert iterable.warnings == []


def test_track_event(iterable: StandIn) -> None:
    """Event name, and id and time where they are given."""
    client = client_of(iterable)
    assert client.track_event(ANN, "page_view", {"page": "pricing"})[0]
    assert client.track_event(ANN, "page_view", {}, id="pv-1", createdAt=int(NOW))[0]

    first, second = (request.json() for request in iterable.requests)
    assert first == {"email": ANN, "eventName": "page_view", "dataFields": {"page": "pricing"}}
    assert second == {"email": ANN, "eventName": "page_view", "id": "pv-1", "createdAt": NOW, "dataFields": {}}


def test_by_user_id(iterable: StandIn) -> None:
    """With a user id the address is None; whatever else a body holds goes along under Iterable's own name."""
    client = client_of(iterable, api_key=iterable.api_key)
    fields = {"address": {"city": "Berlin"}}
    assert client.update_user(None, fields, user_id="u1", preferUserId=True, mergeNestedObjects=True)[0]
    assert client.track_event(None, "page_view", {}, user_id="u1", id="pv-1", createdAt=int(NOW))[0]

    profile, event = (request.body.decode() for request in iterable.requests)
    assert profile == (
        '{"userId":"u1","preferUserId":true,"mergeNestedObjects":true,"dataFields":{"address":{"city":"Berlin"}}}'
    )
    assert event == f'{{"userId":"u1","eventName":"page_view","id":"pv-1","createdAt":{NOW:.0f},"dataFields":{{}}}}'


def test_names_that_no_body_has(iterable: StandIn) -> None:
    """A misspelt keyword, no name and two names of the user are the caller's errors: nothing is sent."""
    client = client_of(iterable)
    with pytest.raises(TypeError, match="events/track takes no event_id"):
        client.track_event(ANN, "page_view", {}, event_id="pv-1")
    with pytest.raises(TypeError, match="users/update takes no id"):
        client.update_user(ANN, {}, id="pv-1")
    with pytest.raises(ValueError, match="named by an address, or by a user id"):
        client.update_user(None, {})
    with pytest.raises(ValueError, match="named by an address, or by a user id"):
        client.track_event(ANN, "page_view", {}, user_id="u1")
    assert iterable.requests == []


def test_bulk(iterable: StandIn) -> None:
    """Many users or events in one request, put together from the single requests' JSON."""
    client = client_of(iterable)
    users = client.send_bulk(USERS_BULK_UPDATE, ['{"email":"ann@example.com"}', '{"email":"bob@example.com"}'])
    events = client.send_bulk(EVENTS_TRACK_BULK, ['{"email":"ann@example.com","eventName":"page_view"}'])

    assert (users.verdict, users[1]["successCount"], users[1]["failCount"]) == (Verdict.ACCEPTED, 2, 0)
    assert (events.verdict, events[1]["successCount"]) == (Verdict.ACCEPTED, 1)
    assert set(iterable.profiles) == {ANN, "bob@example.com"}


def test_get(iterable: StandIn) -> None:
    """Reading: any JSON object is a success, with its query encoded; a page is not."""
    client = client_of(iterable)
    update(client, "a+b@example.com")

    assert client.get("users/getByEmail", email="a+b@example.com")[1]["user"]["email"] == "a+b@example.com"
    iterable.faults = scripted([catalogue.PAGE])
    assert client.get("channels").verdict is Verdict.UNREADABLE


def test_handle_response(iterable: StandIn) -> None:
    """An answer by itself is read by the same rules as in the loop."""
    client = client_of(iterable)
    url, auth = f"{iterable.url}/api/users/update", {"Api-Key": iterable.api_key}
    good = client.session.post(url, json={"email": ANN}, headers=auth, timeout=5)
    bad = client.session.post(url, json={"email": "000"}, headers=auth, timeout=5)

    assert client._handle_response(good, USERS_UPDATE)[0] is True
    success, data = client._handle_response(bad, USERS_UPDATE)
    assert (success, data["status"], data["code"]) == (False, 400, "InvalidEmailAddressError")


def test_request_path_takes_a_plain_dict(iterable: StandIn) -> None:
    """`_make_request_with_retry(method, endpoint_url, payload, endpoint_name)`, as in the seed."""
    client = client_of(iterable)
    url = f"{iterable.url}/api/users/update"

    assert client._make_request_with_retry("POST", url, {"email": ANN, "dataFields": {}}, USERS_UPDATE)[0]


def test_one_connection_is_reused(iterable: StandIn) -> None:
    """One Session: twenty calls and a refusal share one connection."""
    client = client_of(iterable)
    iterable.faults = scripted([None, catalogue.BAD_PARAMS, catalogue.UNAVAILABLE])
    for n in range(10):
        update(client)
        client.track_event(ANN, "page_view", {"n": n})

    assert len(iterable.requests) == 21
    assert iterable.connections == 1


def test_connections_of_many_threads_are_pooled(iterable: StandIn) -> None:
    """The pool is as large as the workers, so no thread's connection is thrown away."""
    client = client_of(iterable, workers=8)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: update(client, f"u{n}@example.com"), range(80)))

    assert all(success for success, _ in results)
    assert iterable.connections <= 8
