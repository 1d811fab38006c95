"""`--dry-run`: exactly the requests that a run would make, and nothing sent, written or locked."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sync.console.dry_run import dry_run
from sync.delivery.bulk import IN_BULK
from sync.delivery.turn import ONE_BY_ONE
from sync.run.exit_codes import ExitCode
from sync.run.lock import run_lock
from sync.run.steps import Run
from tests import faults as catalogue
from tests.harness import PROJECT, World, environment, write_env
from tests.process import started, without_privilege
from tests.sample_rows import address, people, person
from tests.stand_in.answers import Request as Asked

Request = tuple[str, str, Any]
PLAIN: dict[str, Any] = {"cwd": PROJECT, "env": {"PATH": os.environ["PATH"]}, "capture_output": True}


@dataclass
class Desk:
    """An installation whose dry runs are looked at."""

    world: World
    capsys: pytest.CaptureFixture[str]
    errors: str = ""

    def dry(self, *flags: str, code: int = 0) -> list[Request]:
        """The requests that `--dry-run` prints: method, path, body."""
        self.capsys.readouterr()
        before = listing(self.world.folder)
        assert self.world.main("--dry-run", *flags) == code
        out, self.errors = self.capsys.readouterr()
        assert self.world.iterable.requests == [], "nothing is sent"
        assert listing(self.world.folder) | {"env": b""} == before | {"env": b""}, "nothing is written"
        printed = [json.loads(line) for line in out.splitlines()]
        assert all(list(line) == ["method", "path", "body"] for line in printed)
        return [tuple(line.values()) for line in printed]

    def run(self, code: int = ExitCode.DONE, **switches: Any) -> list[Request]:
        """The requests of a run, which ends with this code."""
        assert self.world.run(**switches).exit_code == code
        return [(request.method, request.path, request.json()) for request in self.world.iterable.requests]


def listing(folder: Path) -> dict[str, bytes]:
    """Every file with its content."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """One user after another, so that the order of requests is the order of users."""
    yield Desk(World(tmp_path, monkeypatch, WORKERS="1"), capsys)


def same(printed: list[Request], sent: list[Request]) -> bool:
    """Whether both hold the same requests; batches under way side by side may start in any order."""
    return sorted(map(json.dumps, printed)) == sorted(map(json.dumps, sent))


def test_the_requests_of_the_first_run(desk: Desk) -> None:
    """Bodies, paths and order are those of the run that follows; rejected rows are told on standard error."""
    desk.world.rows = [person(1), person(2, first_name='Zoë "🌻"\n'), person(1, page="settings"), *people(9)[4:]]
    printed = desk.dry()

    assert len(printed) == 7 + 8
    assert printed == desk.run()
    assert "dry run: 8 rows; requests: 8 events/track, 7 users/update; nothing was sent" in desk.errors
    assert "about 0.0 s at Iterable's rate limits" in desk.errors


def test_what_would_be_rejected(desk: Desk) -> None:
    """Rows that no request will be made for are counted and named with their reason."""
    desk.world.rows = [*people(2), person(3, email="nobody"), person(4, event_time=None)]
    printed = desk.dry()

    assert len(printed) == 2 + 2 + 1
    assert "Row rejected before any request: email is 'nobody': " in desk.errors
    assert "Row rejected before any request: event_time is NULL" in desk.errors
    assert "rejected: 1 profiles, 2 events" in desk.errors


def test_with_an_existing_state(desk: Desk) -> None:
    """What is unchanged is absent, what changed is there, who left the segment is told so: as the run does."""
    desk.world.rows = people(12)
    desk.run()
    desk.world.rows = [person(1, plan_type="free"), *people(10)[1:], person(3, page="settings")]
    printed = desk.dry()

    assert Counter(path for _, path, _ in printed) == {"/api/users/update": 3, "/api/events/track": 1}
    assert [body["dataFields"] for _, _, body in printed[-2:]] == [{"recent_page_view": False}] * 2
    assert "unchanged: 9 profiles, 10 events; rejected: 0 profiles, 0 events; leaving the segment: 2" in desk.errors
    assert printed == desk.run()
    assert desk.dry() == []
    assert "requests: none; nothing was sent" in desk.errors


def test_what_is_still_pending(desk: Desk) -> None:
    """The backlog of a run that failed is printed too, also of users who have left the result."""
    desk.world.rows = people(6)
    desk.world.iterable.faults = catalogue.on("/api/events/track", lambda _request: catalogue.UNAVAILABLE)
    desk.world.run()
    desk.world.iterable.faults = None
    desk.world.rows = people(6)[2:]
    printed = desk.dry()

    assert len([path for _, path, _ in printed if path == "/api/events/track"]) >= 5
    assert printed == desk.run()


@pytest.mark.parametrize(
    "flags", [{"full": True}, {"retry_rejected": True}, {"limit": 3}, {"allow_mass_exit": True}], ids=str
)
def test_the_switches_of_a_run(desk: Desk, flags: dict[str, Any]) -> None:
    """Every switch means in a dry run what it means in the run."""
    desk.world.rows = people(12)
    desk.world.iterable.project.rules.forgotten = {address(2)}
    desk.world.run()
    desk.world.iterable.project.rules.forgotten = set()
    desk.world.rows = people(4)
    words = [f"--{name.replace('_', '-')}" for name in flags]
    printed = desk.dry(*words, *(["3"] if "limit" in flags else []))

    held_back = "Mass exit held back" in desk.errors
    assert held_back == ("allow_mass_exit" not in flags and "limit" not in flags)
    assert printed == desk.run(ExitCode.INCOMPLETE if held_back else ExitCode.DONE, **flags)
    assert bool(printed) == ("limit" not in flags)


def test_a_mass_exit_is_held_back(desk: Desk) -> None:
    """A segment that would empty itself: nobody leaves, and the dry run says why."""
    desk.world.rows = people(12)
    desk.run()
    desk.world.rows = people(2)
    assert desk.dry() == []
    assert "Mass exit held back: 10 of the 12 users in the segment would leave it in one run" in desk.errors


@pytest.mark.parametrize("size", [1, 5, 2_100])
def test_in_bulk(desk: Desk, size: int) -> None:
    """In bulk the batches are the run's: the canary alone, then up to 1,000 users."""
    desk.world.environ["ITERABLE_BULK"] = "true"
    desk.world.rows = [*people(size), person(1, page="settings"), person(2, page="settings")]
    printed = desk.dry()

    assert same(printed, desk.run())


