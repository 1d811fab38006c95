"""--check: settings, files and the query; one line for each finding."""

from __future__ import annotations

import os

import pytest

from db import connect
from sync.rows.source import Column, Kind
from sync.run import connections
from sync.run.log import on_this_clock
from sync.state.file import State
from tests import faults as catalogue
from tests.console.desk import JWT_SECRET, Desk, with_jwt
from tests.mariadb import Server
from tests.process import params_environ
from tests.sample_rows import COLUMNS, Rows, people, person
from tests.stand_in.answers import Request, html_answer


def test_three_things_wrong_at_once(desk: Desk) -> None:
    """All checks are made also after the first that failed; each wrong one is a line with its remedy; exit code 1."""
    desk.world.environ |= {
        "LOG_FILE": str(desk.world.folder / "nowhere" / "run.log"),
        "ITERABLE_API_KEY": "f" * 32,
        "USER_FIELDS": "first_name,shoe_size",
    }
    wrong = desk.check()

    assert len(wrong) == 3
    assert "nowhere/run.log cannot be written" in wrong[0] and "check that its folder exists" in wrong[0]
    assert wrong[1].startswith(
        "query: USER_FIELDS names the column shoe_size, which is missing (the query returns: 'id',"
    )
    assert wrong[2].startswith("credentials: 401 BadApiKey: Invalid API key; check ITERABLE_API_KEY")
    assert desk.told("ok")[:2] == [
        "settings: all settings can be used; calls users/update and events/track, authenticates with API key",
        f"state: {desk.world.folder}/state.sqlite3; no run yet: the first one sends everything",
    ]
    assert desk.out.splitlines()[-1] == "3 to fix"


@pytest.mark.parametrize(("mode", "told"), [(0o644, True), (0o604, True), (0o640, False), (0o600, False)])
def test_an_env_file_that_everybody_can_read(desk: Desk, mode: int, told: bool) -> None:
    """It is said with the command that closes it; nothing else hangs on it. A group may be let in on purpose."""
    desk.check()
    (desk.world.folder / "env").chmod(mode)
    assert desk.check() == []
    notes = [line for line in desk.told("note") if "every user of this machine can read" in line]
    assert [line.endswith(f"chmod 600 {desk.world.folder}/env") for line in notes] == [True] * told


def test_everything_wrong_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, files, database and project, all of them bad: every one has its line, and nothing raises."""
    desk.world.environ |= {
        "WORKERS": "many",
        "STATE_FILE": str(desk.world.folder),
        "LOG_FILE": str(desk.world.folder),
        "CSV_DIR": str(desk.world.folder / "none"),
        "DB_PORT": "1",
        "DB_HOST": "127.0.0.1",
        "MAX_RETRIES": "1",
    }
    monkeypatch.setattr(connections, "connect", connect)
    desk.iterable.close()
    wrong = desk.check()

    assert [line.partition(":")[0] for line in wrong] == [
        "settings",
        "state",
        "log",
        "CSV folder",
        "database",
        "credentials",
    ]
    assert "WORKERS is 'many'; it must be a whole number" in wrong[0]
    assert "No database answers at 127.0.0.1:1" in wrong[4]
    assert "check ITERABLE_API_BASE_URL and the network" in wrong[5]


def test_all_is_well(desk: Desk) -> None:
    """Everything right: exit code 0, what comes next, and nothing was written."""
    before = {path: path.read_bytes() for path in desk.world.folder.iterdir()}
    assert desk.check() == []

    assert desk.code == 0
    assert [what for _, what, _ in desk.findings] == [
        *("settings", "state", "log", "CSV folder", "time zone", "database", "query", "rows", "credentials"),
        "field types",
    ]
    assert desk.out.endswith(
        "all is well: the same command with --dry-run instead of --check shows what would be sent\n"
    )
    assert {path.name for path in desk.world.folder.iterdir()} - {path.name for path in before} <= {"env"}
    assert [request.path for request in desk.iterable.requests] == [
        "/api/channels",
        "/api/users/getFields",
    ]


def test_bulk_is_named(desk: Desk) -> None:
    """The first line says which endpoints a run would call."""
    assert desk.check("--bulk") == []
    assert "calls users/bulkUpdate and events/trackBulk, authenticates with API key" in desk.told("ok")[0]


@pytest.mark.parametrize(
    ("environ", "problems"),
    [
        ({"DB_USER": "", "DB_NAME": "", "ITERABLE_API_KEY": ""}, ["DB_USER is missing", "DB_NAME", "ITERABLE_API_KEY"]),
        ({"USE_JWT_AUTH": "true"}, ["ITERABLE_JWT_SECRET is missing"]),
        (
            {"USE_JWT_AUTH": "true", "ITERABLE_JWT_SECRET": "s" * 32, "ITERABLE_BULK": "1"},
            ["cannot be used with USE_JWT"],
        ),
        ({"DB_TIMEZONE": "Mars", "EVENT_KEY": " "}, ["DB_TIMEZONE is 'Mars'", "EVENT_KEY is empty"]),
        ({"USER_FIELDS": "a:b:c"}, ["whose type 'c' is not one of"]),
    ],
)
def test_settings_that_cannot_be_used_are_findings(desk: Desk, environ: dict[str, str], problems: list[str]) -> None:
    """Each problem of the settings is a line, and what can be looked at all the same is looked at."""
    desk.world.environ |= environ
    wrong = desk.check()

    told = [line for line in wrong if line.startswith("settings:")]
    assert len(told) == len(problems)
    assert all(problem in line for problem, line in zip(problems, told, strict=True))
    assert any(line.startswith("state:") for line in desk.told("ok"))


@pytest.mark.parametrize(
    "environ",
    [
        {"EVENT_KEY": " "},
        {"EVENT_TIME_COLUMN": ""},
        {"EMAIL_COLUMN": ""},
        {"USER_FIELDS": "", "EVENT_NAME": ""},
        {"EVENT_KEY": "", "EVENT_TIME_COLUMN": "", "EMAIL_COLUMN": ""},
    ],
    ids=str,
)
def test_what_the_mapping_leaves_empty_is_said_once(desk: Desk, environ: dict[str, str]) -> None:
    """A setting that the mapping cannot do without is one finding; the query's columns are named, no row is judged."""
    desk.world.environ |= environ
    wrong = desk.check()

    assert len(wrong) == (3 if len(environ) == 3 else 1)
    assert all(line.startswith("settings: ") and "empty" in line for line in wrong)
    assert any(line.startswith("query: query.sql gives 'id' (integer), 'email' (text), ") for line in desk.told("ok"))
    assert "rows" not in {what for _, what, _ in desk.findings}


