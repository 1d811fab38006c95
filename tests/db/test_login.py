"""A server names the way of signing in, and whoever answers there may be another than it should."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pymysql.constants import CLIENT

from db import MySQLParams
from tests.db.asking import refusal
from tests.db.strangers import greeting, listener, packet
from tests.mariadb import make_certificates

WAYS = {"mysql_clear_password": b"", "dialog": b"\x04Password: "}
"""Each way that sends the password as it is, and what a server says first."""


@dataclass
class Stranger:
    """A server that asks whoever comes for the password in *way*, and keeps what it is told."""

    way: str
    by_greeting: bool = False
    """Whether it names the way at once, instead of switching to it."""
    tls: ssl.SSLContext | None = None
    heard: bytes = b""

    def serve(self, client: socket.socket) -> None:
        """The login of one connection, up to its refusal."""
        first = self.way if self.by_greeting else "mysql_native_password"
        client.sendall(greeting(first, CLIENT.SSL if self.tls else 0))
        with contextlib.ExitStack() as stack:
            number = 2
            if self.tls:
                client.recv(36, socket.MSG_WAITALL)  # the wish to go on in TLS
                client = stack.enter_context(self.tls.wrap_socket(client, server_side=True))
                number = 3
            self.heard += client.recv(4096)
            said = b"\x01" if self.by_greeting else b"\xfe" + self.way.encode() + b"\0"
            client.sendall(packet(number, said + WAYS.get(self.way, b"12345678901234567890\0")))
            self.heard += client.recv(4096)
            client.sendall(packet(number + 2, b"\xff\x15\x04#28000that was all"))


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A folder with an authority, and a certificate that it signed for `localhost`."""
    make_certificates(tmp_path)
    return tmp_path


def tls_of(authority: Path) -> ssl.SSLContext:
    """What a server with that certificate speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    return context


@contextlib.contextmanager
def asked_by(stranger: Stranger, path: Path | None = None) -> Iterator[MySQLParams]:
    """How the program reaches that server."""
    with listener(stranger.serve, path) as params:
        yield replace(params, connect_timeout=5)


@pytest.mark.parametrize("with_tls", [False, True], ids=["no TLS", "TLS that nobody verified"])
@pytest.mark.parametrize("by_greeting", [False, True], ids=["switched to", "named in the greeting"])
@pytest.mark.parametrize("way", WAYS)
def test_password_is_kept_from_a_stranger(authority: Path, way: str, by_greeting: bool, with_tls: bool) -> None:
    """Who could be anybody is not told the password, and the sentence says what would make him known."""
    stranger = Stranger(way, by_greeting, tls_of(authority) if with_tls else None)
    with asked_by(stranger) as params:
        sentence = refusal(params)

    assert (
        f"{params.address} asks for the password in clear text ({way}), so it was not sent: set DB_SSL_CA" in sentence
    )
    assert b"app" in stranger.heard and b"hidden" not in stranger.heard


@pytest.mark.parametrize("way", WAYS)
def test_verified_server_is_told(authority: Path, way: str) -> None:
    """TLS with a verified certificate carries the password."""
    stranger = Stranger(way, tls=tls_of(authority))
    with asked_by(stranger) as params:
        sentence = refusal(replace(params, host="localhost", ssl_ca=str(authority / "ca.pem")))

    assert "refused the user app" in sentence
    assert stranger.heard.endswith(b"hidden\0")


@pytest.mark.parametrize("way", WAYS)
def test_unix_socket_is_told(tmp_path: Path, way: str) -> None:
    """A Unix socket carries it, too: nobody listens there."""
    stranger = Stranger(way)
    with asked_by(stranger, tmp_path / "socket") as params:
        sentence = refusal(params)

    assert "refused the user app" in sentence
    assert stranger.heard.endswith(b"hidden\0")


@pytest.mark.parametrize("way", WAYS)
def test_authority_of_another(authority: Path, tmp_path_factory: pytest.TempPathFactory, way: str) -> None:
    """With DB_SSL_CA a server whose certificate another signed, or that has no TLS, does not even hear the user."""
    other = tmp_path_factory.mktemp("other")
    make_certificates(other)
    for stranger in (Stranger(way, tls=tls_of(authority)), Stranger(way)):
        with asked_by(stranger) as params:
            sentence = refusal(replace(params, host="localhost", ssl_ca=str(other / "ca.pem")))

        assert "certificate verify failed" in sentence or "error 2026 (SSL is required" in sentence
        assert b"app" not in stranger.heard


@pytest.mark.parametrize("way", ["mysql_old_password", "authentication_kerberos_client", "no_such_way"])
def test_way_that_the_driver_does_not_know(way: str) -> None:
    """A way that is too old, or not the driver's, is a sentence about the account."""
    with asked_by(Stranger(way)) as params:
        sentence = refusal(params)

    assert sentence.startswith(f"{params.address} ") and way in sentence
    assert "or give the user app another login method" in sentence or "error 2059 (Authentication plugin" in sentence
