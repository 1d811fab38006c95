"""REQUEST_TIMEOUT is a deadline for one whole attempt: whatever a server or proxy drips, a call ends in time."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iterable_client import IterableClient
from sync.api.answers import ApiResult, Verdict
from tests.iterable_client.helpers import ANN, Waits, update
from tests.iterable_client.serving import BODY, CHUNKED, HEAD, LONG, Serve, Server, read_request, sending, serving
from tests.iterable_client.tls import OUTSIDE, write_self_signed

DEADLINE = 0.2
GRACE = 0.5
"""Seconds after the deadline: a machine that has other things to do is late. What is broken takes longer."""


def timed(base_url: str, deadline: float = DEADLINE, fields: dict[str, Any] | None = None) -> tuple[ApiResult, float]:
    """One attempt, and the seconds that it took; what comes before it, such as making the body, does not count."""
    client = IterableClient("key", base_url=base_url, timeout=deadline, sleep=Waits(), max_retries=1)
    send, began = client._transport.send, [0.0]

    def begin(*arguments: Any) -> Any:
        began.append(time.monotonic())
        return send(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(client._transport, "send", begin)
        result = client.update_user(ANN, fields or {})
    elapsed = time.monotonic() - began[-1]
    client.close()
    return result, elapsed


def assert_accepted(base_url: str) -> None:
    """An answer comes within a second; what is broken never gets one, and a busy machine does in one of three calls."""
    assert any(timed(base_url, 1.0)[0].verdict is Verdict.ACCEPTED for _ in range(3))


def assert_in_time(base_url: str, deadline: float = DEADLINE, fields: dict[str, Any] | None = None) -> None:
    """A call ends as a time-out, not before the deadline and hardly after it.

    What is broken is late every time; a machine that has other things to do is not late three times in a row.
    """
    for _ in range(3):
        result, elapsed = timed(base_url, deadline, fields)
        assert (result.verdict, result.attempts) == (Verdict.RETRYABLE, 1)
        assert result.reason.startswith("timeout: ")
        assert deadline * 0.9 < elapsed
        if elapsed < deadline + GRACE:
            return
    raise AssertionError(f"{elapsed} s instead of {deadline} s")


DRIPS = {
    "status line": sending(b"", b"HTTP/1.1 200 " + b"O" * 500),
    "header": sending(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 500),
    "headers": sending(b"HTTP/1.1 200 OK\r\n", b"X: x\r\n" * 90),
    "100 Continue": sending(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 20),
    "Content-Length": sending(LONG, b"x" * 500),
    "until it closes": sending(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 500),
    "chunk": sending(CHUNKED + b"ffff\r\n", b"x" * 500),
    "chunks": sending(CHUNKED, b"1\r\nx\r\n" * 90),
    "size of a chunk": sending(CHUNKED, b"0" * 500),
    "trailer": sending(CHUNKED + b"0\r\n", b"X: x\r\n" * 90),
}


@pytest.mark.parametrize("what", DRIPS)
def test_dripping_server(what: str) -> None:
    """An answer that comes byte by byte, in whatever part, is not waited for longer than the deadline."""
    with serving(DRIPS[what]) as server:
        assert_in_time(f"http://127.0.0.1:{server.port}")


def test_server_that_never_pauses() -> None:
    """An answer that always has a next part, and no end, is not read for longer than the deadline either."""

    def serve(connection: socket.socket, _server: Server) -> None:
        read_request(connection)
        connection.sendall(CHUNKED)
        over = time.monotonic() + 3
        while time.monotonic() < over:
            connection.sendall(b"1\r\nx\r\n" * 500)

    with serving(serve) as server:
        assert_in_time(f"http://127.0.0.1:{server.port}")


def _pausing(said: bytes) -> Serve:
    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        server.pause(0.7)
        connection.sendall(said)
        server.pause(9)

    return serve


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\n", LONG], ids=["headers", "body"])
def test_silence_after_a_part_of_the_answer(said: bytes) -> None:
    """Each read gets what is left of the deadline, not what was left before."""
    with serving(_pausing(said)) as server:
        assert_in_time(f"http://127.0.0.1:{server.port}", 0.9)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server needs for TLS, with a certificate that the environment believes."""
    certificate = tmp_path / "server.pem"
    write_self_signed(certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("what", ["header", "Content-Length", "chunks"])
def test_dripping_server_over_tls(tls: ssl.SSLContext, what: str) -> None:
    """The same over TLS."""
    with serving(DRIPS[what], tls) as server:
        assert_in_time(f"https://127.0.0.1:{server.port}")


HANDSHAKE = b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xf0\x03\x03" + b"\x00" * 500


@pytest.mark.parametrize("said", [b"", HANDSHAKE], ids=["silent", "dripping"])
def test_handshake(said: bytes) -> None:
    """A server that never ends its part of the TLS handshake."""

    def serve(connection: socket.socket, server: Server) -> None:
        server.drip(connection, said)
        server.pause(9)

    with serving(serve) as server:
        assert_in_time(f"https://127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    ("serve", "deadline"),
    [
        pytest.param(sending(b"", b"HTTP/1.1 200 " + b"O" * 500), DEADLINE, id="status line"),
        pytest.param(sending(b"HTTP/1.1 200 OK\r\n", b"X: x\r\n" * 90), DEADLINE, id="headers"),
        pytest.param(_pausing(b"HTTP/1.1 200 OK\r\n\r\n"), 0.9, id="handshake"),
    ],
)
def test_proxy(monkeypatch: pytest.MonkeyPatch, serve: Serve, deadline: float) -> None:
    """The answer to CONNECT, and the handshake through the tunnel, share the deadline of the one attempt."""
    with serving(serve) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
        assert_in_time(f"https://{OUTSIDE}", deadline)


def test_request_through_a_slow_tunnel(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request inside the tunnel gets what CONNECT left."""

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        server.pause(0.7)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with tls.wrap_socket(connection, server_side=True) as secure:
            read_request(secure)
            server.pause(9)

    with serving(serve) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
        assert_in_time(f"https://{OUTSIDE}", 0.9)


def test_server_that_reads_slowly(tls: ssl.SSLContext) -> None:
    """A large body over TLS is not sent for longer than the deadline, however little at a time is taken."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        while connection.recv(8_192):
            server.pause(0.02)

    with serving(serve, tls) as server:
        base_url = f"https://127.0.0.1:{server.port}"
        assert_in_time(base_url, 0.4, {"text": "x" * 20_000_000})


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port on 127.0.0.1 that answers no attempt to connect: its queue is full, and nobody takes from it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for one in waiting:
            one.close()


def test_host_that_answers_no_attempt_to_connect(deaf: int) -> None:
    """To connect is part of the attempt."""
    assert_in_time(f"http://127.0.0.1:{deaf}")


@pytest.mark.parametrize("addresses", [4, 6])
def test_all_addresses_share_the_deadline(deaf: int, monkeypatch: pytest.MonkeyPatch, addresses: int) -> None:
    """A host with several addresses that all are silent costs no more than one."""
    _resolve(monkeypatch, *[deaf] * addresses)

    assert_in_time("http://localhost")


def test_the_next_address_has_its_turn(deaf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first address that is silent leaves time for a second one that answers."""
    with serving(sending(HEAD + BODY, b"")) as server:
        _resolve(monkeypatch, deaf, server.port)
        assert_accepted("http://localhost")


def test_a_share_is_for_the_connect_alone(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once connected, a handshake that takes longer than one address's share is waited for."""

    def serve(connection: socket.socket, server: Server) -> None:
        server.pause(0.3)
        with tls.wrap_socket(connection, server_side=True) as secure:
            sending(HEAD + BODY, b"")(secure, server)

    with serving(serve) as server:
        _resolve(monkeypatch, *[server.port] * 4)

        assert_accepted("https://127.0.0.1")


def test_a_connection_that_is_used_again_has_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses the host had, the next request may take the whole deadline to send."""

    def serve(connection: socket.socket, server: Server) -> None:
        while True:
            server.pause(0.7)
            read_request(connection)
            connection.sendall(HEAD + BODY)

    with serving(serve) as server:
        _resolve(monkeypatch, *[server.port] * 4)
        client = IterableClient("key", base_url="http://127.0.0.1", timeout=2.4, sleep=Waits())
        results = [client.update_user(ANN, {"text": "x" * size}) for size in (1, 20_000_000)]
        client.close()

    assert [(result.verdict, result.attempts) for result in results] == [(Verdict.ACCEPTED, 1)] * 2


def _resolve(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Let every name lead to these ports of this machine, in this order."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_each_attempt_has_its_own_deadline() -> None:
    """A slow answer in time is taken, and the next request over the same connection has the whole time again."""

    def serve(connection: socket.socket, server: Server) -> None:
        while read_request(connection):
            server.pause(0.8)
            connection.sendall(HEAD + BODY)

    with serving(serve) as server:
        client = IterableClient("key", base_url=f"http://127.0.0.1:{server.port}", timeout=1.5, sleep=Waits())
        results = [update(client) for _ in range(2)]
        client.close()

    assert [(result.verdict, result.attempts) for result in results] == [(Verdict.ACCEPTED, 1)] * 2
    assert server.connections == 1


def test_the_reason_does_not_tell_what_was_left() -> None:
    """What urllib3 calls the time-out is the rest of it, and would read like a setting."""
    with serving(DRIPS["header"]) as server:
        reason = timed(f"http://127.0.0.1:{server.port}")[0].reason

    assert (
        reason == f"timeout: ReadTimeoutError HTTPConnectionPool(host='127.0.0.1', port={server.port}): Read timed out."
    )
