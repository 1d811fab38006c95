"""Proxies and certificates that the environment names, over real sockets."""

from __future__ import annotations

import pytest

from iterable_client import IterableClient
from sync.api.answers import Verdict
from sync.sandbox.stand_in import StandIn
from tests.iterable_client.helpers import (
    OK,
    Waits,
    client_of,
    update,
)
from tests.iterable_client.tls import TlsServer


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Where only a proxy leads outside, the request goes to the proxy, with the whole URL."""
    with StandIn(faults=lambda _: OK) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        result = update(client_of(proxy, base_url="http://iterable.invalid"))

    assert result.verdict is Verdict.ACCEPTED
    assert [request.path for request in proxy.requests] == ["http://iterable.invalid/api/users/update"]


def test_no_proxy_is_honoured(iterable: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts of NO_PROXY are spoken to directly."""
    with StandIn(faults=lambda _: OK) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
        update(client_of(iterable))

        assert (len(proxy.requests), len(iterable.requests)) == (0, 1)


def test_password_of_a_broken_proxy_url_is_not_told(
    iterable: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy's URL that cannot be used is said so, without repeating it."""
    monkeypatch.setenv("http_proxy", "http://user:geheim-7@proxy:port/")
    client = client_of(iterable)
    client.base_url = "http://iterable.invalid"
    result = update(client)

    assert result.verdict is Verdict.LOCAL_SETUP
    assert "geheim" not in caplog.text + repr(result)


def test_certificate_is_verified(tls_server: TlsServer) -> None:
    """A server that cannot prove its name gets nothing; asking again would not help, so the run stops."""
    waits = Waits()
    result = update(IterableClient("key", base_url=tls_server.url, sleep=waits, timeout=5))

    assert (result.verdict, result.attempts, waits, tls_server.bodies) == (Verdict.LOCAL_SETUP, 1, [], [])
    assert "certificate was not accepted, so nothing was sent" in result.reason


def test_own_certificate_authority(tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """REQUESTS_CA_BUNDLE counts, as behind a proxy that opens TLS."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls_server.certificate))

    assert update(IterableClient("key", base_url=tls_server.url, timeout=5)).verdict is Verdict.ACCEPTED
    assert len(tls_server.bodies) == 1
