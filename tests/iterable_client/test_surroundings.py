"""Proxies and certificates that the environment names, over real sockets."""

from __future__ import annotations

import base64
import logging
import sys
from io import BytesIO
from pathlib import Path

import pytest
import requests

from iterable_client import IterableClient
from sync.api.answers import Verdict
from tests import faults as catalogue
from tests.iterable_client.helpers import (
    Waits,
    client_of,
    update,
)
from tests.iterable_client.tls import TlsServer
from tests.process import free_port
from tests.stand_in.faults import scripted
from tests.stand_in.stand_in import StandIn


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Where only a proxy leads outside, it is asked for a way to Iterable, and is told nothing else."""
    with StandIn(faults=lambda _: catalogue.page(502, "no tunnel")) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        update(client_of(proxy, base_url=OUTSIDE, max_retries=1))

    assert [(request.method, request.path) for request in proxy.requests] == [("CONNECT", "iterable.invalid:443")]
    assert proxy.requests[0].body == b"" and "api-key" not in proxy.requests[0].headers


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts of NO_PROXY are spoken to directly."""
    with StandIn() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("NO_PROXY", "iterable.invalid")
        reason = update(client_of(proxy, base_url=OUTSIDE)).reason

    assert (proxy.requests, "NameResolutionError" in reason) == ([], True)


PASSWORD = "geheim-7-geheim"
WANTS_CREDENTIALS = catalogue.page(407, f"407 Proxy Authentication Required {PASSWORD}")
OUTSIDE = "https://iterable.invalid"
SPELLINGS = ["https_proxy", "HTTPS_PROXY", "Https_Proxy", "all_proxy", "ALL_PROXY"]


def with_password(url: str) -> str:
    """The URL of a proxy that is given a user and a password."""
    return url.replace("http://", f"http://user:{PASSWORD}@")


@pytest.mark.parametrize("variable", SPELLINGS)
def test_proxy_that_wants_credentials_stops_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str
) -> None:
    """A 407 to CONNECT: one request, no wait; the variable is named as it is spelled, no password."""
    caplog.set_level(logging.DEBUG)
    waits = Waits()
    with StandIn(faults=lambda _: WANTS_CREDENTIALS) as proxy:
        monkeypatch.setenv(variable, with_password(proxy.url))
        result = update(client_of(proxy, waits, base_url=OUTSIDE))

    assert (result.verdict, result.attempts, waits, len(proxy.requests)) == (Verdict.LOCAL_SETUP, 1, [], 1)
    assert f"the proxy that {variable} names wants a user and a password" in result.reason
    assert PASSWORD not in caplog.text + repr(result)
    assert proxy.requests[0].method == "CONNECT"


def test_lower_case_is_blamed_where_both_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two spellings the lower one counts, and of two kinds the scheme's own."""
    with StandIn(faults=lambda _: WANTS_CREDENTIALS) as proxy:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        reason = update(client_of(proxy, base_url=OUTSIDE)).reason

    assert "https_proxy" in reason and "HTTPS_PROXY" not in reason


def test_407_without_a_proxy_is_not_blamed_on_this_machine(iterable: StandIn) -> None:
    """Where the environment names no proxy, nobody knows what a 407 means."""
    iterable.faults = lambda _: WANTS_CREDENTIALS

    assert update(client_of(iterable)).verdict is Verdict.UNREADABLE


@pytest.mark.parametrize("variable", SPELLINGS)
def test_proxy_that_is_not_there_may_come_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str
) -> None:
    """A proxy that refuses connections is tried again; the reason says whose proxy it was."""
    monkeypatch.setenv(variable, with_password(f"http://127.0.0.1:{free_port()}"))
    result = update(IterableClient("key", base_url=OUTSIDE, sleep=Waits(), timeout=5))

    assert (result.verdict, result.attempts) == (Verdict.RETRYABLE, 3)
    assert result.retried == ("connection", "connection")
    assert "connection: NewConnectionError HTTP" in result.reason and " at 0x" not in result.reason
    assert "Connection refused" in result.reason
    assert f"(through the proxy that {variable} names)" in result.reason
    assert PASSWORD not in caplog.text + repr(result)


def test_proxy_whose_name_is_unknown_may_be_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name servers fail for a while: tried again, with the variable named."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:3128")
    result = update(IterableClient("key", base_url=OUTSIDE, sleep=Waits(), timeout=5))

    assert (result.verdict, result.attempts) == (Verdict.RETRYABLE, 3)
    assert "ALL_PROXY" in result.reason and "proxy.invalid" in result.reason


