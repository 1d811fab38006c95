"""Other processes that write the state meanwhile: who has to wait for them, and who must not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from sync.state.exchange import Policy
from sync.state.file import State, StateError
from sync.state.outbox import Outbox
from tests.harness import World, identity, to_load
from tests.sample_rows import people, person
from tests.stand_in.answers import Request
from tests.state.runs import BOTH_NAMES, MAPPING, SEGMENT, TODAY, Runs


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_another_file_in_its_place(path: Path, replaced: bool) -> None:
    """What is written into a file without a name is lost with the process: it is refused, and said."""
    with closing(State(path)) as state:
        state.begin_run("one", "2026-01-06 12:00:00")
        path.rename(path.with_name("elsewhere"))
        if replaced:
            State(path).close()
        with pytest.raises(StateError, match="removed or replaced while this run worked"):
            state.end_run("one", {})


def test_a_run_whose_state_is_taken_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stops with exit 1 and says so; the next one sends all of it again, and no event is there twice."""
    monkeypatch.setattr("sync.delivery.loop.RECORD_GROUP", 1)
    world.rows = people(60)
    state = world.settings.state_file

    def taken(request: Request) -> None:
        if identity(request) == "user9@example.com":
            for file in state.parent.glob(state.name + "*"):
                file.unlink()

    world.iterable.faults = taken
    summary = world.run()
    assert summary.exit_code == ExitCode.STOPPED
    assert "removed or replaced" in str(summary.stopped_because)
    assert len(world.profiles) < 60

    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE
    assert len(world.profiles) == len(world.events) == 60


def test_rows_are_taken_in_while_another_sync_writes(path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the result waits for no writer: a server gives up on who does not read (`net_write_timeout`)."""
    runs.run(people(1))
    monkeypatch.setattr("sync.state.file.PATIENCE", 0.0)
    with closing(State(path)) as state, closing(sqlite3.connect(path, isolation_level=None)) as writer:
        outbox = Outbox(state, runs.sync, Policy(segment_field=SEGMENT), 86400.0 * TODAY)

        writer.execute("BEGIN IMMEDIATE")
        assert outbox.load(*to_load(people(1200), MAPPING)) == 1200
        writer.execute("COMMIT")

        plan = outbox.plan()
    assert (plan.users.unchanged, plan.pending_users) == (1, 1199)


def test_rows_are_compared_with_one_moment(path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process commits while a group is compared is not seen in the middle of it."""
    runs.run([person(1)])
    formers = Outbox._formers

    def commit_meanwhile(box: Outbox, rows: Any) -> Any:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("UPDATE known SET fingerprint = NULL")
        return formers(box, rows)

    monkeypatch.setattr(Outbox, "_formers", commit_meanwhile)
    assert runs.begin([person(1)], BOTH_NAMES).events.unchanged == 1


def test_a_long_wait_is_told_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says for whom a run waits, and does not say it again at every try."""
    monkeypatch.setattr("sync.state.file.BUSY_SECONDS", 0.001)
    monkeypatch.setattr("sync.state.file.WARN_AFTER", -1.0)
    tries = iter([False, False, False, True])
    with (
        closing(State(path, give_up=lambda: next(tries))) as state,
        closing(sqlite3.connect(path, isolation_level=None)) as writer,
    ):
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError):
            state.end_run("one", {})
    assert [record.getMessage() for record in caplog.records] == [
        f"Another process writes the state {path}; waiting for it"
    ]
