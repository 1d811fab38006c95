"""The stand-in's wire: connections, heads, a process of its own."""

from __future__ import annotations

import gc
import http.client
import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

import pytest
import requests

from tests.harness import PROJECT
from tests.stand_in.answers import Request
from tests.stand_in.stand_in import StandIn
from tests.stand_in.tests.asking import (
    UPDATE,
    update,
)


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
        assert read_until(wire, b"Success", 1).startswith(b"HTTP/1.1 200 ")


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
        assert read_until(wire, b"Success", 1).startswith(b"HTTP/1.1 200 ")

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


def test_ends_with_no_connection_half_accepted(recwarn: pytest.WarningsRecorder) -> None:
    """Whoever connects while it ends is accepted and cut off, and no socket is forgotten."""
    with ExitStack() as wires, StandIn() as iterable:

        def end(_: Request) -> None:
            """Connections wait to be accepted, and then the end comes first."""
            for _number in range(50):
                wires.enter_context(socket.create_connection(("127.0.0.1", iterable.port)))
            iterable._loop.call_soon(iterable._stop.set)

        iterable.faults = end
        with suppress(requests.ConnectionError):
            update(iterable)
    gc.collect()

    assert iterable.connections == 51
    assert not [warning for warning in recwarn if "unclosed" in str(warning.message)]


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


@pytest.mark.parametrize("ending", ["stdin", "SIGTERM"])
def test_process_serves_and_reports(ending: str) -> None:
    """It prints its URL first and its statistics last, ended by either way."""
    command = [sys.executable, "-m", "tests.stand_in", "--api-key", "k", "--limits"]
    root = PROJECT
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
