"""User ids that are bytes, such as a UUID of 16: whole runs over a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from db import connect
from sync.run import connections
from sync.run.exit_codes import ExitCode
from tests.harness import World
from tests.mariadb import Server
from tests.process import params_environ

pytestmark = pytest.mark.database

TABLE = """
CREATE TABLE people (uuid BINARY(16) PRIMARY KEY, code VARBINARY(20), name VARCHAR(50));
INSERT INTO people VALUES
    (UNHEX('00112233445566778899AABBCCDDEEFF'), 'a-1', 'Ann'),
    (UNHEX('FF112233445566778899AABBCCDDEEFF'), 'b-2', 'Bob');
"""


@pytest.mark.parametrize(
    ("column", "remedy", "ids"),
    [
        (
            "uuid",
            "LOWER(HEX(uuid)) AS uuid",
            {"00112233445566778899aabbccddeeff", "ff112233445566778899aabbccddeeff"},
        ),
        ("code", "CAST(code AS CHAR) AS code", {"a-1", "b-2"}),
    ],
)
def test_bytes_as_user_id(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mariadb: Server,
    capsys: pytest.CaptureFixture[str],
    column: str,
    remedy: str,
    ids: set[str],
) -> None:
    """They are refused before anything is sent, and what the refusal says to write makes an id of each."""
    query = tmp_path / "people.sql"
    query.write_text("SELECT * FROM people", "utf-8")
    database = params_environ(mariadb.database(TABLE))
    world = World(
        tmp_path,
        monkeypatch,
        **database,
        QUERY_FILE=str(query),
        USER_ID_COLUMN=column,
        USER_FIELDS="name",
        EVENT_NAME="",
    )
    monkeypatch.setattr(connections, "connect", connect)

    assert world.main() == ExitCode.USAGE
    assert remedy in capsys.readouterr().err
    assert world.iterable.requests == []

    query.write_text(f"SELECT {remedy}, name FROM people", "utf-8")
    assert world.main() == ExitCode.DONE
    assert set(world.profiles) == ids