def test_leavers_in_bulk(desk: Desk) -> None:
    """Leavers come after everybody else, in the same batches; without anybody else the canary is one of them."""
    desk.world.environ["ITERABLE_BULK"] = "true"
    desk.world.rows = people(20)
    desk.run()
    desk.world.rows = [person(1, plan_type="free"), person(2, plan_type="free"), *people(15)[2:]]
    printed = desk.dry()
    assert [len(body["users"]) for _, _, body in printed] == [1, 6]
    assert printed == desk.run()

    desk.world.rows = desk.world.rows[:12]
    printed = desk.dry()
    assert [len(body["users"]) for _, _, body in printed] == [1, 2]
    assert printed == desk.run()


@pytest.mark.parametrize("bulk", ["true", "false"])
def test_users_with_many_events(desk: Desk, monkeypatch: pytest.MonkeyPatch, bulk: str) -> None:
    """A run takes a few events of a user at a time; the dry run prints all of them, in the run's order."""
    monkeypatch.setattr("sync.run.steps.ONE_BY_ONE", ONE_BY_ONE._replace(events=3))
    monkeypatch.setattr("sync.delivery.bulk.IN_BULK", IN_BULK._replace(events=60))
    desk.world.environ["ITERABLE_BULK"] = bulk
    desk.world.rows = [person(n, email=address(n % 4)) for n in range(40)]
    printed = desk.dry()

    events = [body for _, path, body in printed if path.startswith("/api/events")]
    assert sum(len(body.get("events", [body])) for body in events) == 40
    assert same(printed, desk.run())


def test_a_thousand_events_of_one_user(desk: Desk) -> None:
    """The same with the real bound."""
    desk.world.rows = [person(n, email=address(1)) for n in range(ONE_BY_ONE.events * 5 + 1)]
    printed = desk.dry()
    assert len(printed) == 1 + len(desk.world.rows)
    times = [body["createdAt"] for _, path, body in printed if path == "/api/events/track"]
    assert times == sorted(times)


def test_the_time_at_the_limits(desk: Desk) -> None:
    """The time is that of the slower endpoint at its ceiling."""
    desk.world.environ |= {"USERS_PER_SECOND": "10", "EVENTS_PER_SECOND": "1000"}
    desk.world.rows = people(95)
    desk.dry()
    assert "about 10.0 s at Iterable's rate limits" in desk.errors


def test_the_lock_is_not_taken(desk: Desk) -> None:
    """A dry run looks while another run is going."""
    desk.world.rows = people(3)
    desk.run()
    with run_lock(desk.world.folder / "state.sqlite3.lock"):
        assert desk.dry("--full") != []


