"""Fixtures of this package's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.desk import JWT_KEY, JWT_SECRET, Desk
from tests.harness import World
from tests.sample_rows import people
from tests.stand_in.stand_in import StandIn


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """An installation in which everything is right."""
    with StandIn(jwt_api_key=JWT_KEY, jwt_secret=JWT_SECRET, read_only_key="read-only-key") as iterable:
        world = World(tmp_path, monkeypatch, ITERABLE_API_BASE_URL=iterable.url, INITIAL_BACKOFF="0")
        world.rows = people(3)
        yield Desk(world, iterable, capsys)
