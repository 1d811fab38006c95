"""Fixtures of this package's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.crashes.installation import Installation
from tests.stand_in.stand_in import StandIn


@pytest.fixture
def iterable() -> Iterator[StandIn]:
    """Iterable on loopback."""
    with StandIn() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, iterable: StandIn) -> Installation:
    """An installation with six users and one worker."""
    return Installation(tmp_path, iterable)
