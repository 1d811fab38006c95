"""Fixtures of this package's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stand_in.stand_in import StandIn
from tests.stand_in.tests.asking import (
    JWT_KEY,
    JWT_SECRET,
    NOW,
)


@pytest.fixture
def iterable() -> Iterator[StandIn]:
    """A project at a fixed time, with a key of either kind."""
    with StandIn(clock=lambda: float(NOW), jwt_api_key=JWT_KEY, jwt_secret=JWT_SECRET) as running:
        yield running
