"""An answer without end, or one that unpacks to no end, costs a call and not this machine's memory."""

from __future__ import annotations

import gzip
import socket

import pytest

from iterable_client import IterableClient
from sync.api.answers import ApiResult, Verdict
from tests.iterable_client.helpers import ANN, Waits
from tests.iterable_client.serving import Server, read_request, serving

LONG = 1_000
OPEN_END = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too long is short enough for a test."""
    monkeypatch.setattr("sync.api.transport.LONGEST_ANSWER", LONG)


def answered(data: bytes) -> ApiResult:
    """What becomes of a call that is answered so; the server sends as long as it is read."""

    def serve(connection: socket.socket, _server: Server) -> None:
        read_request(connection)
        connection.sendall(data)

    with serving(serve) as server:
        client = IterableClient("key", base_url=f"http://127.0.0.1:{server.port}", sleep=Waits(), timeout=5)
        result = client.update_user(ANN, {})
        client.close()
    return result


def packed(body: bytes) -> bytes:
    """An answer that is compressed on its way."""
    small = gzip.compress(body)
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    return head % len(small) + small


@pytest.mark.parametrize("data", [OPEN_END + b"x" * 5_000, packed(b" " * 500_000)], ids=["long", "packed"])
def test_what_is_too_long_is_not_read_on(data: bytes) -> None:
    """It counts as a broken connection, tried again and pending in the end, and the reason says what it was."""
    result = answered(data)
    assert (result.verdict, result.attempts) == (Verdict.RETRYABLE, 3)
    assert result.reason == "connection: TooLongError an answer of more than 1,000 bytes"


@pytest.mark.parametrize("size", [LONG - 100, LONG])
def test_what_is_not_too_long_is_read_whole(size: int) -> None:
    """Up to the limit an answer is read to its last byte, packed or not."""
    body = b'{"msg":"%s","code":"Success"}' % (b"x" * (size - 27))
    assert len(body) == size
    for data in (OPEN_END + body, packed(body)):
        assert answered(data).verdict is Verdict.ACCEPTED
