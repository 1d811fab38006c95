"""`--check`: everything that a run needs, a line each, all of them also after the first that is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from db import connect
from sync.console import check as checks
from sync.rows.columns import Column, Kind
from sync.run import job as job_module
from sync.sandbox.answers import Request, html_answer
from sync.sandbox.stand_in import StandIn
from sync.state.file import State
from tests import faults as catalogue
from tests.harness import COLUMNS, World, address, params_environ, people, person
from tests.mariadb import Server

JWT_KEY, JWT_SECRET = "jwt-enabled-key-0123456789", "2EB6A2F34691492F81A819AEDA32427F"


@dataclass
class Desk:
    """An installation that is checked, beside an Iterable project over a real socket."""

    world: World
    iterable: StandIn
    capsys: pytest.CaptureFixture[str]
    code: int = -1
    out: str = ""
    findings: list[tuple[str, str, str]] = field(default_factory=list)

    def check(self, *flags: str) -> list[str]:
        """Run `--check`; what was found wrong, as "what: told"."""
        self.code = self.world.main("--check", *flags)
        self.out, errors = self.capsys.readouterr()
        assert errors == ""
        self.findings = [(line[:5].strip(), line[7:19].strip(), line[20:]) for line in self.out.splitlines()[:-1]]
        assert {request.method for request in self.iterable.requests} <= {"GET"}, "no write request is ever made"
        wrong = self.told("WRONG")
        assert self.code == (1 if wrong else 0)
        return wrong

    def told(self, verdict: str) -> list[str]:
        """The findings with this verdict."""
        return [f"{what}: {told}" for how, what, told in self.findings if how == verdict]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """An installation in which everything is right."""
    with StandIn(jwt_api_key=JWT_KEY, jwt_secret=JWT_SECRET, read_only_key="read-only-key") as iterable:
        world = World(tmp_path, monkeypatch, ITERABLE_API_BASE_URL=iterable.url, INITIAL_BACKOFF="0")
        world.rows = people(3)
        yield Desk(world, iterable, capsys)


def with_jwt(desk: Desk, **environ: str) -> None:
    """Let the installation sign in by JWT."""
    desk.world.environ |= {
        "USE_JWT_AUTH": "true",
        "ITERABLE_API_KEY": JWT_KEY,
        "ITERABLE_JWT_SECRET": JWT_SECRET,
        **environ,
    }


# -- several at once -----------------------------------------------------------------------------------------


def test_three_things_wrong_at_once(desk: Desk) -> None:
    """All checks are made also after the first that failed; each wrong one is a line with its remedy; exit code 1."""
    desk.world.environ |= {
        "LOG_FILE": str(desk.world.folder / "nowhere" / "run.log"),
        "ITERABLE_API_KEY": "f" * 32,
        "USER_FIELDS": "first_name,shoe_size",
    }
    wrong = desk.check()

    assert len(wrong) == 3
    assert "nowhere/run.log may not be written" in wrong[0] and "check that its folder exists" in wrong[0]
    assert wrong[1].startswith("query: USER_FIELDS names the column shoe_size, which is missing (the query gives: id,")
    assert wrong[2].startswith("credentials: 401 BadApiKey: Invalid API key; check ITERABLE_API_KEY")
    assert desk.told("ok")[:2] == [
        "settings: every setting can be used; users/update and events/track, signed in by API key",
        f"state: {desk.world.folder}/state.sqlite3; no run yet: the first one sends everything",
    ]
    assert desk.out.splitlines()[-1] == "3 to mend"


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
    monkeypatch.setattr(job_module, "connect", connect)
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
    assert "WORKERS is 'many'; a whole number is wanted" in wrong[0]
    assert "No database answers at 127.0.0.1:1" in wrong[4]
    assert "check ITERABLE_API_BASE_URL and the network" in wrong[5]


def test_all_is_well(desk: Desk) -> None:
    """Everything right: exit code 0, what comes next, and nothing was written."""
    before = {path: path.read_bytes() for path in desk.world.folder.iterdir()}
    assert desk.check() == []

    assert desk.code == 0
    assert [what for _, what, _ in desk.findings] == [
        *("settings", "state", "log", "CSV folder", "database", "query", "rows", "credentials", "field types"),
    ]
    assert desk.out.endswith("all is well: python3 main.py --dry-run shows what would be sent\n")
    assert {path.name for path in desk.world.folder.iterdir()} - {path.name for path in before} <= {"env"}
    assert [request.path for request in desk.iterable.requests] == ["/api/channels", "/api/users/getFields"]


def test_bulk_is_named(desk: Desk) -> None:
    """The first line says which endpoints a run would call."""
    assert desk.check("--bulk") == []
    assert "users/bulkUpdate and events/trackBulk, signed in by API key" in desk.told("ok")[0]


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "problems"),
    [
        ({"DB_USER": "", "DB_NAME": "", "ITERABLE_API_KEY": ""}, ["DB_USER is missing", "DB_NAME", "ITERABLE_API_KEY"]),
        ({"USE_JWT_AUTH": "true"}, ["ITERABLE_JWT_SECRET is missing"]),
        ({"USE_JWT_AUTH": "true", "ITERABLE_JWT_SECRET": "s" * 32, "ITERABLE_BULK": "1"}, ["cannot go with USE_JWT"]),
        ({"DB_TIMEZONE": "Mars", "EVENT_KEY": " "}, ["DB_TIMEZONE is 'Mars'", "EVENT_KEY is empty"]),
        ({"USER_FIELDS": "a:b:c"}, ["the type 'c' is none of"]),
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
    assert any(line.startswith("query: query.sql gives id (integer), email (text), ") for line in desk.told("ok"))
    assert "rows" not in {what for _, what, _ in desk.findings}


# -- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "what"),
    [
        ("STATE_FILE", "none/state.sqlite3", "state"),
        ("STATE_FILE", "a file/state.sqlite3", "state"),
        ("LOG_FILE", "none/run.log", "log"),
        ("LOG_FILE", ".", "log"),
        ("LOG_FILE", "a file/run.log", "log"),
        ("CSV_DIR", "none", "CSV folder"),
        ("CSV_DIR", "a file", "CSV folder"),
    ],
)
def test_what_cannot_be_written(desk: Desk, setting: str, value: str, what: str) -> None:
    """State, log and CSV folder: a path on which a run would fail is found."""
    (desk.world.folder / "a file").write_text("")
    path = desk.world.folder / value
    desk.world.environ[setting] = str(path)

    (wrong,) = desk.check()
    assert wrong == f"{what}: {path} may not be written; check that its folder exists, and its owner and mode"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_files_of_somebody_else(desk: Desk) -> None:
    """A file without the right to write is found."""
    desk.world.settings.log_file.touch(0o444)
    assert "may not be written" in desk.check()[0]


def test_a_state_of_another_program(desk: Desk) -> None:
    """A STATE_FILE that is no state is found, with what to do."""
    desk.world.settings.state_file.write_text("not a database, and longer than a header would be" * 10)
    (wrong,) = desk.check()
    assert wrong.startswith("state: ") and "is not an SQLite file; restore it and run with --full" in wrong


def test_the_last_run_is_told(desk: Desk) -> None:
    """An existing state says when the last run was; looking leaves the folder as it was."""
    with_state = State(desk.world.settings.state_file)
    with_state.begin_run("one", "2026-01-06 10:00:00")
    with_state.close()
    desk.check()
    listing = sorted(desk.world.folder.iterdir())

    assert desk.check() == []
    assert f"{desk.world.settings.state_file}; the last run began 2026-01-06 10:00:00 UTC" in desk.out
    assert sorted(desk.world.folder.iterdir()) == listing


# -- the query -----------------------------------------------------------------------------------------------


def test_columns_and_rows_are_told(desk: Desk) -> None:
    """The columns with their types, and of the first rows those that would be rejected, with the reason."""
    desk.world.rows = people(30)
    desk.world.rows[1]["email"] = "nobody"
    desk.world.rows[2]["event_time"] = None

    assert desk.check() == []
    assert "query.sql gives id (integer), email (text)" in desk.out and "event_time (timestamp)" in desk.out
    assert any("row 2 would be rejected: email is 'nobody'" in note for note in desk.told("note"))
    assert any("row 3 would be rejected: event_time is NULL: no event time" in note for note in desk.told("note"))
    assert "rows: 20 of the first 20 read, 2 would be rejected" in desk.told("ok")


def test_no_rows_are_worth_a_note(desk: Desk) -> None:
    """An empty result is no error, and nobody can say which types it would have had."""
    desk.world.rows = []
    assert desk.check() == []
    assert "rows: none read, 0 would be rejected" in desk.told("note")


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
    assert "a\\nb\\x1b[31m (text)" in desk.out and "\x1b" not in desk.out


@pytest.mark.database
def test_on_a_real_server(desk: Desk, mariadb: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version and TLS of the server, the types of its columns, and a query without :since is worth a note."""
    monkeypatch.setattr(job_module, "connect", connect)
    query = desk.world.folder / "all.sql"
    query.write_text(
        "SELECT c.*, v.page, v.device, v.browser, v.location, v.event_time FROM customers c JOIN "
        "page_views v ON v.user_id = c.id ORDER BY v.id"
    )
    desk.world.environ |= {**params_environ(mariadb.sample()), "QUERY_FILE": str(query)}

    assert desk.check() == []
    (database,) = [line for line in desk.told("ok") if line.startswith("database:")]
    assert mariadb.product in database and "TLS" in database
    assert "all.sql gives id (integer), email (text)" in desk.out and "event_time (timestamp)" in desk.out
    assert "query: it uses neither :since nor :since_local: every run reads all that it selects" in desk.told("note")
    assert Server.password not in desk.out


