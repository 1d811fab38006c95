"""Values and paths of the settings."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sync.console.options import parse_options
from sync.rows.mapping import Field
from sync.run import settings as config
from sync.run.connections import mysql_params
from sync.run.setting_values import HOME
from sync.run.settings import SettingsError, load_settings
from sync.run.steps import Run
from tests.run.settings_of import load, problems


def test_empty_values() -> None:
    """Empty means none where none makes sense, and the default everywhere else."""
    settings = load(
        DB_HOST="", DB_PORT="", DB_TIMEZONE=" ", WORKERS="", USE_JWT_AUTH="", LOG_LEVEL="", ITERABLE_API_BASE_URL=""
    )
    assert (settings.db_port, settings.workers, settings.use_jwt_auth) == (3306, 128, False)
    assert (settings.db_timezone, settings.log_level) == (UTC, "INFO")
    assert settings.iterable_api_base_url == "https://api.iterable.com"
    none = load(JWT_ISSUER="", SEGMENT_FIELD="", EVENT_FIELDS="", EVENT_NAME="", USER_ID_COLUMN="", CSV_DIR="")
    assert (none.jwt_issuer, none.segment_field, none.event_fields, none.event_name) == ("", "", (), "")
    assert none.csv_dir == HOME


def test_defaults() -> None:
    """The documented defaults, as the types that the program uses."""
    settings = load()
    assert (settings.db_host, settings.db_port, settings.db_ssl_ca, settings.db_timezone) == (
        "localhost",
        3306,
        None,
        UTC,
    )
    assert (settings.max_retries, settings.initial_backoff, settings.backoff_factor) == (3, 1.0, 2.0)
    assert (settings.users_per_second, settings.events_per_second, settings.request_timeout) == (500, 2000, 30)
    assert [field.name for field in settings.user_fields] == ["first_name", "last_name", "plan_type", "candidate"]
    assert settings.event_key == ("event_time", "page")
    assert (settings.csv_keep, settings.lookback_days, settings.email_column) == (100, 7, "email")
    assert (settings.query_timeout, load(QUERY_TIMEOUT="0").query_timeout) == (3600, 0)


def test_field_lists() -> None:
    """`column:field:type` comes out as fields; blanks around names do not matter."""
    assert load(USER_FIELDS=" plan_type , city:address.city , prefs:prefs:json ").user_fields == (
        Field("plan_type", ("plan_type",), None),
        Field("city", ("address", "city"), None),
        Field("prefs", ("prefs",), "json"),
    )
    assert load(EVENT_KEY=" a , b ").event_key == ("a", "b")


@pytest.mark.parametrize("word", ["true", "TRUE", "1", "yes", "on", " True "])
def test_true(word: str) -> None:
    """The usual words for true are understood."""
    assert load(ITERABLE_BULK=word).iterable_bulk is True


@pytest.mark.parametrize("word", ["false", "False", "0", "no", "off", ""])
def test_false(word: str) -> None:
    """The usual words for false are understood."""
    assert load(ITERABLE_BULK=word).iterable_bulk is False


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("https://api.eu.iterable.com/", "https://api.eu.iterable.com"),
        ("HTTPS://API.Iterable.com", "https://api.iterable.com"),
        ("https://proxy.example.com:8443", "https://proxy.example.com:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://api.iterable.com?", "https://api.iterable.com"),
    ],
)
def test_base_url(value: str, url: str) -> None:
    """The base URL is scheme and host in one spelling, because state hangs on it; http stays on this machine."""
    assert load(ITERABLE_API_BASE_URL=value).iterable_api_base_url == url


def test_database_by_ipv6() -> None:
    """An address of IPv6 has brackets before its port in this program's own messages."""
    settings = load(DB_HOST="::1")
    assert (settings.db_host, mysql_params(settings).address) == ("::1", "[::1]:3306")
    assert load(DB_HOST="db.example.com").db_host == "db.example.com"


@pytest.mark.parametrize(
    ("value", "zone"), [("utc", UTC), ("Europe/Berlin", ZoneInfo("Europe/Berlin")), ("", UTC), ("UTC", UTC)]
)
def test_time_zone(value: str, zone: object) -> None:
    """DB_TIMEZONE is a name of the time zone database."""
    assert load(DB_TIMEZONE=value).db_timezone == zone


def test_secrets_stay_inside() -> None:
    """No secret is in the `repr`, nor in a problem; `secrets()` gives all of them, for the log to mask."""
    given: dict[str, Any] = {"DB_PASSWORD": "pass-word", "ITERABLE_API_KEY": "api-key", "ITERABLE_JWT_SECRET": "jwt-s"}
    settings = load(**given)
    assert settings.secrets() == given
    told = (
        repr(settings)
        + str(settings)
        + "".join(problems(**{**given, "ITERABLE_JWT_SECRET": "jwt-s x", "WORKERS": "x"}))
    )
    assert not [value for value in given.values() if value in told]
    assert load().secrets() == {"ITERABLE_API_KEY": "k3y"}


def test_password_keeps_its_blanks() -> None:
    """A database password may begin or end with a blank; other values are trimmed."""
    settings = load(DB_PASSWORD=" p ", ITERABLE_API_KEY=" k ", DB_HOST=" h ")
    assert (settings.db_password, settings.iterable_api_key, settings.db_host) == (" p ", "k", "h")


def test_relative_paths_count_from_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in settings count from main.py's folder wherever the program is started; cron starts elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load(CSV_DIR="exports", STATE_FILE="sub/state", LOG_FILE=f"{tmp_path}/log")
    assert (HOME / "main.py").exists()
    assert settings.csv_dir == HOME / "exports"
    assert settings.state_file == HOME / "sub/state"
    assert settings.query_file == HOME / "query.sql"
    assert settings.log_file == tmp_path / "log"
    assert load(CSV_DIR="~/exports").csv_dir == tmp_path / "exports"


@pytest.mark.usefixtures("bare_environment")
def test_env_file_beside_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env_file: Path) -> None:
    """Without --env-file it is `.env` beside main.py, not in the current directory."""
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "query.sql").touch()
    env_file.rename(folder / ".env")
    (tmp_path / ".env").write_text("DB_USER=wrong\n")
    monkeypatch.setattr(config, "HOME", folder)
    monkeypatch.chdir(tmp_path)
    assert load_settings().db_user == "reader"


def test_relative_paths_of_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env_file: Path) -> None:
    """Paths given by a flag count from the current directory."""
    monkeypatch.chdir(tmp_path)
    options = parse_options(["--env-file", env_file.name, "--csv", "out/x.csv"])
    settings = load_settings(options.env_file, {})
    assert settings.db_user == "reader"
    assert Run(settings, options).csv_path() == tmp_path / "out/x.csv"
    assert Run(settings).csv_path().parent == HOME


def test_example_is_a_start(tmp_path: Path) -> None:
    """A copy of `.env.example` misses exactly what only its owner knows."""
    path = tmp_path / "default.env"
    path.write_bytes((HOME / ".env.example").read_bytes())
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert [problem.split()[0] for problem in caught.value.problems] == ["DB_USER", "DB_NAME", "ITERABLE_API_KEY"]
