"""Housekeeping after the delivery: what fails there is a warning, for nobody has lost anything by it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from sync.state.file import State, StateError
from tests.harness import World
from tests.sample_rows import people, person


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation that keeps one export, and has two old ones."""
    world = World(tmp_path, monkeypatch, CSV_KEEP="1")
    for day in (1, 2):
        (tmp_path / f"query_results_2020010{day}_000000.csv").write_text("old")
    world.rows = people(3)
    return world


def warnings(world: World) -> list[str]:
    """The log's lines about housekeeping."""
    return [line for line in world.log().splitlines() if "WARNING - Housekeeping failed" in line]


def test_an_export_that_cannot_be_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning that names it, and exit 0."""
    stubborn = world.folder / "query_results_20200101_000000.csv"
    unlink = Path.unlink

    def refuse(path: Path, **how: Any) -> None:
        if path == stubborn:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, **how)

    monkeypatch.setattr(Path, "unlink", refuse)
    summary = world.run()

    assert (summary.exit_code, summary.users.delivered, summary.stopped_because) == (ExitCode.DONE, 3, None)
    assert [str(stubborn) in line and "Operation not permitted" in line for line in warnings(world)] == [True]


def test_rejected_rows_that_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk after the delivery: the rejections are on record, the warning says what is missing, exit 3."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "rejected_rows.csv")

    monkeypatch.setattr("sync.run.steps.export_rejected", full)
    world.rows.append(person(4, email="nobody"))
    summary = world.run()

    assert (summary.exit_code, summary.stopped_because, summary.rejected_csv) == (ExitCode.INCOMPLETE, None, None)
    assert ["No space left on device" in line for line in warnings(world)] == [True]


def test_space_that_cannot_be_given_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state stays larger than it has to be; all else is as it should."""

    def busy(_: object) -> None:
        raise StateError("the state is in use by another program")

    monkeypatch.setattr("sync.state.file.State.give_back_space", busy)
    assert world.run().exit_code == ExitCode.DONE
    assert ["in use by another program" in line for line in warnings(world)] == [True]


def test_no_space_is_given_back_after_a_signal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends one waits for the end of the run; a later run gives it back."""
    asked: list[State] = []
    monkeypatch.setattr("sync.state.file.State.give_back_space", lambda self: asked.append(self))
    with monkeypatch.context() as struck:
        struck.setattr("sync.run.steps.announce", lambda *_: signal.raise_signal(signal.SIGTERM))
        assert world.run().exit_code == 128 + signal.SIGTERM
    assert asked == []

    assert world.run().exit_code == ExitCode.DONE
    assert len(asked) == 1
