"""The settings: where they come from, what each accepts, and that every problem is told at once."""

from __future__ import annotations

import os
import socket
import threading
from datetime import UTC
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import pytest

from main import main
from sync.console.options import parse_options
from sync.rows.mapping import Field
from sync.run import settings as config
from sync.run.job import Job, csv_path
from sync.run.settings import HOME, SettingsError, defaults, load_settings, read_settings

NEEDED = {"DB_USER": "reader", "DB_NAME": "shop", "ITERABLE_API_KEY": "k3y"}
NO_FILE = Path(os.devnull)


def load(**given: str) -> config.Settings:
    """The settings of this environment alone, with the needed ones given."""
    return load_settings(NO_FILE, NEEDED | given)


def problems(**given: str) -> tuple[str, ...]:
    """What is wrong with this environment."""
    with pytest.raises(SettingsError) as caught:
        load(**given)
    return caught.value.problems


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """A file with the needed settings, to be appended to."""
    path = tmp_path / "my.env"
    path.write_text("".join(f"{name}={value}\n" for name, value in NEEDED.items()))
    return path


def appended(path: Path, text: str) -> Path:
    """The file with this text at its end."""
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)
    return path


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting in the process environment."""
    for name in defaults():
        monkeypatch.delenv(name, raising=False)


# -- all problems at once ------------------------------------------------------------------------------------------


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
    assert first.endswith("(3 to mend):")
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
        ("QUERY_FILE", "", "file name"),
        ("STATE_FILE", "", "file name"),
        ("LOG_FILE", "", "file name"),
        ("CSV_DIR", "~nobody-of-that-name/x", "home directory"),
        ("USER_FIELDS", "a,,b", "two commas"),
        ("SEGMENT_FIELD", "a.b", "without dots"),
        ("SEGMENT_FIELD", "a,b", "without dots"),
        ("EVENT_TIME_COLUMN", "", "an event needs it"),
        ("EVENT_KEY", "", "an event needs it"),
        ("EMAIL_COLUMN", "", "one of them must name the user"),
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
    assert problem.startswith(f"{name} holds white space")


def test_bulk_with_jwt() -> None:
    """Bulk calls take server-side keys only, so bulk and JWT exclude each other."""
    (problem,) = problems(USE_JWT_AUTH="true", ITERABLE_JWT_SECRET="s" * 32, ITERABLE_BULK="true")
    assert "ITERABLE_BULK (--bulk) cannot go with USE_JWT_AUTH" in problem
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


# -- the file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("DB HOST=x\n", 4),
        ("\n\n# a comment\n\n=x\n", 8),
        ("DB_PASSWORD\n", 4),
        ("export DB_PASSWORD\n", 4),
        ("DB_HOST=a\nDB_PASSWORD='open\n", 5),
        ('DB_PASSWORD="open\nDB_HOST="x"\n', 4),
        ('DB_PASSWORD="two\nlines"\n', 4),
    ],
)
def test_broken_line(env_file: Path, text: str, line: int) -> None:
    """A line that is no assignment is a problem with its number; nothing of it is repeated, it may be a secret."""
    with pytest.raises(SettingsError) as caught:
        load_settings(appended(env_file, text), {})
    (problem,) = caught.value.problems
    assert problem.startswith(f"line {line} of {env_file} ")
    assert "open" not in problem.replace(str(env_file), "").replace("opens a quote", "")


def test_broken_lines_do_not_hide_the_others(env_file: Path) -> None:
    """All broken lines are told, and what the good lines say counts: nothing is called missing that is there."""
    appended(env_file, "what is this\nDB_PORT=x\nand this\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(env_file, {})
    assert [problem.split(" of ")[0].split(" is ")[0] for problem in caught.value.problems] == [
        "line 4",
        "line 6",
        "DB_PORT",
    ]


@pytest.mark.parametrize("content", [None, b"DB_NAME=\xff\xfe\n"], ids=["missing", "not-utf-8"])
def test_unreadable_file(tmp_path: Path, content: bytes | None) -> None:
    """A file that is named and cannot be read is a problem, even if the environment says everything."""
    path = tmp_path / "x.env"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"x\.env cannot be read"):
        load_settings(path, NEEDED)


def test_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without `.env` the environment may say everything."""
    monkeypatch.setattr(config, "HOME", tmp_path)
    (tmp_path / "query.sql").touch()
    assert load_settings(None, NEEDED).db_user == "reader"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("DB_PASSWORD=p$HOME${HOME}$$", "p$HOME${HOME}$$"),
        ("DB_PASSWORD='p$HOME # x'", "p$HOME # x"),
        ('DB_PASSWORD=" p\\"q "', ' p"q '),
        ("DB_PASSWORD=p#q", "p#q"),
        ("DB_PASSWORD=p # a comment", "p"),
        ("export DB_PASSWORD = p", "p"),
        ("DB_PASSWORD=a=b", "a=b"),
        ("DB_PASSWORD=%s%(x)s", "%s%(x)s"),
        ("DB_PASSWORD=", ""),
        ("DB_PASSWORD=pä", "pä"),
        ("DB_PASSWORD=p\r", "p"),
        ("DB_PASSWORD=first\nDB_PASSWORD=last", "last"),
    ],
)
def test_values_are_taken_as_they_are(env_file: Path, line: str, value: str) -> None:
    """No `$` expansion; quotes keep spaces and `#`; the last of two lines counts."""
    assert load_settings(appended(env_file, f"{line}\n"), {"HOME": "elsewhere"}).db_password == value