def test_a_dry_run_while_a_run_is_under_way(desk: Desk) -> None:
    """The state of a run under way is read as it stands; the run is not disturbed."""
    desk.world.rows = people(3)
    printed: list[str] = []

    def look(_request: Asked) -> None:
        if not printed:
            out = io.StringIO()
            job = Run(desk.world.settings, source=desk.world.source)
            assert dry_run(job, out) == ExitCode.DONE
            printed.append(out.getvalue())

    desk.world.iterable.faults = look
    assert desk.world.run().exit_code == ExitCode.DONE
    assert printed[0].count("users/update") == 3


@pytest.mark.parametrize(
    ("environ", "code", "sentence"),
    [
        ({"USER_FIELDS": "shoe_size"}, ExitCode.USAGE, "USER_FIELDS names the column shoe_size, which is missing"),
        ({"STATE_FILE": "/etc/passwd"}, ExitCode.STOPPED, "the state /etc/passwd is not an SQLite file"),
        ({"USERS_PER_SECOND": "fast"}, ExitCode.USAGE, "USERS_PER_SECOND is 'fast'"),
    ],
)
def test_what_a_run_could_not_do_either(desk: Desk, environ: dict[str, str], code: int, sentence: str) -> None:
    """A mistake has the exit code that it has in a run, and its sentence is on standard error, without a traceback."""
    desk.world.environ |= environ
    desk.world.rows = people(2)
    assert desk.dry(code=code) == []
    assert sentence in desk.errors and "Traceback" not in desk.errors


def test_a_database_that_goes_away(desk: Desk) -> None:
    """A result that breaks off is no basis for a forecast: one sentence, exit code 1, nothing printed."""
    desk.world.rows = people(5)
    desk.world.breaks_after = 3
    assert desk.dry(code=ExitCode.STOPPED) == []
    assert desk.errors == "The connection to memory was lost: see whether it is up, and run again.\n"


def test_never_a_credential(desk: Desk) -> None:
    """Key, secret and token are in no line, whatever the mode of signing in."""
    secrets = {"ITERABLE_API_KEY": "0123456789abcdef" * 2, "ITERABLE_JWT_SECRET": "s" * 32, "DB_PASSWORD": "pa55word"}
    desk.world.environ |= {**secrets, "USE_JWT_AUTH": "true", "LOG_LEVEL": "DEBUG"}
    desk.world.rows = people(3)
    text = json.dumps(desk.dry()) + desk.errors
    assert "/api/users/update" in text
    assert all(secret not in text for secret in (*secrets.values(), "Bearer", "eyJ", "Api-Key"))


# -- as a process --------------------------------------------------------------------------------------------


def test_head_ends_it_quietly(tmp_path: Path) -> None:
    """`--dry-run | head` has seen enough: exit code 0, no traceback, not a word."""
    rows = [person(n, first_name="x" * 300) for n in range(2_000)]
    with started(tmp_path, environment(tmp_path), "--dry-run", rows=rows) as process:
        assert process.stdout is not None and process.stderr is not None
        first = json.loads(process.stdout.readline())
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(10) == 0
    assert first["path"] == "/api/users/update"
    assert errors == ""


def test_the_language_of_the_terminal_does_not_matter(tmp_path: Path) -> None:
    """JSON is UTF-8 also where the terminal's language has no word for it."""
    rows = [person(1, first_name="Zoë 🌻", email="nobody€"), person(2, first_name="Zoë 🌻")]
    (tmp_path / "rows.json").write_text(json.dumps(rows, default=str))
    write_env(tmp_path, environment(tmp_path))
    done = subprocess.run(
        dry_run_of(tmp_path),
        **(PLAIN | {"env": {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii"}}),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["body"]["dataFields"]["first_name"] == "Zoë 🌻"


def test_no_right_to_write_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who may read the folder and nothing more sees the same requests."""
    world = World(tmp_path, monkeypatch, ITERABLE_API_BASE_URL="https://api.iterable.com")
    world.rows = people(3)
    assert world.run().exit_code == ExitCode.DONE
    rows = [person(1), person(2, plan_type="free"), person(3)]
    (tmp_path / "rows.json").write_text(json.dumps(rows, default=str))
    write_env(tmp_path, world.environ)
    for path in tmp_path.iterdir():
        path.chmod(0o444)
    before = listing(tmp_path)
    tmp_path.chmod(0o555)
    try:
        done = subprocess.run(dry_run_of(tmp_path), **PLAIN, preexec_fn=without_privilege, check=False)
    finally:
        tmp_path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["body"]["email"] for line in done.stdout.splitlines()] == [address(2)]
    assert b"unchanged: 2 profiles, 3 events" in done.stderr
    assert listing(tmp_path) == before


def dry_run_of(folder: Path) -> list[str]:
    """The command that looks at the files in *folder*."""
    files = [str(folder / "rows.json"), "--env-file", str(folder / "env")]
    return [sys.executable, "-m", "tests.program", *files, "--dry-run"]
