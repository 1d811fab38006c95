"""What a server sends ahead of its answer, such as 103 Early Hints, is not the answer."""

from __future__ import annotations

import json
import socket

import pytest

from iterable_client import IterableClient
from sync.api.answers import Verdict
from tests.iterable_client.helpers import Waits
from tests.iterable_client.serving import Serve, Server, read_request, serving
from tests.iterable_client.test_deadline import assert_in_time

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _asked(connection: socket.socket) -> str:
    """Whom the next request is about; empty at the end of the connection."""
    request = read_request(connection)
    return str(json.loads(request.partition(b"\r\n\r\n")[2])["email"]) if request else ""


def forerunning(ahead: bytes, pause: float = 0) -> Serve:
    """Send `ahead`, and after a pause the answer, which names who was asked about."""

    def serve(connection: socket.socket, server: Server) -> None:
        while who := _asked(connection):
            connection.sendall(ahead)
            server.pause(pause)
            body = json.dumps({"msg": who, "code": "Success"}).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    return serve


@pytest.mark.parametrize("pause", [0, 0.05], ids=["at once", "later"])
@pytest.mark.parametrize("ahead", [HINTS, PROCESSING, HINTS + HINTS, CONTINUE + HINTS + CONTINUE])
def test_each_call_gets_its_own_answer(ahead: bytes, pause: float) -> None:
    """Calls on one connection: each gets the answer behind the forerunners of its own request, and no other's."""
    with serving(forerunning(ahead, pause)) as server:
        client = IterableClient("key", base_url=f"http://127.0.0.1:{server.port}", sleep=Waits(), max_retries=1)
        results = [client.update_user(f"u{number}@example.com", {}) for number in range(3)]
        client.close()

    assert [result.verdict for result in results] == [Verdict.ACCEPTED] * 3
    assert [result[1]["msg"] for result in results] == ["u0@example.com", "u1@example.com", "u2@example.com"]
    assert server.connections == 1


def test_forerunners_without_end() -> None:
    """Whoever sends nothing but forerunners is not waited for longer than the deadline."""

    def serve(connection: socket.socket, server: Server) -> None:
        _asked(connection)
        while True:
            connection.sendall(HINTS)
            server.pause(0.02)

    with serving(serve) as server:
        assert_in_time(f"http://127.0.0.1:{server.port}")
