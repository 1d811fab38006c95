"""What several tests of pacing use."""

from __future__ import annotations

import pytest

from tests.api.pacing.clock import Clock


@pytest.fixture
def clock() -> Clock:
    """A clock of its own for each test."""
    return Clock()
