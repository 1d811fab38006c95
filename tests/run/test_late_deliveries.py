"""An event that is delivered long after it happened: it is the same event, at the same moment."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.harness import World
from tests.sample_rows import T0, people

MOMENTS = [int(T0.replace(tzinfo=UTC).timestamp()) + number for number in (1, 2)]


@pytest.fixture(params=["false", "true"], ids=["one by one", "bulk"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two users with a view each, long ago."""
    made = World(tmp_path, monkeypatch, WORKERS="1", ITERABLE_BULK=request.param)
    made.rows = people(2)
    return made


def moments(world: World) -> list[int]:
    """When the events that Iterable holds happened."""
    return sorted(event["createdAt"] for event in world.events)


def test_after_an_outage(world: World) -> None:
    """What a run could not deliver happened when its row says, also if the row has left the result meanwhile."""
    world.iterable.faults = lambda _request: catalogue.UNAVAILABLE
    assert world.run().exit_code == ExitCode.STOPPED
    world.iterable.faults, world.rows = None, people(1)

    assert world.run().exit_code == ExitCode.DONE
    assert moments(world) == MOMENTS


def test_once_it_is_allowed(world: World) -> None:
    """What was rejected, and is sent again on request, has kept its moment."""
    disallowed = world.iterable.project.rules.disallowed_events
    disallowed.add("page_view")
    assert world.run().exit_code == ExitCode.INCOMPLETE
    disallowed.clear()

    assert world.run(retry_rejected=True).exit_code == ExitCode.DONE
    assert moments(world) == MOMENTS


def test_again(world: World) -> None:
    """--full sends each event under its id and with its moment, so it is there once."""
    assert world.run().exit_code == ExitCode.DONE
    assert world.run(full=True).exit_code == ExitCode.DONE
    assert moments(world) == MOMENTS
    assert {event["writes"] for event in world.events} == {2}