def test_byte_order_mark(tmp_path: Path) -> None:
    """A file from a Windows editor reads the same."""
    path = tmp_path / "x.env"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(f"{name}={value}" for name, value in NEEDED.items()).encode())
    assert load_settings(path, {}).db_user == "reader"


def test_file_may_be_a_pipe(tmp_path: Path) -> None:
    """`--env-file <(decrypt secrets)` works: the file is read once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "".join(f"{name}={value}\n" for name, value in NEEDED.items())
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert load_settings(pipe, {}).db_name == "shop"
    writer.join()


def test_environment_wins(env_file: Path) -> None:
    """The environment wins over the file, also with an empty value; other variables do not matter."""
    appended(env_file, "DB_HOST=from-file\nEVENT_NAME=from-file\nWORKERS=7\n")
    settings = load_settings(env_file, {"DB_HOST": "from-env", "EVENT_NAME": "", "WORKERS": "", "HOST": "x"})
    assert settings.db_host == "from-env"
    assert settings.event_name == ""
    assert settings.workers == 128


@pytest.mark.usefixtures("bare_environment")
def test_process_environment(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another one given, it is the environment of the process; nothing of the file is put into it."""
    monkeypatch.setenv("DB_HOST", "from-process")
    assert load_settings(env_file).db_host == "from-process"
    assert "DB_USER" not in os.environ


# -- values --------------------------------------------------------------------------------------------------------


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
    assert none.csv_dir is None


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
    assert set(settings.secrets()) == set(given.values())
    told = (
        repr(settings)
        + str(settings)
        + "".join(problems(**{**given, "ITERABLE_JWT_SECRET": "jwt-s x", "WORKERS": "x"}))
    )
    assert not [value for value in given.values() if value in told]
    assert load().secrets() == ("k3y",)


def test_password_keeps_its_blanks() -> None:
    """A database password may begin or end with a blank; other values are trimmed."""
    settings = load(DB_PASSWORD=" p ", ITERABLE_API_KEY=" k ", DB_HOST=" h ")
    assert (settings.db_password, settings.iterable_api_key, settings.db_host) == (" p ", "k", "h")


# -- paths ---------------------------------------------------------------------------------------------------------


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
    assert csv_path(Job(settings, csv=options.csv)) == tmp_path / "out/x.csv"
    assert csv_path(Job(settings)).parent == HOME


def test_example_is_a_start(tmp_path: Path) -> None:
    """A copy of `.env.example` misses exactly what only its owner knows."""
    path = tmp_path / ".env"
    path.write_bytes((HOME / ".env.example").read_bytes())
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert [problem.split()[0] for problem in caught.value.problems] == ["DB_USER", "DB_NAME", "ITERABLE_API_KEY"]
