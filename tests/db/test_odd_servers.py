"""A server whose own settings for every session differ from the usual ones gives the same values."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import db
from tests.db.asking import run
from tests.mariadb import Server

pytestmark = pytest.mark.database("MariaDB")

NAMES = ("Zoë", "😀", "日本", "O'Brien\\")


@pytest.fixture(scope="module")
def odd() -> Iterator[Server]:
    """A server that speaks Latin-1 to whoever comes, in a zone of its own, and takes double quotes for names."""
    with Server(
        "--character-set-server=latin1",
        "--skip-character-set-client-handshake",
        "--init-connect=SET NAMES latin1, time_zone = '-07:00', autocommit = 0",
        "--sql-mode=ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES",
    ) as server:
        yield server


def test_values(odd: Server) -> None:
    """Text of any language, moments in UTC, and quotes as this server reads them."""
    quoted = ", ".join(f"('{name.replace(chr(39), chr(39) * 2)}')" for name in NAMES)
    params = odd.database(
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) CHARACTER SET utf8mb4, "
        "latin VARCHAR(20) CHARACTER SET latin1, at TIMESTAMP NULL); "
        f"SET NAMES utf8mb4, time_zone = '+00:00'; INSERT INTO t (name) VALUES {quoted}; "
        "UPDATE t SET latin = 'Zoë', at = '2026-01-06 12:00:00'"
    )
    source = db.connect(params)
    try:
        rows = run(
            source,
            "SELECT name, 'it\\' || ':since' AS \"said\", UNIX_TIMESTAMP(at) % 3600 AS s FROM \"t\" "
            "WHERE :since < NOW() ORDER BY id",
        )
    finally:
        source.close()

    assert [row["name"] for row in rows] == list(NAMES)
    assert {row["said"] for row in rows} == {"it\\:since"}
    assert {row["s"] for row in rows} == {0}
