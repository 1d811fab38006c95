"""Settings that cannot be used: every problem is told at once."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import NoReturn

import pytest

from main import main
from sync.run.settings import read_settings
from tests.run.settings_of import NEEDED, NO_FILE, appended, load, problems


@pytest.mark.usefixtures("bare_environment")
def test_three_missing_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run without settings names all that is missing, exits 2, connects to nothing and writes nothing."""

    def blow_up(*_args: object) -> NoReturn:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", blow_up)
    env = tmp_path / "empty.env"
    env.write_text(f"STATE_FILE={tmp_path}/state\nLOG_FILE={tmp_path}/log\nCSV_DIR={tmp_path}\n")
    assert main(["--env-file", str(env)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    first, *lines = told.err.splitlines()
    assert first.endswith("(3 to fix):")
    assert [line.split()[1] for line in lines] == ["DB_USER", "DB_NAME", "ITERABLE_API_KEY"]
    assert all("is missing" in line for line in lines)
    assert list(tmp_path.iterdir()) == [env]


def test_every_problem_is_told() -> None:
    """Problems of single settings and of their combinations come together, one sentence each."""
    told = problems(
        DB_USER="",
        DB_PORT="0",
        DB_TIMEZONE="Mars/Olympus",
        ITERABLE_API_BASE_URL="http://api.iterable.com",
        USE_JWT_AUTH="maybe",
        MAX_RETRIES="many",
        INITIAL_BACKOFF="nan",
        WORKERS="1.5",
        QUERY_FILE="nowhere.sql",
        USER_FIELDS="a:b:c",
        EVENT_KEY=" , ",
        LOG_LEVEL="loud",
    )
    assert [problem.split()[0].rstrip(":") for problem in sorted(told)] == sorted(
        [
            "DB_USER",
            "DB_PORT",
            "DB_TIMEZONE",
            "ITERABLE_API_BASE_URL",
            "USE_JWT_AUTH",
            "MAX_RETRIES",
            "INITIAL_BACKOFF",
            "WORKERS",
            "QUERY_FILE",
            "USER_FIELDS",
            "EVENT_KEY",
            "LOG_LEVEL",
        ]
    )


def test_problems_beside_usable_settings() -> None:
    """For --check a setting that cannot be used is told and has its default; the others have their values."""
    settings, told = read_settings(NO_FILE, NEEDED | {"DB_PORT": "x", "DB_HOST": "db.example.com"})
    assert len(told) == 1
    assert (settings.db_port, settings.db_host) == (3306, "db.example.com")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DB_PORT", "65536", "from 1 to 65535"),
        ("DB_PORT", "mysql", "whole number"),
        ("DB_SSL_CA", "no-such-ca.pem", "there is no file"),
        ("DB_TIMEZONE", "Europe", "Europe/Berlin"),
        ("DB_TIMEZONE", "../../etc/passwd", "Europe/Berlin"),
        ("ITERABLE_API_KEY", "two words", "copy it again"),
        ("ITERABLE_API_KEY", "kéy", "copy it again"),
        ("ITERABLE_API_KEY", "k\u200by", "copy it again"),
        ("ITERABLE_API_BASE_URL", "api.iterable.com", "https://api.iterable.com"),
        ("ITERABLE_API_BASE_URL", "ftp://api.iterable.com", "https://api.iterable.com"),
        ("ITERABLE_API_BASE_URL", "https://", "https://api.iterable.com"),
        ("ITERABLE_API_BASE_URL", "https://api.iterable .com", "https://api.iterable.com"),
        ("ITERABLE_API_BASE_URL", "https://api.iterable.com:port", "https://api.iterable.com"),
        ("ITERABLE_API_BASE_URL", "https://api.iterable.com:70000", "https://api.iterable.com"),
        ("ITERABLE_API_BASE_URL", "https://[::1", "https://api.iterable.com"),
        ("ITERABLE_API_BASE_URL", "https://api.iterable.com/api", "host only"),
        ("ITERABLE_API_BASE_URL", "https://api.iterable.com?x=1", "host only"),
        ("ITERABLE_API_BASE_URL", "http://localhost.example.com", "unencrypted"),
        ("ITERABLE_API_BASE_URL", "http://127.0.0.1.example.com", "unencrypted"),
        ("ITERABLE_API_BASE_URL", "http://10.0.0.1", "unencrypted"),
        ("USE_JWT_AUTH", "ja", "true or false"),
        ("JWT_LIFETIME", "0", "from 1"),
        ("JWT_LIFETIME", "31536001", "31536000"),
        ("MAX_RETRIES", "0", "from 1"),
        ("INITIAL_BACKOFF", "-1", "from 0"),
        ("BACKOFF_FACTOR", "0.5", "from 1"),
        ("BACKOFF_FACTOR", "inf", "from 1"),
        ("REQUEST_TIMEOUT", "0", "from 0.1"),
        ("WORKERS", "0", "from 1"),
        ("USERS_PER_SECOND", "0", "from 0.1"),
        ("LOOKBACK_DAYS", "nan", "from 0.001"),
        ("QUERY_TIMEOUT", "-1", "from 0 to 604800"),
        ("QUERY_TIMEOUT", "inf", "from 0 to 604800"),
        ("QUERY_TIMEOUT", "1h", "it must be a number"),
        ("QUERY_FILE", "", "file name"),
        ("STATE_FILE", "", "file name"),
        ("LOG_FILE", "", "file name"),
        ("CSV_DIR", "~nobody-of-that-name/x", "home directory"),
        ("USER_FIELDS", "a,,b", "a comma too many"),
        ("SEGMENT_FIELD", "a.b", "without dots"),
        ("SEGMENT_FIELD", "a,b", "without dots"),
        ("EVENT_TIME_COLUMN", "", "an event needs it"),
        ("EVENT_KEY", "", "an event needs it"),
        ("EMAIL_COLUMN", "", "one must name the column that identifies the user"),
        ("CSV_KEEP", "-1", "from 0"),
    ],
)
def test_value_that_is_refused(name: str, value: str, words: str) -> None:
    """A value that cannot be used is one problem that names its setting and what is wanted."""
    (problem,) = problems(**{name: value})
    assert problem.startswith(name)
    assert words in problem


