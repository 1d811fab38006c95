"""A proxy or a certificate file of this machine that does not work stops a whole run at its first request."""

from __future__ import annotations

import json
import socket
from functools import partial
from pathlib import Path

import pytest

import main
from sync.run import connections
from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.harness import environment, write_env
from tests.iterable_client.serving import Server, serving
from tests.sample_rows import Rows, people
from tests.stand_in.stand_in import StandIn

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle")


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither proxies nor certificates of whoever runs the tests, and twelve rows instead of a database."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(connections, "connect", partial(lambda rows, _: Rows(rows), people(12)))


def run(folder: Path, *flags: str) -> int:
    """One run by the command line against a host that only a proxy could reach."""
    environ = {**environment(folder), "ITERABLE_API_BASE_URL": "https://iterable.invalid"}
    return main.main(["--env-file", str(write_env(folder, environ)), "--json", *flags])


@pytest.mark.parametrize("flags", [(), ("--bulk",)], ids=["single", "bulk"])
def test_proxy_that_wants_credentials_costs_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    """Twelve users, a proxy that answers 407: one CONNECT, exit 1, the variable in the reason, no password anywhere."""
    with StandIn(faults=lambda _: catalogue.page(407, "Proxy Authentication Required")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("http://", "http://user:geheim-7-geheim@"))

        assert run(tmp_path, *flags) == ExitCode.STOPPED
        assert [request.method for request in proxy.requests] == ["CONNECT"]
    told, screen = capsys.readouterr()
    assert "the proxy that https_proxy names wants a user and a password" in json.loads(told)["stopped_because"]
    assert (json.loads(told)["requests"], json.loads(told)["retries"]) == (1, {})
    assert "geheim" not in told + screen + (tmp_path / "run.log").read_text()


@pytest.mark.parametrize("flags", [(), ("--bulk",)], ids=["single", "bulk"])
def test_missing_certificates_cost_one_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    """A bundle that does not exist: exit 1 at the first attempt, which reaches nobody, and the file is named."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))

    assert run(tmp_path, *flags) == ExitCode.STOPPED
    told = json.loads(capsys.readouterr().out)
    assert f"REQUESTS_CA_BUNDLE names {tmp_path / 'none.pem'}, which does not exist" in told["stopped_because"]
    assert (told["requests"], told["retries"]) == (1, {})


def test_keys_that_cannot_be_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forgotten SSLKEYLOGFILE breaks every connection here: exit 1 at the first attempt, and it is named."""
    with StandIn() as server:
        monkeypatch.setenv("https_proxy", server.url.replace("http://", "https://"))
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "gone" / "keys"))

        assert run(tmp_path) == ExitCode.STOPPED
    told = json.loads(capsys.readouterr().out)
    assert f"SSLKEYLOGFILE names {tmp_path / 'gone' / 'keys'}, which cannot be written" in told["stopped_because"]
    assert (told["requests"], told["retries"]) == (1, {})


@pytest.mark.parametrize("flags", [(), ("--bulk",)], ids=["single", "bulk"])
def test_proxy_that_speaks_no_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    """https:// in the URL of an ordinary proxy: exit 1 at the first attempt, with what the URL has to begin with."""

    def plain(connection: socket.socket, _server: Server) -> None:
        connection.recv(9999)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with serving(plain) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://user:geheim-7-geheim@127.0.0.1:{proxy.port}")

        assert run(tmp_path, *flags) == ExitCode.STOPPED
    told, screen = capsys.readouterr()
    assert "the proxy that HTTPS_PROXY names speaks no TLS itself: its URL has to begin with http://" in told
    assert (json.loads(told)["requests"], json.loads(told)["retries"]) == (1, {})
    assert "geheim" not in told + screen + (tmp_path / "run.log").read_text()
