"""A sync whose runs leave metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import World
from tests.sample_rows import people


def watched_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three users, and a folder for metrics."""
    (folder / "metrics").mkdir()
    made = World(folder, monkeypatch, METRICS_FILE=str(folder / "metrics" / "sync.prom"))
    made.rows = people(3)
    return made