@pytest.mark.parametrize(
    ("setting", "value", "what"),
    [
        ("STATE_FILE", "none/state.sqlite3", "state"),
        ("STATE_FILE", "a file/state.sqlite3", "state"),
        ("LOG_FILE", "none/run.log", "log"),
        ("LOG_FILE", ".", "log"),
        ("LOG_FILE", "a file/run.log", "log"),
        ("CSV_DIR", "none", "CSV folder"),
        ("METRICS_FILE", "/proc/self/metrics.prom", "metrics"),
        ("CSV_DIR", "a file", "CSV folder"),
    ],
)
def test_what_cannot_be_written(desk: Desk, setting: str, value: str, what: str) -> None:
    """State, log and CSV folder: a path on which a run would fail is found."""
    (desk.world.folder / "a file").write_text("")
    path = desk.world.folder / value
    desk.world.environ[setting] = str(path)

    (wrong,) = desk.check()
    assert wrong == f"{what}: {path} cannot be written; check that its folder exists, and check its owner and mode"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_files_of_somebody_else(desk: Desk) -> None:
    """A file without the right to write is found."""
    desk.world.settings.log_file.touch(0o444)
    assert "cannot be written" in desk.check()[0]


def test_a_state_of_another_program(desk: Desk) -> None:
    """A STATE_FILE that is no state is found, with what to do."""
    desk.world.settings.state_file.write_text("not a database, and longer than a header would be" * 10)
    (wrong,) = desk.check()
    assert wrong.startswith("state: ") and "is not an SQLite file; restore a backup and run once with --full" in wrong


def test_the_last_run_is_told(desk: Desk) -> None:
    """An existing state says when the last run was, on this machine's clock; looking leaves the folder as it was."""
    with_state = State(desk.world.settings.state_file)
    with_state.begin_run("one", "2026-01-06 10:00:00")
    with_state.close()
    desk.check()
    listing = sorted(desk.world.folder.iterdir())

    assert desk.check() == []
    assert f"{desk.world.settings.state_file}; the last run began {on_this_clock('2026-01-06 10:00:00')}" in desk.out
    assert sorted(desk.world.folder.iterdir()) == listing


def test_columns_and_rows_are_told(desk: Desk) -> None:
    """The columns with their types, and of the first rows those that would be rejected, with the reason."""
    desk.world.rows = people(30)
    desk.world.rows[1]["email"] = "nobody"
    desk.world.rows[2]["event_time"] = None

    assert desk.check() == []
    assert "query.sql gives 'id' (integer), 'email' (text)" in desk.out and "'event_time' (timestamp)" in desk.out
    assert any("row 2 would be rejected: email is 'nobody'" in note for note in desk.told("note"))
    assert any("row 3 would be rejected: event_time is NULL: no event time" in note for note in desk.told("note"))
    assert "rows: 20 read (at most 20), 2 would be rejected" in desk.told("ok")


def test_no_rows_are_worth_a_note(desk: Desk) -> None:
    """An empty result is no error, and nobody can say which types it would have had."""
    desk.world.rows = []
    assert desk.check() == []
    assert "rows: 0 read (at most 20), 0 would be rejected" in desk.told("note")


