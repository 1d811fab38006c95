"""Every way in which the service and the network fail has its verdict; nothing is an exception."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping

import pytest

from iterable_client import IterableClient
from sync.api.answers import Verdict
from tests import faults as catalogue
from tests.faults import EVERY_FAULT, EVERY_GARBLED_FAULT, EVERY_JWT_FAULT, EVERY_REFUSAL, EVERY_TRANSIENT_FAULT
from tests.iterable_client.helpers import (
    ANN,
    OK,
    Clock,
    Waits,
    client_of,
    jwt_client_of,
    lines,
    update,
)
from tests.iterable_client.serving import read_request
from tests.stand_in.faults import Ending, Fault, scripted
from tests.stand_in.stand_in import StandIn

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


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "https://", "127.0.0.1:1"])
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
                read_request(connection)
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
