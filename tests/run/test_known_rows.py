"""Whole runs over rows that are known by their fingerprints, and over some that are odd."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sync.rows.payloads import Reading
from sync.run.exit_codes import ExitCode
from sync.state.file import StateError
from sync.state.outbox import Outbox
from tests.harness import TRACK, World, counts
from tests.sample_rows import T0, people, person


def test_an_older_row_with_an_older_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events alone, the address identifies: a late row goes to the address of the newest one, which is known."""
    world = World(tmp_path, monkeypatch, USER_FIELDS="", USER_ID_COLUMN="id", IDENTIFY_BY="email", WORKERS="1")
    newest = person(7, email="new@example.com", event_time=T0 + timedelta(seconds=5))
    world.rows = [newest]
    world.run()
    world.rows = [person(7, email="old@example.com", event_time=T0 + timedelta(seconds=3), page="late"), newest]
    world.run()
    assert world.sent == [(TRACK, "new@example.com")]


@pytest.mark.parametrize(
    "environ",
    [{}, {"USER_ID_COLUMN": "id"}, {"USER_ID_COLUMN": "id", "IDENTIFY_BY": "email"}],
    ids=["addresses", "ids", "addresses with ids"],
)
def test_unchanged_rows_cost_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    """However users are named, no payload is built of a row in which nothing changed."""
    world = World(tmp_path, monkeypatch, ITERABLE_BULK="true", **environ)
    world.rows = people(600)
    assert world.run().exit_code == ExitCode.DONE
    monkeypatch.setattr(Reading, "payloads", lambda *_: pytest.fail("a payload was built"))
    summary = world.run()
    assert (summary.exit_code, summary.requests, counts(summary)) == (0, 0, ((0, 600, 0, 0), (0, 600, 0, 0)))


@pytest.mark.parametrize("column", ["email", "first_name", "page"])
def test_half_a_surrogate_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str) -> None:
    """Wherever it stands, it costs the others nothing in any run."""
    world = World(tmp_path, monkeypatch)
    odd = {"email": "x\ud800@example.com"}.get(column, "x\ud800")
    world.rows = [*people(2), person(9, **{column: odd})]
    world.run()
    world.rows.append(person(10))
    summary = world.run()
    assert (summary.exit_code, summary.users.delivered, summary.stopped_because) == (ExitCode.DONE, 1, None)


def test_fingerprints_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They save time and nothing else: a warning, and the rejected rows have their file."""
    world = World(tmp_path, monkeypatch)

    def full(_self: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(Outbox, "remember", full)
    world.rows = [*people(2), person(9, email="bad")]
    summary = world.run()
    assert summary.exit_code == ExitCode.INCOMPLETE
    assert summary.rejected_csv
    assert "the next run has more to do: the disk is full" in world.log()
