"""Fixtures of this package's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sync.state.file import State
from tests.harness import World
from tests.sample_rows import people
from tests.state.runs import (
    Runs,
)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """Runs on a fresh state."""
    with closing(State(tmp_path / "state.sqlite3")) as state:
        yield Runs(state)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the state is."""
    return tmp_path / "state.sqlite3"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation with three users."""
    made = World(tmp_path, monkeypatch)
    made.rows = people(3)
    return made
