"""`--dry-run` of address changes: what is looked up, and what has to wait."""

from __future__ import annotations

import io
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from sync.console.dry_run import dry_run
from sync.run.exit_codes import ExitCode
from sync.run.steps import Run
from tests.run.moving import ANN, BOB, CAT, DAN, moving_world, rows_of
from tests.sample_rows import person


def test_a_look_up_is_printed_as_the_request_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose address two ids may have is looked up first, and answered as if nothing were in the way; as in a run."""
    world = moving_world(tmp_path, monkeypatch)
    world.rows = rows_of(ANN, BOB)
    world.run()
    with closing(sqlite3.connect(world.settings.state_file)) as state, state:
        state.execute("INSERT INTO name SELECT sync, person, ?, 1, seen FROM name WHERE address = ?", (ANN, BOB))
    world.rows = rows_of(CAT, BOB)
    assert world.main("--dry-run") == ExitCode.DONE
    out, errors = capsys.readouterr()
    printed = [json.loads(line) for line in out.splitlines()]

    assert (printed[0]["method"], printed[0]["body"]) == ("GET", None)
    assert printed[0]["path"] == "/api/users/getByEmail?email=ann%40example.com"
    assert printed[1]["body"] == {"currentEmail": ANN, "newEmail": CAT}
    assert "1 users/getByEmail" in errors
    world.run()
    assert world.iterable.requests[0].method == "GET"


def test_waits_are_jumped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address change has a minute to settle: in a dry run it takes no time, and the profile comes after others."""
    world = moving_world(tmp_path, monkeypatch, MOVE_SETTLE_SECONDS="3600")
    world.rows = rows_of(ANN, BOB, DAN)
    world.run()
    world.rows = [*rows_of(CAT, BOB), person(3, email=DAN, plan_type="free"), person(4, email="eve@example.com")]
    out = io.StringIO()
    began = time.monotonic()
    assert dry_run(Run(world.settings, source=world.source), out) == ExitCode.DONE

    assert time.monotonic() - began < 30
    bodies = [json.loads(line)["body"] for line in out.getvalue().splitlines()]
    assert list(bodies[0]) == ["currentEmail", "newEmail"]
    assert bodies[-1]["email"] == CAT
