"""Connecting: nobody there, refused, TLS; each is one sentence."""

from __future__ import annotations

import gc
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymysql.constants import CLIENT

import db
from db import MySQLParams
from sync.rows.source import Source, SourceError
from tests.db.asking import LARGE, SINCE, SINCE_LOCAL, refusal
from tests.db.strangers import greeting, listener
from tests.mariadb import Server, make_certificates


@pytest.fixture(scope="module")
def spare() -> Iterator[Server]:
    """A server that may be killed, and that has no TLS."""
    with Server(tls=False) as server:
        yield server


def test_nobody_listens() -> None:
    """A server that is down is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    sentence = refusal(MySQLParams("127.0.0.1", port, "app", "hidden", "shop"))

    assert sentence == (
        f"No database answers at 127.0.0.1:{port} (Connection refused): start the server, or check DB_HOST and DB_PORT."
    )


@pytest.mark.parametrize("host", ["db.invalid", "a..b", "x" * 70])
def test_unknown_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that nobody knows, or that cannot be one, is a wrong DB_HOST."""
    known = socket.getaddrinfo

    def getaddrinfo(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "db.invalid":  # no test waits for a name server
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(name, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    sentence = refusal(MySQLParams(host, 3306, "app", "hidden", "shop"))
    assert sentence.startswith(f"The host {host!r} cannot be found (")
    assert "check DB_HOST, which takes a name or an IP address" in sentence


def test_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that swallows packets is given up after the connect timeout."""

    def swallow(_: object, timeout: float) -> None:
        assert timeout == 4
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", swallow)

    sentence = refusal(MySQLParams("10.0.0.9", 3306, "app", "hidden", "shop", connect_timeout=4))

    assert sentence.startswith("10.0.0.9:3306 did not answer within 4 s: check DB_HOST and DB_PORT")


def test_silent_server() -> None:
    """A server that accepts and says nothing is given up too."""
    with listener(lambda _: None) as params:
        assert f"The connection to {params.address} was lost (" in refusal(params)


@pytest.mark.parametrize(
    "words",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(99999),
        b"220 mail ready\r\n" + bytes(99999),
        b"\x02\0\0\0\x0a8",
        b"\x01\0\0\0\0",
    ],
)
def test_not_a_database(words: bytes) -> None:
    """Another kind of server behind the port is called that."""
    with listener(lambda client: client.sendall(words)) as params:
        sentence = refusal(params)

    assert sentence == (f"What answers at {params.address} does not speak MySQL's protocol: check DB_HOST and DB_PORT.")


def test_too_many_connections() -> None:
    """An error in place of a greeting is read as such."""
    packet = b"\xff" + struct.pack("<H", 1040) + b"Too many\nconnections"

    with listener(lambda client: client.sendall(struct.pack("<I", len(packet)) + packet)) as params:
        sentence = refusal(params)

    assert "accepts no more connections (Too many connections)" in sentence


def test_ipv6_address() -> None:
    """An IPv6 address is written so that its port can be told apart."""
    assert MySQLParams("::1", 3306, "app", "x", "shop").address == "[::1]:3306"


def test_password_stays_out_of_repr() -> None:
    """The parameters can be logged."""
    assert "hidden" not in repr(MySQLParams("h", 1, "u", "hidden", "d"))


@pytest.mark.database
class TestRefused:
    """Each refusal of the server is a sentence that says what to do."""

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            (
                {"password": "wrong-hidden"},
                ": check DB_USER and DB_PASSWORD, and which hosts this user may connect from",
            ),
            ({"password": ""}, "refused the user app (Access denied"),
            ({"user": "nobody"}, "refused the user nobody (Access denied"),
            ({"database": "nowhere"}, "There is no database nowhere at"),
        ],
    )
    def test_login(self, sample: MySQLParams, changes: dict[str, str], sentence: str) -> None:
        """A wrong user, password or database is told apart from the others."""
        assert sentence in refusal(replace(sample, **changes))  # type: ignore[arg-type]

    def test_database_without_privilege(self, mariadb: Server, sample: MySQLParams) -> None:
        """A user without privileges is told which one is missing."""
        mariadb.execute("CREATE USER guest@'%' IDENTIFIED BY 'hidden'")
        guest = replace(sample, user="guest", password="hidden")

        assert "GRANT SELECT on it, or correct DB_NAME" in refusal(guest)

        mariadb.execute(f"GRANT SELECT (id) ON {sample.database}.customers TO guest@'%'")
        assert "may not read what the query asks of" in refusal(guest, "SELECT email FROM customers")
        assert "may not read what the query asks of" in refusal(guest, "SELECT page FROM page_views")

    @pytest.mark.parametrize(
        ("sql", "sentence"),
        [
            ("SELECT * FROM nowhere", "nowhere' doesn't exist): correct QUERY_FILE."),
            ("SELECT missing FROM customers", "'missing' in "),
            ("SELECT FROM WHERE", "answered with error 1064 ("),
            ("SELECT :sinc", "answered with error 1064 ("),
            ("SELECT no_such_function()", "answered with error 1305"),
            ("SELECT 1/0 FROM (SELECT 1 UNION SELECT (SELECT 1 UNION SELECT 2)) AS x", "error 1242"),
            ("", "answered with error 1065 (Query was empty): correct QUERY_FILE."),
            ("  -- nothing\n /* at all */ ; # :since", "): correct QUERY_FILE."),
            ("SELECT 1; SELECT 2", "answered with error 1064 ("),
            ("SELECT 1; DROP TABLE customers;", "answered with error 1064 ("),
            ("UPDATE customers SET email = NULL", "READ ONLY transaction): correct QUERY_FILE."),
            ("DELETE FROM page_views", "READ ONLY transaction): correct QUERY_FILE."),
            ("DROP TABLE page_views", "READ ONLY transaction): correct QUERY_FILE."),
            ("DO 1", "The query has no result"),
            ("SELECT 1 INTO @x", "The query has no result"),
        ],
    )
    def test_query(self, mariadb: Server, sample: MySQLParams, sql: str, sentence: str) -> None:
        """A query that cannot be run is refused with the reason, whatever the user's privileges."""
        mariadb.execute(
            "DROP USER IF EXISTS owner@'%'; CREATE USER owner@'%' IDENTIFIED BY 'hidden'; GRANT ALL ON *.* TO owner@'%'"
        )

        assert sentence in refusal(replace(sample, user="owner", password="hidden"), sql)

        counts = mariadb.execute("SELECT COUNT(email) FROM customers", database=sample.database)
        assert counts == ((16,),), "nothing was written"

    @pytest.mark.parametrize(("what", "sentence"), [("QUERY", "stopped the query"), ("CONNECTION", "was lost")])
    def test_killed(self, mariadb: Server, sample: MySQLParams, what: str, sentence: str) -> None:
        """A query that somebody kills while its rows are read ends in an error, never in fewer rows."""
        source = db.connect(sample)
        rows = iter(source.query(f"{LARGE} -- {what}", SINCE, SINCE_LOCAL))
        next(rows)
        ((thread,),) = mariadb.execute(
            "SELECT id FROM information_schema.processlist WHERE info LIKE %s AND user = 'app'", f"SELECT seq%{what}"
        )

        mariadb.execute(f"KILL {what} {thread}")

        with pytest.raises(SourceError, match=f"{sentence}|stopped the query"):
            for _ in rows:
                pass
        source.close()

    def test_server_dies(self, spare: Server, capfd: pytest.CaptureFixture[str]) -> None:
        """A server that dies while rows are read is an error, told once."""
        spare.restart()
        params = spare.database()
        source = db.connect(params)
        rows = iter(source.query(LARGE, SINCE, SINCE_LOCAL))
        next(rows)

        spare.kill()

        with pytest.raises(SourceError, match=r"was lost \(.*\): check that the server is up"):
            for _ in rows:
                pass
        source.close()
        del rows, source
        gc.collect()
        assert "No database answers at" in refusal(params)
        assert capfd.readouterr() == ("", "")


@pytest.mark.database
class TestTLS:
    """DB_SSL_CA means a certificate of that authority, for that host, or no connection."""

    def test_authority_is_missing_or_nonsense(self, sample: MySQLParams, tmp_path: Path) -> None:
        """A file that is not there, or not a certificate, is a wrong DB_SSL_CA."""
        nonsense = tmp_path / "nonsense.pem"
        nonsense.write_text("not a certificate")

        for path, reason in ((tmp_path / "none.pem", "No such file or directory"), (nonsense, ".+")):
            with pytest.raises(SourceError, match=f"with DB_SSL_CA={path} \\({reason}\\): it must be a file in PEM"):
                db.connect(replace(sample, ssl_ca=str(path)))

    def test_other_authority(self, sample: MySQLParams, tmp_path: Path) -> None:
        """A certificate that another authority signed is not trusted."""
        make_certificates(tmp_path)

        sentence = refusal(replace(sample, host="localhost", ssl_ca=str(tmp_path / "ca.pem")))

        assert sentence.startswith("TLS with localhost:") and "certificate verify failed" in sentence

    def test_other_host(self, mariadb: Server, sample: MySQLParams) -> None:
        """A good certificate for another name is not trusted."""
        sentence = refusal(replace(sample, ssl_ca=str(mariadb.ca)))

        assert "certificate verify failed" in sentence and "DB_HOST to the name in it" in sentence

    def test_server_without_tls(self, spare: Server, mariadb: Server) -> None:
        """TLS that was demanded is never done without."""
        spare.restart()

        sentence = refusal(replace(spare.database(), ssl_ca=str(mariadb.ca)))

        assert "answered with error 2026 (SSL is required but" in sentence and "the DB_ settings" in sentence

    def test_broken_tls(self) -> None:
        """A server that promises TLS and then talks something else is a sentence too."""

        def serve(client: socket.socket) -> None:
            client.sendall(greeting("mysql_native_password", CLIENT.SSL))
            client.recv(4096)
            client.sendall(b"this is not TLS at all")

        with listener(serve) as params:
            assert "TLS with 127.0.0.1:" in refusal(params)

    def test_verified(self, mariadb: Server, sample: MySQLParams) -> None:
        """The right authority and name connect, and the session says so."""
        source = db.connect(replace(sample, host="localhost", ssl_ca=str(mariadb.ca)))

        assert source.server.startswith(f"{mariadb.product} ")
        assert source.server.endswith(", verified)")
        source.close()

    def test_unverified(self, source: Source) -> None:
        """Without an authority TLS is used when it is offered, and called what it is."""
        assert "TLS (TLS_" in source.server
        assert source.server.endswith(", not verified)")
