"""What is masked: every secret in what others wrote, and in our own sentences what stands out."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from sync.rows.source import ResultSet
from sync.run import connections, steps
from sync.run import verify as verification
from sync.run.exit_codes import ExitCode
from sync.run.log import LineFormatter
from tests.harness import Wire, World
from tests.run.moving import ANN, BOB, MOVE, moving_world, rows_of
from tests.sample_rows import people, person
from tests.stand_in.faults import Fault, bulk_result, on, page, refused
from tests.stand_in.rules import ProjectRules
from tests.stand_in.users import Profile

WEAK = ["test", "root", "a", "password", "iterable", "tester123", "20260106", "k3y!", "Grünwald"]
STRONG = ["0123456789abcdef", "app's pässword", "pa55word", "iterable-2026", "correcthorsebatterystaple"]


@pytest.mark.parametrize("secret", WEAK)
def test_weak_secret_spoils_no_other_text(secret: str) -> None:
    """In our own sentences a short or common word stays: addresses, hosts and times are what they are."""
    line = f"call successful: Success email={secret}er@example.com at {secret} key={secret}"

    assert LineFormatter("", [secret]).clean(line) == line


@pytest.mark.parametrize("secret", STRONG)
def test_strong_secret_is_masked_anywhere(secret: str) -> None:
    """A long or odd secret is masked also inside other text, beside a weak one as well."""
    line = LineFormatter("", ["test", secret]).clean(f"tester@example.com x{secret}y")

    assert line == "tester@example.com x***y"


def test_greps_work_beside_a_weak_password(world: World) -> None:
    """`grep user@example.com` finds the user whose address holds the password, and nobody is told off for it."""
    world.environ["DB_PASSWORD"] = "test"
    world.rows = [person(1, email="tester@example.com")]

    assert world.run().exit_code == ExitCode.DONE

    log = world.log()
    assert log.count("email=tester@example.com") == 2
    assert "mask" not in log and "WARNING" not in log


# -- what others wrote ---------------------------------------------------------------------------------------------

HIDDEN = {"ITERABLE_API_KEY": "k3y", "ITERABLE_JWT_SECRET": "j0t", "DB_PASSWORD": "p1w"}
ECHO = "no k3y, no j0t, no p1w"


@pytest.fixture
def short(world: World) -> World:
    """An installation whose key, secret and password have three letters, with two users."""
    world.environ |= HIDDEN
    world.iterable = Wire(ProjectRules(api_key=HIDDEN["ITERABLE_API_KEY"]))
    world.rows = people(2)
    return world


def found_in(world: World, printed: str) -> dict[str, list[str]]:
    """Where a run left a secret: each file and what it printed, with the lines that hold one."""
    texts = {path.name: path.read_bytes().decode("latin-1") for path in world.folder.iterdir() if path.name != "env"}
    return {
        name: lines
        for name, text in {**texts, "printed": printed}.items()
        if (lines := [line for line in text.splitlines() if any(secret in line for secret in HIDDEN.values())])
    }


def repeating(status: int, code: str) -> Fault:
    """An answer that repeats what nobody may see."""
    return refused(status, code, ECHO)


@pytest.mark.parametrize("flags", [(), ("--json",), ("--bulk",)], ids=" ".join)
@pytest.mark.parametrize(
    "fault",
    [
        repeating(401, "BadApiKey"),
        repeating(400, "BadParams"),
        repeating(400, "k3y"),
        repeating(503, "p1w"),
        repeating(200, "j0t"),
        page(403, ECHO),
    ],
    ids=lambda fault: fault.name,
)
def test_answers_that_repeat_short_secrets(
    short: World, capsys: pytest.CaptureFixture[str], fault: Fault, flags: tuple[str, ...]
) -> None:
    """Log, screen, JSON, state with its history, metrics, CSV and rejected rows hold none of them; the cause stays."""
    short.environ["METRICS_FILE"] = str(short.folder / "sync.prom")
    short.iterable.faults = lambda _request: fault
    assert short.main(*flags) != ExitCode.DONE
    short.main("--history")
    told = "".join(capsys.readouterr())

    assert found_in(short, told) == {}
    assert "no ***, no ***, no ***" in short.log()


def test_a_bulk_answer_that_repeats_short_secrets(short: World) -> None:
    """Neither the list in which a user is named nor the fields that were dropped show one; who is named is found."""
    short.environ["ITERABLE_BULK"] = "true"
    short.rows = [person(number) for number in (1, 2, 3)]
    short.rows[2]["email"] = "k3y@example.com"
    lists = {"failedUpdates": {"bad k3y": ["user2@example.com"]}, "filteredOutFields": ["p1w", "j0t"]}
    short.iterable.faults = on(
        "/api/users/bulkUpdate", lambda request: bulk_result(1, 1, **lists) if b"user2" in request.body else None
    )
    summary = short.run()

    assert (summary.users.delivered, summary.users.rejected) == (2, 1)
    assert "listed in bad ***" in short.log() and "dropped ['***', '***']" in short.log()
    assert [line for line in short.log().splitlines() if "p1w" in line or "bad k3y" in line] == []


def test_an_error_that_nobody_foresaw(
    short: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a library raises is told without secrets in a run, with its traceback, and in every other mode."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError(ECHO)

    for part, flags in (
        ("sync.run.steps.run_query", ()),
        ("iterable_client.IterableClient.update_user", ()),
        ("sync.run.steps.run_query", ("--dry-run",)),
        ("sync.run.steps.run_query", ("--verify",)),
        ("sync.console.check.read_history", ("--check",)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(part, broken)
            assert short.main(*flags) == ExitCode.STOPPED
    told = "".join(capsys.readouterr())

    assert found_in(short, told) == {}
    assert told.count("no ***, no ***, no ***") == 4  # a worker's error is in the log
    assert short.log().count("KeyError: 'no ***, no ***, no ***'") >= 2


@pytest.mark.usefixtures("heard")
def test_what_libraries_log_and_warn_of(short: World) -> None:
    """A line of a library's own logger, and its warnings, come without secrets; the time beside them stays."""

    def speak(_request: object) -> None:
        logging.getLogger("urllib3.connectionpool").warning("lost %s", ECHO)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(ECHO, DeprecationWarning, stacklevel=1)

    short.iterable.faults = speak
    short.environ["DB_PASSWORD"] = "20"  # of every year
    assert short.main() == ExitCode.DONE
    lines = [line for line in short.log().splitlines() if "no ***, no ***" in line]

    assert all(line.startswith("20") for line in lines)
    assert {line.split(" - ")[1] for line in lines} == {"urllib3.connectionpool", "py.warnings"}
    assert not any(secret in short.log() for secret in ("k3y", "j0t"))


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("mode", ["--dry-run", "--verify"])
def test_what_libraries_warn_of_without_a_log(
    short: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    """The modes of a run that keep no log print it, without secrets."""
    run_query = connections.run_query

    def warning(*of_the_run: Any) -> ResultSet:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(ECHO, DeprecationWarning, stacklevel=1)
        return run_query(*of_the_run)

    monkeypatch.setattr(steps, "run_query", warning)
    short.main(mode)
    told = "".join(capsys.readouterr())

    assert "DeprecationWarning: no ***, no ***, no ***" in told and found_in(short, told) == {}


def test_what_is_read_back(short: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--verify tells what it found without secrets, on the screen and in its list, and compares what is there."""
    monkeypatch.setattr(verification, "make_client", short.client)
    monkeypatch.setattr(verification, "VISIBLE_AFTER", 0.0)
    short.rows = [person(1, first_name="k3y"), person(2, first_name="Bob")]
    short.run()
    stored = short.iterable.project.users.stored
    for name in stored:
        stored[name] = Profile({**stored[name].data, "plan_type": ECHO}, 0.0, None)
    capsys.readouterr()

    assert short.main("--verify", "all") == ExitCode.INCOMPLETE
    told = capsys.readouterr().out.splitlines()
    assert sorted(told[:2]) == [
        f'user{n}@example.com: plan_type: sent "pro", found "no ***, no ***, no ***"' for n in (1, 2)
    ]
    (listed,) = short.folder.glob("verify_*.csv")
    assert "no ***, no ***, no ***" in listed.read_text() and "k3y" not in listed.read_text()


@pytest.mark.parametrize("password", ["", "exist", "e", "invalid"])
def test_what_is_masked_changes_no_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    """Where Iterable's words say that the old address is unknown, the user is served, whatever the password."""
    world = moving_world(tmp_path, monkeypatch, DB_PASSWORD=password)
    world.rows = rows_of(ANN)
    world.run()
    world.iterable.faults = on(MOVE, lambda _: refused(400, "BadParams", f"Cannot change {ANN}. User does not exist"))
    world.rows = rows_of(BOB)

    assert (world.run().exit_code, BOB in world.profiles) == (ExitCode.DONE, True)