@pytest.mark.database
@pytest.mark.parametrize(
    ("environ", "query", "wrong"),
    [
        ({"DB_PASSWORD": "not the password"}, "", "database: 127.0.0.1:{} refused the user app: check DB_USER"),
        ({"DB_NAME": "nowhere"}, "", "database: There is no database nowhere at 127.0.0.1:{}: check DB_NAME."),
        ({}, "SELECT * FROM missing", "query: The query names a table that 127.0.0.1:{} does not have"),
        ({}, "SELEKT 1", "query: 127.0.0.1:{} does not understand the query"),
        ({}, "DELETE FROM customers", "query: The user app may not read what the query asks of 127.0.0.1:{}"),
        ({}, "SELECT 1; SELECT 2", "query: The query holds more than one statement"),
        ({}, " -- nothing", "query: The query is empty"),
    ],
)
def test_what_a_real_server_refuses(
    desk: Desk, mariadb: Server, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], query: str, wrong: str
) -> None:
    """A wrong database or query is one line; credentials and files are looked at all the same."""
    monkeypatch.setattr(job_module, "connect", connect)
    desk.world.environ |= params_environ(mariadb.sample()) | environ
    if query:
        (desk.world.folder / "mine.sql").write_text(query)
        desk.world.environ["QUERY_FILE"] = str(desk.world.folder / "mine.sql")

    (found,) = desk.check()
    assert found.startswith(wrong.format(mariadb.port))
    assert any(line.startswith("credentials:") for line in desk.told("ok"))
    assert "not the password" not in desk.out and Server.password not in desk.out


