"""Other processes that write the state meanwhile: who has to wait for them, and who must not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sync.rows.payloads import PayloadBuilder
from sync.state.file import State
from sync.state.outbox import Outbox
from sync.state.owed import Policy
from tests.harness import COLUMNS, people
from tests.state.runs import MAPPING, SEGMENT, TODAY, Runs


def test_rows_are_taken_in_while_another_sync_writes(path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the result waits for no writer: a server gives up on who does not read (`net_write_timeout`)."""
    runs.run(people(1))
    monkeypatch.setattr("sync.state.file.PATIENCE", 0.0)
    with closing(State(path)) as state, closing(sqlite3.connect(path, isolation_level=None)) as writer:
        outbox = Outbox(state, runs.sync, Policy(segment_field=SEGMENT), TODAY)
        builder = PayloadBuilder(MAPPING, COLUMNS)

        writer.execute("BEGIN IMMEDIATE")
        assert outbox.load(builder.build(row) for row in people(1200)) == 1200
        writer.execute("COMMIT")

        plan = outbox.plan()
    assert (plan.users.unchanged, plan.owed_users) == (1, 1199)


def test_rows_are_compared_with_one_moment(path: Path, runs: Runs) -> None:
    """What another process commits while a group is compared is not seen in the middle of it."""

    def seen(state: State) -> list[Any]:
        return state.db.execute("SELECT COUNT(*) FROM run").fetchall()

    with closing(State(path)) as other, runs.state.snapshot():
        before = seen(runs.state)
        other.begin_run("one", "2026-01-06 12:00:00")
        assert seen(runs.state) == before
    assert seen(runs.state) != before
