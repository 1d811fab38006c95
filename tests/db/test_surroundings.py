"""What this machine lacks for a connection: packages, names, a place for keys. Each is one sentence with its remedy."""

from __future__ import annotations

from dataclasses import replace

import pymysql
import pytest

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
        f"{mariadb.params('mysql').address} wants ed25519, for which the driver lacks a package: "
        "pip install 'PyMySQL[ed25519]'."
    )
