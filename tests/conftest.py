"""What several test files use."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.mariadb import MISSING, Server, require


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """One private database server for all tests."""
    require()
    with Server() as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was left out for want of a server, and how to add it."""
    left_out = [report for report in terminalreporter.stats.get("skipped", []) if MISSING in str(report.longrepr)]
    if left_out:
        terminalreporter.write_line(f"left out: {len(left_out)} tests of the database: {MISSING}, then make test")


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """What a file's tests left open is told there: a warning is an error, and the collector finds it now, not later."""
    yield
    gc.collect()
