"""Fixtures of this package's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import db
from db import MySQLParams
from sync.rows.source import Source
from tests.mariadb import Server


@pytest.fixture(scope="module")
def sample(mariadb: Server) -> MySQLParams:
    """The sample rows; no test may change them, and `app` cannot."""
    return mariadb.sample()


@pytest.fixture
def source(sample: MySQLParams) -> Iterator[Source]:
    """Connected to the sample rows."""
    connected = db.connect(sample)
    yield connected
    connected.close()
