"""What several tests of the client use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.iterable_client.helpers import (
    JWT_KEY,
    JWT_SECRET,
)
from tests.iterable_client.tls import TlsServer
from tests.stand_in.stand_in import StandIn


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither proxies nor certificates nor a ~/.netrc of whoever runs the tests, nor a log level of other tests."""
    caplog.set_level(logging.WARNING)
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name in (*names, *map(str.upper, names), "NETRC", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def iterable() -> Iterator[StandIn]:
    """A project with a key of either kind."""
    with StandIn(jwt_api_key=JWT_KEY, jwt_secret=JWT_SECRET) as running:
        yield running


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[TlsServer]:
    """One for each test."""
    server = TlsServer(tmp_path)
    yield server
    server.close()
