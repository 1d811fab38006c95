"""Keys, tokens, reads and limits of the stand-in."""

from __future__ import annotations

import base64
import hmac
import time
from typing import Any

import jwt
import pytest
import requests

from tests.stand_in.answers import Request
from tests.stand_in.project import Project
from tests.stand_in.rules import ProjectRules
from tests.stand_in.stand_in import StandIn
from tests.stand_in.tests.asking import (
    ANN,
    BULK_TRACK,
    BULK_UPDATE,
    JWT_KEY,
    JWT_SECRET,
    NOW,
    TRACK,
    UPDATE,
    event,
    read,
    said,
    send,
    update,
)


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
