"""What several test files use."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import mariadb as servers
from tests.harness import World
from tests.mariadb import LEFT_OUT, Server
from tests.products import Product, product

MEMORY = Path("/dev/shm")
ROOM = 2 << 30
"""Bytes that have to be free there, of this machine's memory."""


def pytest_configure() -> None:
    """Put temporary files into memory where there is room: a commit to a disk takes milliseconds, thousands of times.

    Nothing here cuts the power, so nothing can depend on what reached a disk.
    """
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """One private database server for all tests."""
    with Server() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation whose workers are one, so that requests come in the order of the result."""
    return World(tmp_path, monkeypatch, WORKERS="1")


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """What a file's tests left open is told there: a warning is an error, and the collector finds it now, not later."""
    yield
    gc.collect()


def pytest_collection_finish() -> None:
    """What is there now stays: the collector need not look at half a million objects after each file."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> str:
    """Say which server the tests of the database run on."""
    found = product()
    return f"database: {found.name}, {' '.join(found.serve)}" if isinstance(found, Product) else f"database: {found}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test of what one product does is skipped on the other: `@pytest.mark.database("MySQL")`."""
    marker = item.get_closest_marker("database")
    if marker is None or not marker.args:
        return
    found = product()
    if isinstance(found, Product) and found.name not in marker.args:
        pytest.skip(f"only {' and '.join(marker.args)} does this, and the server is {found.name}")


@pytest.fixture(autouse=True)
def servers_for_marked_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test without the marker `database` can neither start a server nor ask one, so the marker finds them all."""
    marked = request.node.get_closest_marker("database") is not None
    assert marked or "mariadb" not in request.fixturenames, "a test of the database needs the marker"
    monkeypatch.setattr(servers, "allowed", marked)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was left out for want of a server, and how to add it."""
    left_out = [report for report in terminalreporter.stats.get("skipped", []) if LEFT_OUT in str(report.longrepr)]
    if left_out:
        terminalreporter.write_line(f"left out: {len(left_out)} tests of the database: {product()}, then make test")