@pytest.mark.parametrize("status", [403, 502, 503])
def test_proxy_that_opens_no_tunnel_is_named(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Another answer than 407 to CONNECT may pass."""
    with StandIn(faults=lambda _: catalogue.page(status, "no tunnel")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        result = update(client_of(proxy, base_url=OUTSIDE))

    assert (result.verdict, result.retried) == (Verdict.RETRYABLE, ("connection", "connection"))
    assert f"Tunnel connection failed: {status}" in result.reason and "HTTPS_PROXY" in result.reason


def test_proxy_that_is_silent_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that takes CONNECT and says nothing ends like any server that does."""
    with StandIn(faults=lambda _: catalogue.NO_ANSWER) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        result = update(client_of(proxy, base_url=OUTSIDE, timeout=0.05))

    assert (result.verdict, result.retried) == (Verdict.RETRYABLE, ("timeout", "timeout"))
    assert "HTTPS_PROXY" in result.reason


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4"])
def test_socks_proxy_without_its_package(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """A SOCKS proxy needs a package that is not among the requirements: said so at once."""
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:{PASSWORD}@127.0.0.1:1080")
    waits = Waits()
    result = update(IterableClient("key", base_url=OUTSIDE, sleep=waits))

    assert (result.verdict, waits) == (Verdict.LOCAL_SETUP, [])
    assert "the proxy that ALL_PROXY names is a SOCKS proxy, which needs the package PySocks" in result.reason
    assert PASSWORD not in repr(result)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"http://user:{PASSWORD}@proxy:port/", id="port"),
        pytest.param(f"http://user:{PASSWORD}@[proxy", id="bracket"),
        pytest.param(f"http://user:{PASSWORD}@", id="no host"),
        pytest.param(f"ftp://user:{PASSWORD}@127.0.0.1:1", id="scheme"),
        pytest.param(f"http://user:{PASSWORD}\N{CYRILLIC SMALL LETTER YA}@127.0.0.1:1", id="password"),
        pytest.param(f"http://user:{PASSWORD}@{'a' * 64}.invalid:1", id="label"),
    ],
)
def test_password_of_a_broken_proxy_url_is_not_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    """A proxy's URL that cannot be used is said so at once, without repeating it."""
    monkeypatch.setenv("https_proxy", url)
    waits = Waits()
    result = update(IterableClient("key", base_url=OUTSIDE, sleep=waits))

    assert (result.verdict, waits) == (Verdict.LOCAL_SETUP, [])
    assert "the proxy that https_proxy names cannot be used" in result.reason
    assert PASSWORD not in caplog.text + repr(result)


@pytest.mark.parametrize("status", [407, 502])
def test_proxy_that_opens_tls_answers_in_iterables_place(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """What it says inside the tunnel is its own where only a proxy says so, and shows no password that it repeats."""
    token = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    with StandIn(faults=lambda _: catalogue.page(502, "no tunnel")) as proxy:
        monkeypatch.setenv("https_proxy", with_password(proxy.url))
        client = client_of(proxy, base_url=OUTSIDE)
        update(client)
    response = requests.Response()
    response.status_code, response.raw = status, BytesIO(f"Basic {token} {PASSWORD}".encode())
    result = client._handle_response(response, "users/update")

    assert proxy.requests[0].headers["proxy-authorization"] == f"Basic {token}"
    if status == 407:
        assert (result.verdict, "the proxy that https_proxy names" in result.reason) == (Verdict.LOCAL_SETUP, True)
    else:
        assert "Basic *** ***" in result.reason


# Certificates


def unusable(folder: Path) -> dict[str, Path]:
    """Paths that hold no certificates, by what is wrong with them."""
    (folder / "junk.pem").write_text("no certificate\n")
    (folder / "empty.pem").write_text("")
    return {
        "does not exist": folder / "none.pem",
        "is not a readable file of": folder / "junk.pem",
        "not a readable file of certificates": folder / "empty.pem",
    }


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("what", ["does not exist", "is not a readable file of", "not a readable file of certificates"])
def test_unusable_certificates_stop_at_once(
    tls_server: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, what: str
) -> None:
    """A bundle that is not there or is none: nothing is sent, nothing repeated; variable and file are named."""
    path = unusable(tmp_path)[what]
    monkeypatch.setenv(variable, str(path))
    waits = Waits()
    result = update(IterableClient("key", base_url=tls_server.url, sleep=waits, timeout=5))

    assert (result.verdict, result.attempts, waits, tls_server.bodies) == (Verdict.LOCAL_SETUP, 1, [], [])
    assert f"{variable} names {path}, which" in result.reason and what in result.reason


def test_certificates_do_not_matter_without_tls(iterable: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that nobody needs is not blamed for something else."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    iterable.faults = scripted([catalogue.CLOSED])

    assert update(client_of(iterable)).retried == ("connection",)


def test_unknown_authority_names_the_bundle(
    tls_server: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment says whom to believe, a refused certificate names the variable."""
    other = TlsServer(tmp_path / "..")
    other.close()
    monkeypatch.setenv("CURL_CA_BUNDLE", str(other.certificate))
    result = update(IterableClient("key", base_url=tls_server.url, sleep=Waits(), timeout=5))

    assert result.verdict is Verdict.LOCAL_SETUP
    assert "CURL_CA_BUNDLE names the certificates to trust" in result.reason


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
