"""A server on this machine by its Unix socket, and what a refused user is told."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import db
from db import MySQLParams
from sync.rows.source import Source
from sync.run.connections import mysql_params
from tests.db.asking import refusal, run
from tests.mariadb import Server
from tests.run.settings_of import settings_of


@pytest.fixture(scope="module")
def without_tls() -> Iterator[Server]:
    """A server that offers no TLS."""
    with Server(tls=False) as server:
        yield server


@pytest.fixture
def by_socket(mariadb: Server, sample: MySQLParams) -> MySQLParams:
    """The sample rows by the socket; host and port lead nowhere."""
    return replace(sample, host="localhost", port=1, socket=str(mariadb.socket))


@pytest.mark.database
class TestSocket:
    """DB_SOCKET instead of host and port."""

    def test_rows_come(self, by_socket: MySQLParams, mariadb: Server) -> None:
        """The query is answered, and the description names the socket."""
        source: Source = db.connect(by_socket)

        assert len(run(source, "SELECT id FROM customers")) == 16
        assert source.description == f"mysql://app@localhost:{mariadb.socket}:/{by_socket.database}"
        source.close()

    def test_without_tls(self, without_tls: Server) -> None:
        """Nobody can listen at a socket, so nothing is said of missing TLS."""
        source = db.connect(replace(without_tls.database(), socket=str(without_tls.socket)))

        assert source.server.endswith(", through its socket")
        source.close()

    @pytest.mark.database("MariaDB")
    def test_user_who_is_known_by_the_socket(self, mariadb: Server, by_socket: MySQLParams) -> None:
        """Whom the server knows by the socket alone is refused elsewhere, and told of DB_SOCKET."""
        mariadb.execute("CREATE USER socketeer@'%' IDENTIFIED VIA unix_socket")
        away = replace(by_socket, socket=None, host="127.0.0.1", port=mariadb.port, user="socketeer")

        for password in ("", "hidden"):
            sentence = refusal(replace(away, password=password))
            assert "or the Unix socket." in sentence

        sentence = refusal(replace(by_socket, user="socketeer", password=""))
        assert sentence.endswith("or the Unix socket.")


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the driver leaves it to the interpreter
def test_no_socket_there(tmp_path: Path) -> None:
    """A socket that is not there, or that nobody serves, is a wrong DB_SOCKET or a server that is down."""
    path = tmp_path / "mysqld.sock"
    params = MySQLParams("localhost", 3306, "app", "hidden", "shop", socket=str(path), connect_timeout=0.3)

    assert refusal(params) == (
        f"No database answers at {path} (No such file or directory): start the server, or check DB_SOCKET."
    )
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert "(Connection refused)" in refusal(params)
        listening.listen()
        assert f"The connection to {path} was lost (" in refusal(params)
    assert "(AF_UNIX path too long)" in refusal(replace(params, socket=f"/{'x' * 200}"))
    gc.collect()


def test_settings_lead_to_the_socket() -> None:
    """DB_SOCKET stands in the first line of the log instead of host and port; a relative one counts from main.py."""
    params = mysql_params(settings_of(DB_SOCKET="/run/mysqld/mysqld.sock"))

    assert params.socket == "/run/mysqld/mysqld.sock"
    assert params.description == "mysql://app@localhost:/run/mysqld/mysqld.sock:/shop"
    assert mysql_params(settings_of()).description == "mysql://app@localhost:3306/shop"
    assert mysql_params(settings_of(DB_SOCKET="x.sock")).socket == str(Path(db.__file__).with_name("x.sock"))


@pytest.mark.database
class TestRequiredTLS:
    """An account that asks for more than a password."""

    def test_client_certificate(self, mariadb: Server, sample: MySQLParams) -> None:
        """An account that requires a client certificate is refused with the word for it, not as a wrong password."""
        mariadb.execute("CREATE USER strict@'%' IDENTIFIED BY 'hidden' REQUIRE X509")

        sentence = refusal(replace(sample, user="strict", password="hidden"))

        assert "TROUBLESHOOTING.md, `refused the user`" in sentence and "a client certificate" in sentence

    def test_tls(self, without_tls: Server) -> None:
        """An account that requires TLS, at a server that has none, is told that TLS may be what is missing."""
        without_tls.execute("CREATE USER private@'%' IDENTIFIED BY 'hidden' REQUIRE SSL")

        sentence = refusal(replace(without_tls.database(), user="private", password="hidden"))

        assert "TROUBLESHOOTING.md, `refused the user`" in sentence and "accounts that require TLS" in sentence
