"""What the way to the server leaves open to others, as `--check` says it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import db
from db import MySQLParams
from sync.database.session import exposure
from tests.mariadb import Server

HERE = MySQLParams("db.example.com", 3306, "app", "hidden", "shop")
PASSWORD = "anybody who answers in the server's place gets the password"
LISTENING = "anybody who listens on the way reads all rows"


@pytest.mark.parametrize(
    "host", ["db.example.com", "10.0.0.9", "192.168.1.5", "2001:db8::1", "db", "localhost.example.com"]
)
def test_remote_server(host: str) -> None:
    """TLS that nobody verified leaves the password open, no TLS the rows as well; verified TLS leaves nothing."""
    params = replace(HERE, host=host)

    assert PASSWORD in exposure(params, "TLS_AES_256_GCM_SHA384") and LISTENING not in exposure(params, "TLS_AES")
    assert PASSWORD in exposure(params, "") and LISTENING in exposure(params, "")
    assert exposure(params, "").endswith("set DB_SSL_CA") and exposure(params, "TLS").endswith("set DB_SSL_CA")
    assert exposure(replace(params, ssl_ca="ca.pem"), "TLS_AES_256_GCM_SHA384") == ""


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.53", "::1"])
def test_server_on_this_machine(host: str) -> None:
    """What does not leave the machine is open to nobody, with TLS or without; a socket neither, whatever the host."""
    for params in (replace(HERE, host=host), replace(HERE, socket="/run/mysqld/mysqld.sock")):
        assert exposure(params, "") == exposure(params, "TLS_AES_256_GCM_SHA384") == ""


@pytest.mark.database
def test_what_a_real_connection_leaves_open(
    mariadb: Server, sample: MySQLParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes by the connection that was made: whether it has TLS, and whether the certificate was verified."""
    monkeypatch.setattr(MySQLParams, "is_remote", True)
    for params, words in (
        (sample, "the server's certificate is not verified"),
        (replace(sample, host="localhost", ssl_ca=str(mariadb.ca)), ""),
    ):
        source = db.connect(params)
        assert source.exposure.startswith(words) and bool(source.exposure) is bool(words)
        source.close()
