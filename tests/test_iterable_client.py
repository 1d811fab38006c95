"""The client against the stand-in, over real sockets: no call to `requests` is patched, and nobody really waits."""

from __future__ import annotations

import base64
import http.server
import ipaddress
import itertools
import json
import logging
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from iterable_client import MAX_BACKOFF, IterableClient
from sync.api.answers import RETRYABLE_STATUSES, ApiResult, Verdict
from sync.api.endpoints import EVENTS_TRACK_BULK, USERS_BULK_UPDATE, USERS_UPDATE
from sync.api.messages import DEEPEST, Message
from sync.api.pacing import Pacer, Ticket
from sync.sandbox.answers import Answer, Request
from sync.sandbox.faults import Ending, Fault, scripted
from sync.sandbox.stand_in import StandIn
from tests import faults as catalogue
from tests.faults import EVERY_FAULT, EVERY_GARBLED_FAULT, EVERY_JWT_FAULT, EVERY_REFUSAL, EVERY_TRANSIENT_FAULT

ANN = "ann@example.com"
JWT_KEY, JWT_SECRET = "jwt-enabled-key-0123456789", "2EB6A2F34691492F81A819AEDA32427F"
NOW = 1_768_000_000.0
LADDER = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, MAX_BACKOFF, MAX_BACKOFF]
OK = catalogue.raw("ok", 200, b'{"msg":"","code":"Success","params":null}')


class Waits(list[float]):
    """A sleep that takes no time: it keeps the seconds, and says whether the wait was interrupted."""

    def __init__(self, during: Callable[[float], object] = lambda _: None, interrupted: bool = False) -> None:
        super().__init__()
        self._during, self._interrupted = during, interrupted

    def __call__(self, seconds: float) -> bool:
        """Keep the seconds."""
        self.append(seconds)
        self._during(seconds)
        return self._interrupted


class NoJitter(random.Random):
    """Always the middle."""

    def uniform(self, a: float, b: float) -> float:
        """Halfway between both."""
        return (a + b) / 2


class Clock:
    """A time that stands still until somebody moves it."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def move(self, seconds: float) -> None:
        """Jump, forward or back."""
        self.now += seconds


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither proxies nor certificates nor a ~/.netrc of whoever runs the tests, nor a log level of other tests."""
    caplog.set_level(logging.WARNING)
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name in (*names, *map(str.upper, names), "NETRC", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def iterable() -> Iterator[StandIn]:
    """A project with a key of either kind."""
    with StandIn(jwt_api_key=JWT_KEY, jwt_secret=JWT_SECRET) as running:
        yield running


def client_of(iterable: StandIn, waits: Waits | None = None, **more: Any) -> IterableClient:
    """A client of this project that does not wait, with jitter off."""
    settings = {"api_key": iterable.api_key, "base_url": iterable.url, "timeout": 5.0, "rng": NoJitter(), **more}
    recorder = Waits() if waits is None else waits
    client = IterableClient(sleep=recorder, **settings)
    assert client._sleep is recorder  # an empty list is falsy, and would be replaced by a real sleep
    return client


def jwt_client_of(iterable: StandIn, clock: Callable[[], float], waits: Waits | None = None, **more: Any) -> Any:
    """A client with the JWT-enabled key; project and client agree on the time."""
    iterable.clock = clock
    settings = {"api_key": JWT_KEY, "jwt_secret": JWT_SECRET, "use_jwt": True, "clock": clock, **more}
    return client_of(iterable, waits, **settings)


def update(client: IterableClient, email: str = ANN) -> ApiResult:
    """One profile."""
    return client.update_user(email, {"plan": "pro"})


def claims_of(request: Request) -> dict[str, Any]:
    """What the bearer token of this request claims."""
    payload = request.headers["authorization"].removeprefix("Bearer ").split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.DEBUG) -> list[str]:
    """The client's log sentences."""
    return [
        record.getMessage() for record in caplog.records if record.name == "iterable_client" and record.levelno >= level
    ]


# Whether to try again


@pytest.mark.parametrize("status", range(100, 600))
def test_retry_table(status: int) -> None:
    """Six statuses may pass; every other one of 100 to 599 would be answered again."""
    assert IterableClient("key")._is_retryable(status) is (status in {408, 429, 500, 502, 503, 504})


@pytest.mark.parametrize(
    "status",
    [*sorted(RETRYABLE_STATUSES), 201, 204, 301, 400, 401, 402, 403, 404, 405, 409, 410, 413, 418, 422, 501, 505],
)
def test_loop_follows_the_table(iterable: StandIn, status: int) -> None:
    """Three requests for a status of the table, one for any other."""
    body = b"" if status == 204 else b"busy"
    iterable.faults = lambda _: catalogue.raw(str(status), status, body, "text/plain")
    waits = Waits()

    result = update(client_of(iterable, waits))

    expected = 3 if status in RETRYABLE_STATUSES else 1
    assert (len(iterable.requests), result.attempts, len(waits)) == (expected, expected, expected - 1)


