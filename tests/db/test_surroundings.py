"""What this machine lacks for a connection: packages, names, a place for keys. Each is one sentence with its remedy."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pymysql
import pytest

from db import MySQLParams
from tests.db.asking import refusal
from tests.mariadb import Server


@pytest.mark.database("MariaDB")
def test_account_that_signs_in_by_ed25519(mariadb: Server) -> None:
    """MariaDB's newer way of signing in takes a package of its own, which the sentence names."""
    try:
        mariadb.execute("INSTALL SONAME 'auth_ed25519'")
    except pymysql.MySQLError as error:
        pytest.skip(f"this server comes without the plugin: {error}")
    mariadb.execute("CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret word')")
    try:
        sentence = refusal(replace(mariadb.params("mysql"), user="ed", password="secret word"))
    finally:
        mariadb.execute("DROP USER ed@'%'; UNINSTALL SONAME 'auth_ed25519'")

    assert sentence == (
        f"{mariadb.params('mysql').address} wants a login method for which the driver lacks a package ('pynacl' "
        "package is required for ed25519_password auth method): install it with pip, or give the user ed another login "
        "method."
    )


def test_name_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """At boot, or while the network is away, the name may be right: the sentence says where else to look."""

    def away(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", away)

    assert refusal(MySQLParams("db.example.com", 3306, "app", "hidden", "shop")) == (
        "The host 'db.example.com' cannot be found (Temporary failure in name resolution): check DB_HOST, "
        "which takes a name or an IP address without a port, and check that the network and its name server are up; a "
        "job at boot must wait for them."
    )


@pytest.mark.database
def test_keys_that_cannot_be_logged(mariadb: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten SSLKEYLOGFILE is named."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "gone" / "keys"))

    assert refusal(mariadb.params("mysql")) == (
        "TLS cannot be set up with DB_SSL_CA= (No such file or directory): it must be a file in PEM format; and "
        "if SSLKEYLOGFILE is set, it must name a file that can be written."
    )