def test_every_misfit_of_the_columns(desk: Desk) -> None:
    """Missing, reserved, doubled, binary: each has its line, with the columns that exist."""
    desk.world.columns = (*COLUMNS, Column("photo", Kind.BINARY), Column("email", Kind.TEXT))
    desk.world.environ |= {"USER_FIELDS": "first_name:userId,photo,age", "EVENT_TIME_COLUMN": "page"}
    desk.world.rows = []
    wrong = desk.check()

    for word in (
        "2 columns named email",
        "the column age, which is missing",
        "photo, which is binary",
        "userId",
        "page",
    ):
        assert any(word in line for line in wrong)
    assert all(line.startswith("query: ") for line in wrong)


def test_one_line_each_whatever_the_columns_are_called(desk: Desk) -> None:
    """A name with a line break or a terminal's escape code stays one line, without the code."""
    desk.world.columns = (*COLUMNS, Column("a\nb\x1b[31m", Kind.TEXT))
    desk.world.rows = [person(1, **{"a\nb\x1b[31m": "x"})]
    assert desk.check() == []
    assert "'a\\nb\\x1b[31m' (text)" in desk.out and "\x1b" not in desk.out


def test_a_way_that_others_share(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the way to the database leaves open to others is worth a note, and makes nothing wrong."""
    monkeypatch.setattr(Rows, "exposure", "there is no TLS: anybody who listens reads all rows; set DB_SSL_CA")

    assert desk.check() == []
    assert "database: there is no TLS: anybody who listens reads all rows; set DB_SSL_CA" in desk.told("note")


@pytest.mark.database
def test_on_a_real_server(desk: Desk, mariadb: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version and TLS of the server, the types of its columns, and a query without :since is worth a note."""
    monkeypatch.setattr(connections, "connect", connect)
    query = desk.world.folder / "all.sql"
    query.write_text(
        "SELECT c.*, v.page, v.device, v.browser, v.location, v.event_time FROM customers c JOIN "
        "page_views v ON v.user_id = c.id ORDER BY v.id"
    )
    desk.world.environ |= {**params_environ(mariadb.sample()), "QUERY_FILE": str(query)}

    assert desk.check() == []
    (database,) = [line for line in desk.told("ok") if line.startswith("database:")]
    assert mariadb.product in database and "TLS" in database
    assert "all.sql gives 'id' (integer), 'email' (text)" in desk.out and "'event_time' (timestamp)" in desk.out
    assert any("query: it uses neither :since nor :since_local: every run reads" in note for note in desk.told("note"))
    assert Server.password not in desk.out


@pytest.mark.database
@pytest.mark.parametrize(
    ("environ", "query", "wrong"),
    [
        ({"DB_PASSWORD": "not the password"}, "", "database: 127.0.0.1:{} refused the user app (Access denied"),
        ({"DB_NAME": "nowhere"}, "", "database: There is no database nowhere at 127.0.0.1:{}: check DB_NAME."),
        ({}, "SELECT * FROM missing", "query: 127.0.0.1:{} answered with error 1146 ("),
        ({}, "SELEKT 1", "query: 127.0.0.1:{} answered with error 1064 ("),
        ({}, "DELETE FROM customers", "query: The user app may not read what the query asks of 127.0.0.1:{}"),
        ({}, "SELECT 1; SELECT 2", "query: 127.0.0.1:{} answered with error 1064 ("),
    ],
)
def test_what_a_real_server_refuses(
    desk: Desk, mariadb: Server, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], query: str, wrong: str
) -> None:
    """A wrong database or query is one line; credentials and files are looked at all the same."""
    monkeypatch.setattr(connections, "connect", connect)
    desk.world.environ |= params_environ(mariadb.sample()) | environ
    if query:
        (desk.world.folder / "mine.sql").write_text(query)
        desk.world.environ["QUERY_FILE"] = str(desk.world.folder / "mine.sql")

    (found,) = desk.check()
    assert found.startswith(wrong.format(mariadb.port))
    assert any(line.startswith("credentials:") for line in desk.told("ok"))
    assert "not the password" not in desk.out and Server.password not in desk.out


@pytest.mark.parametrize("jwt", [False, True])
def test_no_secret_is_printed(desk: Desk, jwt: bool) -> None:
    """A server that repeats the request in its error, credentials and all: none of them is printed."""
    desk.world.environ["DB_PASSWORD"] = "the-database-password"
    desk.world.environ["ITERABLE_API_KEY"] = "0123456789abcdef0123456789abcdef"
    if jwt:
        with_jwt(desk)

    def echo(request: Request) -> catalogue.Fault:
        return catalogue.Fault("echo", html_answer(401, f"refused: {request.headers}, the-database-password"))

    desk.iterable.faults = echo
    (wrong,) = desk.check()
    assert "refused" in wrong
    secrets = ("the-database-password", desk.world.environ["ITERABLE_API_KEY"], JWT_SECRET, "eyJ")
    assert all(secret not in desk.out for secret in secrets)