def test_is_retryable_decides_in_the_loop(iterable: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table that `_is_retryable` tells is the one that the loop follows."""
    client = client_of(iterable)
    monkeypatch.setattr(client, "_is_retryable", lambda _: False)
    iterable.faults = scripted([catalogue.SERVER_ERROR])

    assert update(client).attempts == 1


# How long to wait


def test_backoff_ladder() -> None:
    """With the defaults: 1, 2, 4, ... seconds, up to ten minutes; attempts are counted from 0."""
    client = IterableClient("key", rng=NoJitter())

    assert [client._calculate_backoff(attempt) for attempt in range(12)] == LADDER


def test_backoff_follows_its_settings() -> None:
    """initial_backoff x backoff_factor ^ attempt."""
    client = IterableClient("key", initial_backoff=0.5, backoff_factor=3, rng=NoJitter())

    assert [client._calculate_backoff(attempt) for attempt in range(5)] == [0.5, 1.5, 4.5, 13.5, 40.5]


def test_jitter_is_ten_per_cent_either_way() -> None:
    """Waits differ, within 10 % of the ladder, and use that room."""
    client = IterableClient("key", rng=random.Random(1))
    drawn = [client._calculate_backoff(2) for _ in range(500)]

    assert 3.6 <= min(drawn) < 3.65 and 4.35 < max(drawn) <= 4.4
    assert len(set(drawn)) > 400


@pytest.mark.parametrize(("initial", "factor"), [(1.0, 2.0), (1, 2), (0.5, 10), (1, 1.5)])
def test_attempt_2000_does_not_overflow(initial: float, factor: float) -> None:
    """However many attempts somebody asks for, the wait is a number."""
    client = IterableClient("key", initial_backoff=initial, backoff_factor=factor, max_retries=2001)

    assert MAX_BACKOFF * 0.9 <= client._calculate_backoff(2000) <= MAX_BACKOFF * 1.1


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        pytest.param("30", 30, id="longer than the backoff"),
        pytest.param("120", 120, id="the longest"),
        pytest.param("1", 2, id="shorter"),
        pytest.param("0", 2, id="none"),
        pytest.param("-30", 2, id="negative"),
        pytest.param("soon", 2, id="junk"),
        pytest.param("", 2, id="empty"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 GMT", 2, id="a date in the past"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_counts_when_it_is_longer(iterable: StandIn, header: str, wait: float, status: int) -> None:
    """The longer of backoff and Retry-After; what is no time is ignored."""
    answer = Answer(status, b"", "text/plain", (("Retry-After", header),))
    iterable.faults = scripted([Fault("asks to wait", answer)])
    waits = Waits()

    assert update(client_of(iterable, waits, initial_backoff=2.0)).verdict is Verdict.ACCEPTED
    assert waits == [wait]


def test_retry_after_can_be_a_date(iterable: StandIn) -> None:
    """An HTTP date is the time until then."""
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    iterable.faults = scripted([catalogue.rate_limited(moment)])
    waits = Waits()

    assert update(client_of(iterable, waits)).verdict is Verdict.ACCEPTED
    assert 50 < waits[0] <= 60


@pytest.mark.parametrize("header", ["121", "3600", "9" * 400])
@pytest.mark.parametrize("max_retries", [1, 3])
def test_wait_of_more_than_two_minutes_is_not_waited(iterable: StandIn, header: str, max_retries: int) -> None:
    """A longer Retry-After stops the run: its own verdict after one request, and no wait."""
    iterable.faults = scripted([catalogue.rate_limited(header)] * 3)
    waits = Waits()

    success, data = result = update(client_of(iterable, waits, max_retries=max_retries))

    assert (success, result.verdict, result.attempts, waits) == (False, Verdict.WAIT_TOO_LONG, 1, [])
    assert data["status"] == 429
    assert "more than 120 s" in data["error"]


def test_retry_after_of_a_refusal_is_ignored(iterable: StandIn) -> None:
    """Only what may pass is waited for."""
    answer = catalogue.BAD_PARAMS.answer
    assert answer
    iterable.faults = scripted([Fault("refused", answer._replace(headers=(("Retry-After", "3600"),)))])

    assert update(client_of(iterable)).verdict is Verdict.REJECTED


# How often


def test_one_call_when_it_is_answered(iterable: StandIn) -> None:
    """What is answered at once costs one request and no wait."""
    waits = Waits()
    result = update(client_of(iterable, waits))

    assert (len(iterable.requests), result.attempts, result.retried, waits) == (1, 1, (), [])


@pytest.mark.parametrize("failures", [1, 2, 3, 4])
def test_recovers_after_some_failures(iterable: StandIn, failures: int) -> None:
    """The attempt that is accepted is the last; what the others met is told."""
    iterable.faults = scripted([catalogue.UNAVAILABLE] * failures)
    waits = Waits()

    result = update(client_of(iterable, waits, max_retries=5))

    assert (result.verdict, result.attempts) == (Verdict.ACCEPTED, failures + 1)
    assert result.retried == ("503",) * failures
    assert waits == LADDER[:failures]


@pytest.mark.parametrize("max_retries", [0, 1, 2, 3, 7])
def test_gives_up_after_max_retries(iterable: StandIn, max_retries: int) -> None:
    """`max_retries` counts attempts, at least one is made, and nobody waits after the last."""
    iterable.faults = lambda _: catalogue.UNAVAILABLE
    waits = Waits()

    success, data = result = update(client_of(iterable, waits, max_retries=max_retries))

    attempts = max(1, max_retries)
    assert (success, result.attempts, len(iterable.requests)) == (False, attempts, attempts)
    assert waits == LADDER[: attempts - 1]
    assert data == {"error": "Max retries exceeded", "status": 503, "code": None, "reason": "503 with an empty body"}


def test_settings_count_when_assigned_later(iterable: StandIn) -> None:
    """`max_retries`, `initial_backoff` and `backoff_factor` may be assigned after construction."""
    iterable.faults = lambda _: catalogue.UNAVAILABLE
    waits = Waits()
    client = client_of(iterable, waits)

    client.max_retries, client.initial_backoff, client.backoff_factor = 4, 0.1, 10.0

    assert update(client).attempts == 4
    assert waits == pytest.approx([0.1, 1.0, 10.0])


def test_wait_can_be_interrupted(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """A run that is told to stop while a client waits: no further request, and nothing is counted as repeated."""
    iterable.faults = lambda _: catalogue.UNAVAILABLE
    caplog.set_level(logging.DEBUG)

    success, data = result = update(client_of(iterable, Waits(interrupted=True)))

    assert (success, result.verdict, result.attempts, result.retried) == (False, Verdict.INTERRUPTED, 1, ())
    assert data["error"] == "the run was stopped"
    assert len(iterable.requests) == 1
    assert lines(caplog)[-1] == f"users/update call given up: the run is stopping email={ANN}"


# Every fault

EXPECTED_OF_REFUSALS = {
    catalogue.DISALLOWED_EVENT: Verdict.REJECTED_BY_PROJECT,
    catalogue.DISALLOWED_SUCCESS: Verdict.REJECTED_BY_PROJECT,
    catalogue.OTHER_CODE: Verdict.REJECTED,
    catalogue.SUCCESS_ON_400: Verdict.UNREADABLE,
    catalogue.SUCCESS_ON_401: Verdict.FORBIDDEN,
    catalogue.MOVED: Verdict.WRONG_URL,
    catalogue.FOUND: Verdict.WRONG_URL,
    catalogue.TEMPORARY_REDIRECT: Verdict.WRONG_URL,
    catalogue.ACTION_NOT_FOUND: Verdict.WRONG_URL,
    catalogue.NOT_ALLOWED: Verdict.WRONG_URL,
    catalogue.BAD_API_KEY: Verdict.CREDENTIALS_REFUSED,
    catalogue.FORBIDDEN: Verdict.FORBIDDEN,
    catalogue.FORGOTTEN: Verdict.REJECTED,
    catalogue.CONFLICT: Verdict.REJECTED,
    catalogue.TOO_LARGE: Verdict.TOO_LARGE,
    catalogue.BATCH_TOO_LARGE: Verdict.TOO_LARGE,
    catalogue.INVALID_EMAIL: Verdict.REJECTED,
    catalogue.BAD_PARAMS: Verdict.REJECTED,
    catalogue.TYPES_MISMATCHED: Verdict.REJECTED_BY_PROJECT,
    catalogue.TYPES_MISMATCHED_500: Verdict.REJECTED_BY_PROJECT,
    catalogue.UNKNOWN_CODE: Verdict.UNREADABLE,
}
EXPECTED: Mapping[Fault, Verdict] = {
    **{fault: Verdict.RETRYABLE for fault in EVERY_TRANSIENT_FAULT},
    **{fault: Verdict.THROTTLED for fault in EVERY_TRANSIENT_FAULT if fault.answer and fault.answer.status == 429},
    **{fault: Verdict.UNREADABLE for fault in EVERY_GARBLED_FAULT},
    **EXPECTED_OF_REFUSALS,
    **{fault: Verdict.JWT_REFUSED for fault in EVERY_JWT_FAULT},
}


def short(fault: Fault) -> float:
    """A time-out that a fault which never answers does not make long."""
    return 0.05 if fault.ending is Ending.HOLD else 5.0


def test_every_fault_is_expected() -> None:
    """The table below leaves no fault of the stand-in out."""
    assert set(EXPECTED_OF_REFUSALS) == set(EVERY_REFUSAL)
    assert set(EXPECTED) == set(EVERY_FAULT)


@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
def test_every_fault_has_its_verdict(iterable: StandIn, caplog: pytest.LogCaptureFixture, fault: Fault) -> None:
    """A fault that lasts ends in its documented verdict, as a pair, in one-line log records; never in an exception."""
    iterable.faults = lambda _: fault
    waits = Waits()
    caplog.set_level(logging.DEBUG)

    success, data = result = update(client_of(iterable, waits, max_retries=2, timeout=short(fault)))

    transient = fault in EVERY_TRANSIENT_FAULT
    assert (success, result.verdict) == (False, EXPECTED[fault])
    assert (result.attempts, len(waits)) == ((2, 1) if transient else (1, 0))
    assert (data["error"] == "Max retries exceeded") is transient
    assert set(data) == {"error", "status", "code"} | ({"reason"} if transient else set())
    assert all("\n" not in line for line in lines(caplog))


@pytest.mark.parametrize("fault", EVERY_TRANSIENT_FAULT, ids=str)
def test_transient_fault_is_recovered_from(iterable: StandIn, fault: Fault) -> None:
    """The same call is accepted on its second attempt, also after an answer that got lost."""
    iterable.faults = scripted([fault])
    result = update(client_of(iterable, timeout=short(fault)))

    if fault.silent or fault.missing:
        label = "timeout" if fault.ending is Ending.HOLD else "connection"
    else:
        assert fault.answer
        label = str(fault.answer.status)
    assert (result.verdict, result.attempts, result.retried) == (Verdict.ACCEPTED, 2, (label,))
    assert iterable.profiles == {ANN: {"plan": "pro"}}


@pytest.mark.parametrize("fault", EVERY_JWT_FAULT, ids=str)
def test_jwt_fault_ends_as_refused_token(iterable: StandIn, fault: Fault) -> None:
    """With JWT every one of them is about the token: tried once more with a new one if it was its payload."""
    iterable.faults = lambda _: fault
    result = update(jwt_client_of(iterable, Clock()))

    assert result.verdict is Verdict.JWT_REFUSED
    assert result.attempts == (2 if result.code == "InvalidJwtPayload" else 1)
    assert result.retried == ()


def test_random_faults_leave_every_user_one_outcome(iterable: StandIn) -> None:
    """Of 200 calls with faults of every kind each has one result, and what was accepted is there."""
    answered = [fault for fault in EVERY_FAULT if fault.ending is not Ending.HOLD]
    iterable.faults = catalogue.at_random(7, 0.3, answered)
    client = client_of(iterable)
    results = {f"user{n}@example.com": update(client, f"user{n}@example.com") for n in range(200)}

    accepted = {email for email, (success, _) in results.items() if success}
    assert 100 < len(accepted) < 200
    assert accepted <= set(iterable.profiles)
    assert sum(result.attempts for result in results.values()) == len(iterable.requests)


def test_connection_refused() -> None:
    """A server that is not there is tried again, like any broken connection."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        waits = Waits()
        result = update(IterableClient("key", base_url=url, sleep=waits))

    assert (result.verdict, result.attempts, len(waits)) == (Verdict.RETRYABLE, 3, 2)
    assert result.retried == ("connection", "connection")
    assert "Connection refused" in result.reason and " at 0x" not in result.reason


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://", "127.0.0.1:1"])
def test_base_url_that_is_none(url: str) -> None:
    """What is no URL will be none later: no attempt is repeated, and the run stops."""
    waits = Waits()

    assert update(IterableClient("key", base_url=url, sleep=waits)).verdict is Verdict.LOCAL_SETUP
    assert waits == []


def test_socket_that_never_answers(iterable: StandIn) -> None:
    """Every call has a time-out: also a server that accepts and is silent ends it."""
    iterable.faults = lambda _: catalogue.NO_ANSWER
    result = update(client_of(iterable, timeout=0.05))

    assert (result.attempts, result.retried) == (3, ("timeout", "timeout"))
    assert result.reason.startswith("timeout: ReadTimeoutError")


def test_body_that_never_ends_is_a_timeout(iterable: StandIn) -> None:
    """A server that falls silent inside the body is a time-out, too."""
    stalled = Fault("stalls", OK.answer, missing=5, ending=Ending.HOLD)
    iterable.faults = scripted([stalled])
    result = update(client_of(iterable, timeout=0.05))

    assert (result.verdict, result.retried) == (Verdict.ACCEPTED, ("timeout",))


def test_garbage_instead_of_http(caplog: pytest.LogCaptureFixture) -> None:
    """What does not speak HTTP is a broken connection, told in one printable line."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                connection, _address = server.accept()
                connection.recv(65536)
                connection.sendall(b"\x00\x1b[31mSSH-2.0\x0bnonsense\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        result = update(IterableClient("key", base_url=url, sleep=Waits(), max_retries=2, timeout=2))
        thread.join(2)

    assert (result.verdict, result.retried) == (Verdict.RETRYABLE, ("connection",))
    assert result.reason.isprintable()
    assert all(line.isprintable() for line in lines(caplog))


# Payloads that are none


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


# What goes over the wire


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
    assert client.track_event(ANN, "page_view", {}, event_id="pv-1", created_at=int(NOW))[0]

    first, second = (request.json() for request in iterable.requests)
    assert first == {"email": ANN, "eventName": "page_view", "dataFields": {"page": "pricing"}}
    assert second == {"email": ANN, "eventName": "page_view", "id": "pv-1", "createdAt": NOW, "dataFields": {}}


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


# Where credentials must not go


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(iterable: StandIn, status: int) -> None:
    """The key never reaches another server: a redirect is a wrong URL and ends the call."""
    with StandIn() as elsewhere:
        iterable.faults = lambda _: catalogue.redirect(status, f"{elsewhere.url}/api/users/update")
        result = update(client_of(iterable))

        assert (result.verdict, result.attempts) == (Verdict.WRONG_URL, 1)
        assert (elsewhere.requests, elsewhere.connections) == ([], 0)


def test_netrc_does_not_replace_the_token(iterable: StandIn, tmp_path: Path) -> None:
    """A default entry in ~/.netrc is for other programs: the bearer token goes out, and nothing with an API key."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login somebody password something\n")
    netrc.chmod(0o600)

    assert update(jwt_client_of(iterable, Clock()))[0]
    assert update(client_of(iterable))[0]
    with_jwt, with_key = iterable.requests
    assert with_jwt.headers["authorization"].startswith("Bearer ")
    assert "authorization" not in with_key.headers


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Where only a proxy leads outside, the request goes to the proxy, with the whole URL."""
    with StandIn(faults=lambda _: OK) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        result = update(client_of(proxy, base_url="http://iterable.invalid"))

    assert result.verdict is Verdict.ACCEPTED
    assert [request.path for request in proxy.requests] == ["http://iterable.invalid/api/users/update"]


def test_no_proxy_is_honoured(iterable: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts of NO_PROXY are spoken to directly."""
    with StandIn(faults=lambda _: OK) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
        update(client_of(iterable))

        assert (len(proxy.requests), len(iterable.requests)) == (0, 1)


