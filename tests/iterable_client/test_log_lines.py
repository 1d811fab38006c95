"""The log: fixed sentences, one line each, and no credential anywhere."""

from __future__ import annotations

import itertools
import json
import logging
from urllib.parse import quote

import pytest

from iterable_client import IterableClient
from sync.api.answers import Verdict
from sync.api.endpoints import USERS_BULK_UPDATE, USERS_UPDATE, Message
from tests import faults as catalogue
from tests.iterable_client.helpers import (
    ANN,
    JWT_KEY,
    JWT_SECRET,
    Clock,
    Waits,
    client_of,
    jwt_client_of,
    lines,
    update,
)
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, scripted
from tests.stand_in.stand_in import StandIn


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


SHORT = ["c", "k3y", "Success", "user", "pay", "e"]
"""Keys that others' words hold, or that are short enough for it."""


@pytest.mark.parametrize("key", SHORT)
def test_a_short_key_does_not_change_what_an_answer_means(iterable: StandIn, key: str) -> None:
    """What a call comes to does not hang on the key: each fault has the verdict, the attempts and the code it has."""
    faults = [fault for fault in vars(catalogue).values() if isinstance(fault, Fault) and fault.answer]
    assert len(faults) > 30
    found = []
    for api_key in (key, "a-key-that-nobody-repeats"):
        iterable.api_key, iterable.faults = api_key, scripted(faults)
        client = client_of(iterable, max_retries=1)
        found.append([(one.verdict, one.attempts, one.code, one.status) for one in map(update, [client] * len(faults))])

    assert found[0] == found[1]


@pytest.mark.parametrize("status", [200, 400, 401, 409, 429, 500])
@pytest.mark.parametrize("key", ["k3y", "x%y", "q'q"])
def test_a_short_key_is_masked_in_answers(
    iterable: StandIn, caplog: pytest.LogCaptureFixture, status: int, key: str
) -> None:
    """A key that an answer repeats, as it is, encoded or as its code, is in no line, error, data or repr."""
    caplog.set_level(logging.DEBUG)
    told = f"no such key: {key}, {quote(key)}, {key!r}, {json.dumps(key)}"
    results = []
    for code, text in (("Success", told), (key, told), ("BadParams", told)):
        body = json.dumps({"msg": text, "code": code, "params": {"key": key}}).encode()
        iterable.faults = lambda _, body=body: catalogue.raw("repeats", status, body)
        client = client_of(iterable, api_key=key, max_retries=2)
        results += [update(client), client.send(USERS_BULK_UPDATE, Message(None, b"{}"))]
    iterable.faults = lambda _: catalogue.page(status, f"{key} {quote(key)}")
    results.append(update(client))

    seen = "\n".join([*lines(caplog), repr(results), *(str(data) for _, data in results)])
    assert key not in seen and quote(key) not in seen
    assert "***" in seen


def test_no_repr_shows_what_was_read(iterable: StandIn) -> None:
    """What a run compares is whole in the data of reading and bulk calls, and not shown."""
    body = {"successCount": 1, "failCount": 0, "users": ["k3y@example.com"]}
    iterable.faults = lambda _: catalogue.raw("names", 200, json.dumps(body).encode())
    client = client_of(iterable, api_key="k3y")
    for result in (client.get("channels"), client.send(USERS_BULK_UPDATE, Message(None, b"{}"))):
        assert result == (True, body)
        assert "k3y" not in repr(result)


def test_what_libraries_say_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    """An error of the network that holds a secret, such as the name of a host, is told without it."""
    client = IterableClient("key", base_url="https://w7x.invalid", secrets=["w7x"], sleep=Waits(), timeout=5)
    result = update(client)

    assert result.verdict is Verdict.RETRYABLE
    assert "w7x" not in caplog.text + repr(result) and "***.invalid" in result.reason
