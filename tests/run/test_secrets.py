"""No secret is in any output, whatever goes wrong."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

import main
from sync.run.connections import mysql_params
from sync.run.exit_codes import ExitCode
from sync.run.steps import Run
from tests import faults as catalogue
from tests.harness import environment, write_env
from tests.mariadb import Server
from tests.process import params_environ
from tests.run.settings_of import settings_of
from tests.stand_in.answers import Request, html_answer, json_answer
from tests.stand_in.faults import Fault
from tests.stand_in.stand_in import StandIn

KEY, SECRET = "0123456789abcdef0123456789abcdef", "2EB6A2F34691492F81A819AEDA32427F"
SHORT = ("k3y", "j0t")


def repeats(status: int) -> catalogue.Faults:
    """A server, or a proxy before it, whose error repeats the request with all its headers."""

    def answer(request: Request) -> Fault:
        told = f"refused {request.headers} {SECRET} {' '.join(SHORT)}"
        body = html_answer(status, told) if status in (401, 502) else json_answer(status, {"msg": told, "code": told})
        return Fault("repeats", body)

    return answer


MODES: dict[str, tuple[list[str], dict[str, str], catalogue.Faults | None]] = {
    "run": ([], {}, None),
    "json": (["--json"], {}, None),
    "bulk": (["--bulk"], {}, None),
    "jwt": ([], {"USE_JWT_AUTH": "true"}, None),
    "jwt that is refused": ([], {"USE_JWT_AUTH": "true"}, lambda _request: catalogue.JWT_SIGNATURE),
    "401": ([], {}, lambda _request: catalogue.BAD_API_KEY),
    "retries": ([], {"MAX_RETRIES": "2"}, lambda _request: catalogue.UNAVAILABLE),
    "no answer": ([], {}, lambda _request: catalogue.RESET),
    **{f"an echo with {status}": ([], {}, repeats(status)) for status in (200, 400, 401, 500, 502)},
    "an echo with jwt": ([], {"USE_JWT_AUTH": "true"}, repeats(401)),
    "an echo in bulk": (["--bulk"], {}, repeats(400)),
    "a wrong password": ([], {"DB_PASSWORD": "another-password"}, None),
    "a wrong setting": ([], {"WORKERS": "many", "USE_JWT_AUTH": "perhaps"}, None),
    "a secret with a line break": ([], {"ITERABLE_API_KEY": f"{KEY} {KEY}"}, None),
    "check": (["--check"], {}, None),
    "check with jwt": (["--check"], {"USE_JWT_AUTH": "true"}, None),
    "check with an echo": (["--check"], {}, repeats(401)),
    "check with jwt and an echo": (["--check"], {"USE_JWT_AUTH": "true"}, repeats(401)),
    "dry run": (["--dry-run"], {}, None),
    "dry run with jwt": (["--dry-run"], {"USE_JWT_AUTH": "true"}, None),
    "history": (["--history"], {}, None),
}


@pytest.fixture(scope="module")
def project() -> Iterator[StandIn]:
    """An Iterable project that takes the key in either role."""
    with StandIn(api_key=KEY, jwt_secret=SECRET) as running:
        yield running


@pytest.fixture(scope="module")
def sample(mariadb: Server) -> dict[str, str]:
    """The settings that lead to the sample rows."""
    return params_environ(mariadb.sample())


@pytest.mark.database
@pytest.mark.parametrize(("key", "secret"), [(KEY, SECRET), SHORT], ids=["long", "short"])
@pytest.mark.parametrize("mode", MODES)
def test_no_secret_in_any_output(
    tmp_path: Path,
    sample: dict[str, str],
    project: StandIn,
    capfd: pytest.CaptureFixture[str],
    mode: str,
    key: str,
    secret: str,
) -> None:
    """Every mode at DEBUG, failures included: key, secret, token and password are in no output and in no file."""
    flags, changes, faults = MODES[mode]
    jwt = changes.get("USE_JWT_AUTH") == "true"
    project.api_key, project.jwt_api_key = ("another", key) if jwt else (key, None)
    project.jwt_secret, project.faults = secret, faults
    before = len(project.requests)
    environ = {
        **environment(tmp_path),
        **sample,
        "ITERABLE_API_BASE_URL": project.url,
        "ITERABLE_API_KEY": key,
        "ITERABLE_JWT_SECRET": secret,
        "LOG_LEVEL": "DEBUG",
        "INITIAL_BACKOFF": "0",
        **changes,
    }
    env = write_env(tmp_path, environ)
    code = main.main(["--env-file", str(env), *flags])

    assert code in set(ExitCode)
    given = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path != env}
    given |= {name: text.encode() for name, text in capfd.readouterr()._asdict().items()}
    tokens = {request.headers.get("authorization", "")[7:] for request in project.requests[before:]} - {""}
    assert bool(tokens) == (jwt and "dry" not in mode)
    secrets = {key, secret, key[:20], secret[:20], "another-password", Server.password, repr(Server.password)[1:-1]}
    for name, data in given.items():
        for hidden in {*secrets, *tokens, "eyJ"}:
            assert hidden.encode() not in data, f"{hidden} is in {name}"
    assert any(given.values())


def test_the_summary_says_nothing_either(tmp_path: Path) -> None:
    """`repr` of the settings and of the client keeps its secrets."""
    settings = settings_of(
        ITERABLE_API_KEY=KEY, ITERABLE_JWT_SECRET=SECRET, DB_PASSWORD="pa55word", CSV_DIR=str(tmp_path)
    )
    told = io.StringIO()
    print(settings, repr(Run(settings)), mysql_params(settings), file=told)
    assert all(secret not in told.getvalue() for secret in (KEY, SECRET, "pa55word"))