# -- credentials ---------------------------------------------------------------------------------------------


def test_a_read_only_key_looks_the_same(desk: Desk) -> None:
    """What cannot be known without writing is said: a read-only key passes this check, too."""
    desk.world.environ["ITERABLE_API_KEY"] = "read-only-key"
    assert desk.check() == []
    (line,) = [line for line in desk.told("ok") if line.startswith("credentials:")]
    assert line.endswith("accepts the key (a read-only key too: only a write can tell)")


def test_a_key_of_the_other_region(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that the other data centre accepts: the remedy is the setting's right value."""
    with StandIn(api_key="key-of-the-other-region") as other:
        monkeypatch.setattr(checks, "REGIONS", {desk.iterable.url: other.url, other.url: desk.iterable.url})
        desk.world.environ["ITERABLE_API_KEY"] = other.api_key
        (wrong,) = desk.check()
        assert wrong == f"credentials: the key belongs to the other region: ITERABLE_API_BASE_URL={other.url}"
        assert [request.path for request in other.requests] == ["/api/channels"]

        desk.world.environ["ITERABLE_API_KEY"] = "a key of neither".replace(" ", "-")
        (wrong,) = desk.check()
        assert "Invalid API key; check ITERABLE_API_KEY, its project and its type" in wrong


def test_the_regions_are_iterables_own() -> None:
    """The two data centres, each with the other."""
    assert set(checks.REGIONS) == {"https://api.iterable.com", "https://api.eu.iterable.com"}
    assert all(checks.REGIONS[other] == one for one, other in checks.REGIONS.items())


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (catalogue.ACTION_NOT_FOUND, "404"),
        (catalogue.MOVED, "301"),
        (catalogue.UNAVAILABLE, "503"),
        (catalogue.RATE_LIMITED, "429"),
        (catalogue.CLOSED, "connection"),
        (catalogue.PAGE, "200 without a JSON object"),
    ],
    ids=str,
)
def test_what_is_not_iterable(desk: Desk, fault: catalogue.Fault, told: str) -> None:
    """Any other answer is told as it is, with the setting to look at; it is not called a bad key."""
    desk.iterable.faults = lambda _request: fault
    (wrong,) = desk.check()
    assert wrong.startswith(f"credentials: {desk.iterable.url}: ") and told in wrong
    assert wrong.endswith("; check ITERABLE_API_BASE_URL and the network")