@pytest.mark.parametrize("value", ["https://user:s3cret@api.iterable.com", "https://:s3cret@h", "ftp://u:s3cret@h"])
def test_password_in_the_base_url(value: str) -> None:
    """A base URL takes no user and no password, and the problem does not repeat them."""
    (problem,) = problems(ITERABLE_API_BASE_URL=value)
    assert "s3cret" not in problem


def test_jwt_without_a_secret() -> None:
    """USE_JWT_AUTH without a secret is a problem, never a silent fallback to the key alone."""
    (problem,) = problems(USE_JWT_AUTH="true")
    assert "ITERABLE_JWT_SECRET is missing" in problem
    assert load(USE_JWT_AUTH="true", ITERABLE_JWT_SECRET="s" * 32).use_jwt_auth


@pytest.mark.parametrize("name", ["ITERABLE_API_KEY", "ITERABLE_JWT_SECRET"])
def test_a_secret_that_cannot_be_used_is_not_missing(name: str) -> None:
    """What was given and cannot be used is told as that alone, though it has no value in the settings."""
    (problem,) = problems(**{"USE_JWT_AUTH": "true", "ITERABLE_JWT_SECRET": "s" * 32, name: "two words"})
    assert problem.startswith(f"{name} contains white space")


def test_bulk_with_jwt() -> None:
    """Bulk calls take server-side keys only, so bulk and JWT exclude each other."""
    (problem,) = problems(USE_JWT_AUTH="true", ITERABLE_JWT_SECRET="s" * 32, ITERABLE_BULK="true")
    assert "ITERABLE_BULK (--bulk) cannot be used with USE_JWT_AUTH" in problem
    assert load(ITERABLE_BULK="yes").iterable_bulk


def test_bulk_flag_with_jwt(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--bulk counts as ITERABLE_BULK=true: with JWT it is wrong usage."""
    appended(env_file, f"USE_JWT_AUTH=true\nITERABLE_JWT_SECRET={'s' * 32}\n")
    assert main(["--bulk", "--env-file", str(env_file)]) == 2
    assert "--bulk" in capsys.readouterr().err


def test_nothing_to_send() -> None:
    """Without profile fields and without an event name there is nothing to do."""
    assert "nothing to send" in problems(USER_FIELDS="", EVENT_NAME="")[0]
    assert "SEGMENT_FIELD needs USER_FIELDS" in problems(USER_FIELDS="", SEGMENT_FIELD="in_segment")[0]
    assert load(USER_FIELDS="").user_fields == ()
    assert load(EVENT_NAME="", EVENT_KEY="", EVENT_TIME_COLUMN="").event_name == ""
