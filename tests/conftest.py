"""What several test files use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mariadb import Server, require


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """One private database server for all tests."""
    require()
    with Server() as server:
        yield server