def test_jwt_is_tried_without_writing(desk: Desk) -> None:
    """A Mobile or Web key: the token of the first usable row's user is made and accepted."""
    with_jwt(desk)
    desk.world.rows[0]["email"] = "nobody"
    assert desk.check() == []
    assert f"credentials: key and JWT are accepted (tried with {address(2)}, nothing was written)" in desk.told("ok")
    assert [request.path for request in desk.iterable.requests] == ["/api/channels", "/api/inApp/getMessages"]
    assert desk.iterable.requests[-1].headers["authorization"].startswith("Bearer ")
    assert any("a JWT-enabled key may not read them" in note for note in desk.told("note"))


def test_jwt_for_a_user_id(desk: Desk) -> None:
    """The token claims the user id where the row is known by one."""
    with_jwt(desk, USER_ID_COLUMN="id")
    assert desk.check() == []
    assert "(tried with 1, nothing was written)" in desk.out
    assert desk.iterable.requests[-1].query.startswith("userId=1&")


def test_jwt_with_a_server_side_key(desk: Desk) -> None:
    """A server-side key takes no JWT, whatever it may read: the setting is wrong."""
    with_jwt(desk, ITERABLE_API_KEY=desk.iterable.api_key)
    assert any("is a server-side key" in told for told in desk.check())


@pytest.mark.parametrize(
    ("environ", "wrong"),
    [
        (
            {"ITERABLE_JWT_SECRET": "x" * 32},
            "the JWT was refused: 401 InvalidJwtPayload: JWT is invalid; check ITERABLE_JWT_",
        ),
        ({"ITERABLE_API_KEY": "no-key-at-all"}, "401 BadApiKey: Invalid API key; check ITERABLE_API_KEY"),
    ],
)
def test_jwt_is_refused(desk: Desk, environ: dict[str, str], wrong: str) -> None:
    """A secret that is not the key's, and a key that is none: which of the two it was is told."""
    with_jwt(desk, **environ)
    (found,) = desk.check()
    assert found.startswith(f"credentials: {wrong}")
    assert all(value not in desk.out for value in environ.values())


def test_jwt_with_an_unwelcome_claim(desk: Desk) -> None:
    """`invalid payload` names JWT_ISSUER, whose claim Iterable does not document."""
    with_jwt(desk)
    desk.iterable.reject_extra_claims = True
    (found,) = desk.check()
    assert "JWT_ISSUER is a suspect" in found


def test_jwt_of_a_user_who_is_new(desk: Desk) -> None:
    """ "Email could not be found" proves that the token was read; a run creates the user."""
    with_jwt(desk)
    desk.iterable.jwt_needs_user = True
    assert desk.check() == []
    assert any("the JWT was read, and user1@example.com is not in the project yet" in n for n in desk.told("note"))


def test_a_javascript_key_cannot_be_tried(desk: Desk) -> None:
    """A JavaScript key may read nothing: that the token was made is all that can be said."""
    with_jwt(desk)
    params = {"ip": "127.0.0.1", "apiKeyType": "JavaScript"}
    refusal = catalogue.refused(401, "BadApiKey", "Disabled API key or insufficient privileges", params)
    desk.iterable.faults = lambda _request: refusal
    assert desk.check() == []
    assert any("a JavaScript key may not try it without writing" in note for note in desk.told("note"))


def test_jwt_without_anybody_to_try_it_with(desk: Desk) -> None:
    """Without a usable row there is nobody to make a token for: said, and no request made."""
    with_jwt(desk)
    desk.world.rows = []
    assert desk.check() == []
    assert any("the token was not tried" in note for note in desk.told("note"))
    assert desk.iterable.requests == []


# -- field types ---------------------------------------------------------------------------------------------

TEXT, JSON = Kind.TEXT, Kind.JSON


