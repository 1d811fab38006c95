"""Fixtures of this package's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.delivery.bulk.requests import (
    bulk_world,
)
from tests.harness import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation that delivers in bulk."""
    return bulk_world(tmp_path, monkeypatch)