def test_password_of_a_broken_proxy_url_is_not_told(
    iterable: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy's URL that cannot be used is said so, without repeating it."""
    monkeypatch.setenv("http_proxy", "http://user:geheim-7@proxy:port/")
    client = client_of(iterable)
    client.base_url = "http://iterable.invalid"
    result = update(client)

    assert result.verdict is Verdict.LOCAL_SETUP
    assert "geheim" not in caplog.text + repr(result)


class TlsServer:
    """An HTTPS server that nobody vouches for; keeps the bodies it was sent."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "server.pem"
        self.bodies: list[bytes] = []
        _write_self_signed(self.certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        bodies = self.bodies

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                answer = b'{"msg":"","code":"Success"}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _write_self_signed(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(pem) + private)


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[TlsServer]:
    """One for each test."""
    server = TlsServer(tmp_path)
    yield server
    server.close()


def test_certificate_is_verified(tls_server: TlsServer) -> None:
    """A server that cannot prove its name gets nothing; asking again would not help, so the run stops."""
    waits = Waits()
    result = update(IterableClient("key", base_url=tls_server.url, sleep=waits, timeout=5))

    assert (result.verdict, result.attempts, waits, tls_server.bodies) == (Verdict.LOCAL_SETUP, 1, [], [])
    assert "certificate was not accepted, so nothing was sent" in result.reason


def test_own_certificate_authority(tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """REQUESTS_CA_BUNDLE counts, as behind a proxy that opens TLS."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls_server.certificate))

    assert update(IterableClient("key", base_url=tls_server.url, timeout=5)).verdict is Verdict.ACCEPTED
    assert len(tls_server.bodies) == 1


# The log


def test_sentences_of_success(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """The fixed sentences of a good run with an API key, each at INFO and on one line."""
    caplog.set_level(logging.INFO)
    client = client_of(iterable)
    update(client)
    client.track_event(ANN, "page_view", {})

    assert lines(caplog) == [
        "Using API key authentication",
        f"users/update call successful: Success email={ANN} status=200 code=Success attempt=1",
        f"events/track call successful: Success email={ANN} status=200 code=Success attempt=1",
    ]


def test_sentences_of_jwt(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """JWT says so once, and at DEBUG each token that is made."""
    caplog.set_level(logging.DEBUG)
    update(jwt_client_of(iterable, Clock()))

    assert lines(caplog) == [
        "Using JWT authentication",
        f"JWT token generated successfully email={ANN}",
        f"users/update call successful: Success email={ANN} status=200 code=Success attempt=1",
    ]


def test_sentences_of_retries(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """Each retry is announced before its wait with cause, seconds and attempt; the end says that they are spent."""
    iterable.faults = scripted(
        [catalogue.UNAVAILABLE, catalogue.NO_ANSWER, catalogue.CLOSED, catalogue.RATE_LIMITED_TEXT]
    )
    waits = Waits(during=lambda _: announced.append(len(lines(caplog, logging.WARNING))))
    announced: list[int] = []
    update(client_of(iterable, waits, max_retries=4, timeout=0.05, initial_backoff=1.05))

    assert announced == [1, 2, 3]
    first, second, third, last = lines(caplog, logging.WARNING)
    assert first == (
        "Retryable error 503 from users/update. Retrying in 1.05s (attempt 1/4)"
        f" email={ANN} reason='503 with an empty body'"
    )
    assert second.startswith(f"Retryable error timeout from users/update. Retrying in 2.10s (attempt 2/4) email={ANN}")
    assert third.startswith(
        f"Retryable error connection from users/update. Retrying in 4.20s (attempt 3/4) email={ANN}"
    )
    assert last == (
        f"Max retries exceeded for users/update email={ANN} status=429 code=None attempt=4"
        " reason='429 without a code: Rate limit exceeded. Please try again later.'"
    )


@pytest.mark.parametrize(("endpoint", "level"), [(USERS_UPDATE, "ERROR"), (USERS_BULK_UPDATE, "WARNING")])
def test_sentence_of_a_refusal(iterable: StandIn, caplog: pytest.LogCaptureFixture, endpoint: str, level: str) -> None:
    """A refused call tells verdict, status, code and the server's words; a refused batch is no error yet."""
    iterable.faults = scripted([catalogue.INVALID_EMAIL])
    client_of(iterable).send(endpoint, Message({"userId": "u1"}, b"{}"))

    told = f"{endpoint} call failed (rejected): 400 InvalidEmailAddressError: Invalid email: 000 user_id=u1"
    assert lines(caplog, logging.WARNING) == [f"{told} status=400 code=InvalidEmailAddressError attempt=1"]
    assert caplog.records[-1].levelname == level


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_one_event_is_one_line_whatever_the_server_sent(
    iterable: StandIn, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Line breaks and control characters in message, code or address stay out of the log."""
    nasty = "a\r\n2026-01-13 - forged line\x00\x1b[31m\u2028\ud800"
    body = json.dumps({"msg": nasty, "code": nasty}).encode()
    iterable.faults = lambda _: catalogue.raw("nasty", status, body)
    caplog.set_level(logging.DEBUG)

    result = update(client_of(iterable), "ann@example.com\nforged")

    assert not result[0]
    assert len(lines(caplog)) >= 2
    assert all(line.isprintable() for line in lines(caplog))


def test_no_credential_anywhere(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """Neither key nor secret nor token is in the log at DEBUG, in a result, an error or a repr, even if echoed."""

    def echo(request: Request) -> Fault:
        told = f"{request.headers} {JWT_SECRET}"
        status = next(statuses)
        return catalogue.refused(status, request.headers["api-key"] if status == 400 else "InvalidJwtPayload", told)

    statuses = itertools.cycle([401, 500, 400, 200])
    iterable.faults = echo
    caplog.set_level(logging.DEBUG)
    client = jwt_client_of(iterable, Clock())
    results = [update(client) for _ in range(8)]
    iterable.faults = None
    results += [update(client), client.get("channels"), client.update_user(ANN, {"x": object()})]

    told = caplog.text + repr(client) + str(client) + repr(results)
    tokens = {request.headers.get("authorization", "Bearer never").split()[1] for request in iterable.requests}
    for secret in (JWT_KEY, JWT_SECRET, *tokens):
        assert secret not in told
    assert "***" in told and "JWT token generated" in told


def test_a_short_key_does_not_garble_answers(iterable: StandIn) -> None:
    """What is too short to be a key is not looked for in answers."""
    iterable.api_key = "c"

    assert update(client_of(iterable))[1]["code"] == "Success"


# Tokens


def test_official_test_vector() -> None:
    """The token of Iterable's documentation, letter by letter."""
    client = IterableClient("key", JWT_SECRET, use_jwt=True, jwt_issuer="", jwt_lifetime=1, clock=lambda: 1599693218.9)

    assert client._generate_jwt_token({"email": "test@iterable.com"}) == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
        "eyJlbWFpbCI6InRlc3RAaXRlcmFibGUuY29tIiwiaWF0IjoxNTk5NjkzMjE4LCJleHAiOjE1OTk2OTMyMTl9."
        "eDbexB7CnK2jGsXvHfYENrCEkblrLKxgMNbmlfJHXUA"
    )


def test_token_without_a_user_has_the_seeds_claims() -> None:
    """`_generate_jwt_token()` takes no argument, as in the seed: issuer and two times."""
    import jwt

    client = IterableClient("key", JWT_SECRET, use_jwt=True, clock=lambda: NOW)
    claims = jwt.decode(
        client._generate_jwt_token(), JWT_SECRET, ["HS256"], options={"verify_exp": False, "verify_iat": False}
    )

    assert claims == {"iss": "iterable-integration", "iat": int(NOW), "exp": int(NOW) + 3600}


@pytest.mark.parametrize("secret", [None, ""])
def test_use_jwt_without_a_secret_raises(iterable: StandIn, secret: str | None) -> None:
    """Never a silent fallback: not at construction, and not when a switch is assigned later."""
    with pytest.raises(ValueError, match="jwt_secret"):
        IterableClient("key", secret, use_jwt=True)
    client = client_of(iterable, jwt_secret=secret)
    client.use_jwt = True
    with pytest.raises(ValueError, match="jwt_secret"):
        update(client)
    assert iterable.requests == []


@pytest.mark.parametrize("key", ["geheim-key\n", "geheim-keÿ", "geheim\rkey", "geheim-ключ"])
def test_key_that_no_header_can_carry_raises(key: str) -> None:
    """A key with a line break or a letter beyond ASCII is told at once, without repeating it."""
    with pytest.raises(ValueError, match="API key") as caught:
        IterableClient(key)
    assert "geheim" not in str(caught.value)


def test_both_headers_and_the_bodys_user(iterable: StandIn) -> None:
    """Api-Key and bearer together; the claim is the very user of the body, in lower case; times are integers."""
    client = jwt_client_of(iterable, Clock(NOW + 0.75))
    assert client.update_user("Ann@Example.com", {})[0]
    assert client.track_event(ANN, "page_view", {})[0]
    assert client.send(USERS_UPDATE, Message({"userId": "u1"}, b'{"userId":"u1"}'))[0]

    times = {"iat": int(NOW), "exp": int(NOW) + 3600, "iss": "iterable-integration"}
    expected = [{"email": ANN, **times}, {"email": ANN, **times}, {"userId": "u1", **times}]
    assert [claims_of(request) for request in iterable.requests] == expected
    assert all(type(claims_of(request)[name]) is int for request in iterable.requests for name in ("iat", "exp"))
    assert {request.headers["api-key"] for request in iterable.requests} == {JWT_KEY}


def test_empty_issuer_leaves_the_claim_out(iterable: StandIn) -> None:
    """JWT_ISSUER empty: exactly the three documented claims, which the strictest reading accepts."""
    iterable.reject_extra_claims = True

    assert update(jwt_client_of(iterable, Clock(), jwt_issuer=""))[0]
    assert set(claims_of(iterable.requests[0])) == {"email", "iat", "exp"}


def test_one_token_serves_a_users_two_calls(iterable: StandIn) -> None:
    """A token is made once for each user, not for each request; the next user gets one of its own."""
    clock = Clock()
    iterable.faults = lambda _: clock.move(1)
    client = jwt_client_of(iterable, clock)
    for email in (ANN, "bob@example.com"):
        assert update(client, email)[0]
        assert client.track_event(email, "page_view", {})[0]

    tokens = [request.headers["authorization"] for request in iterable.requests]
    assert tokens[0] == tokens[1] != tokens[2] == tokens[3]


@pytest.mark.parametrize(
    ("jump", "new"),
    [
        pytest.param(3539, False, id="young"),
        pytest.param(3540, True, id="a minute before it ends"),
        pytest.param(86_400, True, id="long over"),
        pytest.param(-1, True, id="clock set back"),
        pytest.param(-86_400, True, id="clock set back a day"),
    ],
)
def test_age_is_checked_before_every_attempt(iterable: StandIn, jump: float, new: bool) -> None:
    """A wait may outlast a token: the next attempt of the same call has one that holds."""
    clock = Clock()
    iterable.faults = scripted([catalogue.UNAVAILABLE])
    result = update(jwt_client_of(iterable, clock, Waits(during=lambda _: clock.move(jump))))

    first, second = (claims_of(request) for request in iterable.requests)
    assert result.verdict is Verdict.ACCEPTED
    assert second["iat"] - first["iat"] == (jump if new else 0)


@pytest.mark.parametrize("lifetime", [1, 30, 60, 120])
def test_short_lifetimes(iterable: StandIn, lifetime: int) -> None:
    """A token that lives shorter than the margin is used for the first half of its life."""
    clock = Clock()
    client = jwt_client_of(iterable, clock, jwt_lifetime=lifetime)
    for elapsed in (0, 0.4, 0.6):
        clock.now = NOW + elapsed * lifetime + (elapsed > 0.5)
        update(client)

    first, second, third = (claims_of(request) for request in iterable.requests)
    assert first == second
    assert third["iat"] > first["iat"]
    assert first["exp"] == int(NOW) + lifetime


def test_token_is_made_anew_once(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """After InvalidJwtPayload a new token is made, and nobody waits for it."""
    clock, waits = Clock(), Waits()

    def expired(_: Request) -> Fault | None:
        clock.move(1)
        return catalogue.JWT_EXPIRED if len(iterable.requests) == 1 else None

    iterable.faults = expired
    result = update(jwt_client_of(iterable, clock, waits))

    first, second = (claims_of(request) for request in iterable.requests)
    assert (result.verdict, result.attempts, result.retried, waits) == (Verdict.ACCEPTED, 2, (), [])
    assert second["iat"] == first["iat"] + 1
    assert lines(caplog, logging.WARNING) == [
        f"JWT refused by users/update, made anew once: 401 InvalidJwtPayload: JWT token is expired email={ANN}"
    ]


def test_token_is_not_made_anew_twice(iterable: StandIn) -> None:
    """A second InvalidJwtPayload is the answer, also when something else came between."""
    iterable.faults = scripted([catalogue.JWT_SIGNATURE, catalogue.UNAVAILABLE, catalogue.JWT_SIGNATURE])
    result = update(jwt_client_of(iterable, Clock()))

    assert (result.verdict, result.code, result.attempts) == (Verdict.JWT_REFUSED, "InvalidJwtPayload", 3)
    assert len(iterable.requests) == 3


def test_new_token_costs_no_attempt(iterable: StandIn) -> None:
    """The request that showed the token to be old does not count towards `max_retries`."""
    iterable.faults = scripted([catalogue.JWT_EXPIRED, catalogue.UNAVAILABLE, catalogue.UNAVAILABLE])
    result = update(jwt_client_of(iterable, Clock()))

    assert (result.verdict, result.attempts, result.retried) == (Verdict.ACCEPTED, 4, ("503", "503"))


@pytest.mark.parametrize("fault", [catalogue.JWT_MISMATCH, catalogue.JWT_MISMATCH_400, catalogue.JWT_MISSING], ids=str)
def test_other_refusals_of_a_token_are_final(iterable: StandIn, fault: Fault) -> None:
    """A token of another user, or none, does not become right by being made anew."""
    iterable.faults = scripted([fault])

    assert update(jwt_client_of(iterable, Clock())).attempts == 1


@pytest.mark.parametrize(("issuer", "named"), [("iterable-integration", True), ("", False)])
def test_invalid_payload_names_the_issuer(
    iterable: StandIn, caplog: pytest.LogCaptureFixture, issuer: str, named: bool
) -> None:
    """Whether Iterable welcomes `iss` is not known: the refusal it would cause says which setting to look at."""
    iterable.faults = lambda _: catalogue.JWT_PAYLOAD
    result = update(jwt_client_of(iterable, Clock(), jwt_issuer=issuer))

    assert ("JWT_ISSUER" in result.reason) is named
    assert ("JWT_ISSUER" in lines(caplog)[-1]) is named


def test_expired_token_does_not_name_the_issuer(iterable: StandIn) -> None:
    """Other refusals are not blamed on it."""
    iterable.faults = lambda _: catalogue.JWT_EXPIRED

    assert "JWT_ISSUER" not in update(jwt_client_of(iterable, Clock())).reason


def test_secret_assigned_later_counts(iterable: StandIn) -> None:
    """A token that the old secret signed is not used once there is a new one."""
    client = jwt_client_of(iterable, Clock(), jwt_secret="x" * 32)
    assert not update(client)[0]
    client.jwt_secret = JWT_SECRET

    assert update(client).attempts == 1
    client.use_jwt = False
    update(client)
    assert "authorization" not in iterable.requests[-1].headers


def test_short_secret_is_warned_of_once(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """In our words, which name the setting and not the secret; the library's own warning is not shown."""
    iterable.jwt_secret = "short-secret"
    client = jwt_client_of(iterable, Clock(), jwt_secret="short-secret", workers=4)
    with ThreadPoolExecutor(4) as pool:  # a warning of the library would be an error here
        results = list(pool.map(lambda n: update(client, f"u{n}@example.com"), range(12)))

    assert all(success for success, _ in results)
    assert lines(caplog, logging.WARNING) == [
        "The JWT secret has fewer than 32 bytes, and Iterable's have 32: check ITERABLE_JWT_SECRET"
    ]


def test_secret_of_full_length_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """32 bytes are enough; they are counted as UTF-8."""
    IterableClient("key", "ä" * 16, use_jwt=True)._generate_jwt_token()

    assert lines(caplog, logging.WARNING) == []


def test_jwt_without_an_api_key(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """The bearer goes alone, as in the seed, with a warning; Iterable then refuses the key."""
    result = update(jwt_client_of(iterable, Clock(), api_key=None))

    headers = iterable.requests[0].headers
    assert headers["authorization"].startswith("Bearer ") and "api-key" not in headers
    assert lines(caplog, logging.WARNING)[0].startswith("JWT without an API key: the bearer token goes alone")
    assert result.verdict is Verdict.CREDENTIALS_REFUSED


def test_api_key_alone_on_a_jwt_enabled_key(iterable: StandIn) -> None:
    """Whoever forgot to switch JWT on is told so."""
    result = update(client_of(iterable, api_key=JWT_KEY))

    assert (result.verdict, result.attempts) == (Verdict.JWT_REFUSED, 1)
    assert "the key is JWT-enabled: set USE_JWT_AUTH and ITERABLE_JWT_SECRET" in result.reason


def test_threads_do_not_mix_tokens(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever's thread it is, the token is that of the user in the body, and no thread takes another's place for it."""
    caplog.set_level(logging.DEBUG)
    client = jwt_client_of(iterable, Clock(), workers=6)

    def both(email: str) -> bool:
        return update(client, email)[0] and client.track_event(email, "page_view", {})[0]

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(both, [f"user{n}@example.com" for n in range(60)]))

    assert all(results)
    assert all(claims_of(request)["email"] == request.json()["email"] for request in iterable.requests)
    assert sum(line.startswith("JWT token generated") for line in lines(caplog)) == 60


# Pacing


class Recorder(Pacer):
    """A pacer that keeps what it was told."""

    def __init__(self, interrupted: bool = False) -> None:
        super().__init__({USERS_UPDATE: 500.0}, Waits(interrupted=interrupted))
        self.interrupted = interrupted
        self.told: list[tuple[str, str] | tuple[str, str, float]] = []

    def acquire(self, endpoint: str) -> Ticket | None:
        """A ticket, unless interrupted."""
        self.told.append(("take", endpoint))
        return None if self.interrupted else super().acquire(endpoint)

    def throttled(self, endpoint: str, ticket: Ticket, retry_after: float) -> None:  # noqa: ARG002 - Pacer's names
        """Keep it."""
        self.told.append(("429", endpoint, retry_after))

    def accepted(self, endpoint: str, ticket: Ticket) -> None:  # noqa: ARG002 - Pacer's names
        """Keep it."""
        self.told.append(("200", endpoint))


def test_each_attempt_takes_a_ticket_and_tells_the_pacer(iterable: StandIn) -> None:
    """Every attempt waits its turn; only a 429 and an acceptance say something about the quota."""
    iterable.faults = scripted([catalogue.rate_limited("7"), catalogue.UNAVAILABLE, None, catalogue.BAD_PARAMS])
    pacer = Recorder()
    client = client_of(iterable, pacer=pacer)
    update(client)
    update(client)

    take = ("take", USERS_UPDATE)
    assert pacer.told == [take, ("429", USERS_UPDATE, 7.0), take, take, ("200", USERS_UPDATE), take]


def test_wait_that_stops_the_run_pauses_the_others_for_two_minutes(iterable: StandIn) -> None:
    """A Retry-After of days must not keep the other workers asleep for days."""
    iterable.faults = scripted([catalogue.rate_limited("86400")])
    pacer = Recorder()

    assert update(client_of(iterable, pacer=pacer)).verdict is Verdict.WAIT_TOO_LONG
    assert pacer.told[-1] == ("429", USERS_UPDATE, 120.0)


def test_interrupted_while_waiting_for_its_turn(iterable: StandIn) -> None:
    """No ticket, no request: the call is given up without an attempt."""
    result = update(client_of(iterable, pacer=Recorder(interrupted=True)))

    assert (result.verdict, result.attempts, iterable.requests) == (Verdict.INTERRUPTED, 0, [])


def test_endpoints_that_the_pacer_does_not_know_are_not_paced(iterable: StandIn) -> None:
    """Only the endpoints with a ceiling wait; reading does not."""
    pacer = Recorder()
    client = client_of(iterable, pacer=pacer)

    assert client.get("channels")[0]
    assert client.track_event(ANN, "page_view", {})[0]
    assert pacer.told == []