@pytest.mark.parametrize(
    ("types", "sentence"),
    [
        ({"plan_type": "long"}, "plan_type is a long in this project, the query gives text"),
        ({"plan_type": "boolean"}, "plan_type is a boolean in this project, the query gives text"),
        ({"plan_type": "date"}, "plan_type is a date in this project, the query gives text"),
        ({"plan_type": "object"}, "plan_type is an object in this project, the query gives text"),
        ({"plan_type.name": "string"}, "plan_type is an object in this project, the query gives text"),
        ({"recent_page_view": "string"}, "recent_page_view is a string in this project, the query gives true or false"),
    ],
)
def test_a_type_that_does_not_fit(desk: Desk, types: dict[str, str], sentence: str) -> None:
    """A field that has another type in the project is wrong, and what the query gives is said."""
    desk.iterable.field_types.user.update(types)
    (wrong,) = desk.check()
    assert wrong == f"field types: {sentence}; map it to another field name or type"


@pytest.mark.parametrize(
    ("kind", "value", "fits", "sentence"),
    [
        (Kind.INTEGER, 5, ("long", "double"), "x is a string in this project, the query gives whole numbers"),
        (Kind.NUMBER, 5.5, ("double",), "x is a string in this project, the query gives decimal numbers"),
        (Kind.BOOLEAN, 1, ("boolean",), "x is a string in this project, the query gives true or false"),
        (JSON, '{"a": 1}', ("object", "geo_location"), "x is a string in this project, the query gives an object"),
        (JSON, '["a", null]', ("string",), "x is a long in this project, the query gives text"),
        (JSON, "[null, 1]", ("long", "double"), "x is a string in this project, the query gives whole numbers"),
        (JSON, '[{"a": 1}]', ("object",), "x is a string in this project, the query gives an object"),
        (JSON, "[]", ("string", "long", "object"), ""),
        (
            TEXT,
            "2026-01-06 10:00:00",
            ("date", "string", "keyword"),
            "x is a long in this project, the query gives text",
        ),
        (TEXT, None, ("string", "long", "date", "object"), ""),
    ],
)
def test_types_that_fit(desk: Desk, kind: Kind, value: Any, fits: Sequence[str], sentence: str) -> None:
    """Each kind of column with the project's types that take it, and one that does not; an array is as its values."""
    desk.world.columns = (*COLUMNS, Column("x", kind))
    desk.world.rows = [person(1, x=None), person(2, x=value)]
    desk.world.environ["USER_FIELDS"] = "first_name,x"
    for fitting in fits:
        desk.iterable.field_types.user["x"] = fitting
        assert desk.check() == []
    if sentence:
        desk.iterable.field_types.user["x"] = sentence.split()[3]
        (wrong,) = desk.check()
        assert sentence in wrong


def test_nested_fields_are_compared(desk: Desk) -> None:
    """`address.city` is compared by its dotted name, and what is in a JSON column, too."""
    desk.world.columns = (*COLUMNS, Column("likes", JSON))
    desk.world.rows = [person(1, likes='{"shoes": {"size": 40}}')]
    desk.world.environ["USER_FIELDS"] = "location:address.city,likes"
    desk.iterable.field_types.user |= {"address.city": "long", "likes.shoes.size": "string"}

    assert [wrong.partition(";")[0] for wrong in desk.check()] == [
        "field types: address.city is a long in this project, the query gives text",
        "field types: likes.shoes.size is a string in this project, the query gives whole numbers",
    ]
    desk.iterable.field_types.user |= {"address.city": "string", "likes.shoes.size": "long"}
    assert desk.check() == []
    assert "field types: 2 fields fit the project's types; new: recent_page_view" in desk.told("ok")


def test_new_fields_are_named(desk: Desk) -> None:
    """Fields that the project does not have yet are named: a typing error would create one for ever."""
    desk.iterable.field_types.user["first_name"] = "string"
    assert desk.check() == []
    new = "field types: 1 fields fit the project's types; new: last_name, plan_type, recent_page_view"
    assert new in desk.told("ok")


def test_fields_that_cannot_be_read(desk: Desk) -> None:
    """A project that does not tell its fields is worth a note, and no error."""
    desk.iterable.faults = catalogue.on("/api/users/getFields", lambda _request: catalogue.FORBIDDEN)
    assert desk.check() == []
    assert any("the project's fields could not be read: 403" in note for note in desk.told("note"))


# -- what is never in the output -----------------------------------------------------------------------------


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
