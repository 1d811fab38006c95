"""Which credentials there have to be, and where they must not go."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

import pytest

from iterable_client import IterableClient
from sync.api.answers import Verdict
from sync.api.endpoints import USERS_BULK_UPDATE
from tests import faults as catalogue
from tests.iterable_client.helpers import (
    ANN,
    JWT_SECRET,
    Clock,
    claims_of,
    client_of,
    jwt_client_of,
    lines,
    update,
)
from tests.stand_in.stand_in import StandIn


@pytest.mark.parametrize("key", [None, ""])
@pytest.mark.parametrize("secret", [None, JWT_SECRET])
def test_a_client_without_a_credential_is_refused(
    caplog: pytest.LogCaptureFixture, key: str | None, secret: str | None
) -> None:
    """A key, or a secret that is used: without either nothing is claimed and nothing can be sent."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ValueError, match="a credential is needed"):
        IterableClient(key, secret)
    with pytest.raises(ValueError, match="jwt_secret"):
        IterableClient(key, use_jwt=True)
    assert lines(caplog) == []


def test_a_client_that_loses_its_credential_sends_nothing(iterable: StandIn) -> None:
    """As at construction, when the switch is assigned later."""
    client = client_of(iterable, api_key=None, jwt_secret=JWT_SECRET, use_jwt=True)
    client.use_jwt = False

    with pytest.raises(ValueError, match="a credential is needed"):
        update(client)
    assert iterable.requests == []


@pytest.mark.parametrize("key", [None, ""])
def test_the_bearer_token_alone(iterable: StandIn, caplog: pytest.LogCaptureFixture, key: str | None) -> None:
    """JWT without an API key: a warning, and every request has the token and no `Api-Key`, also one of no user."""
    caplog.set_level(logging.INFO)
    client = client_of(iterable, api_key=key, jwt_secret=JWT_SECRET, use_jwt=True)
    said = lines(caplog)
    update(client)
    client.track_event(ANN, "page_view", {})
    client.send_bulk(USERS_BULK_UPDATE, [])
    client.get("channels")

    assert said[0] == "Using JWT authentication" and "only the bearer token is sent" in said[1]
    assert [claims_of(request).get("email") for request in iterable.requests] == [ANN, ANN, None, None]
    assert all("api-key" not in request.headers for request in iterable.requests)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://api.iterable.com:8080/",
        "HTTP://API.EXAMPLE.COM",
        " http://api.example.com",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://127.1.example",
        "http://localhost@api.example.com",
        "http://api.example.com@localhost",
        "http://api.example.com\\@localhost",
        "http://api.example.com?@localhost",
        "http://api.example.com#@localhost",
        "http://[::2]",
        "http://[::1].example.com",
        "http://",
        "http:",
        "http:localhost",
    ],
)
@pytest.mark.parametrize("jwt", [False, True])
def test_http_to_another_machine_is_refused(url: str, jwt: bool) -> None:
    """Credentials and data go out readable to nobody, however the address is written."""
    with pytest.raises(ValueError, match=r"^base_url would send the credentials and the data unencrypted; use https$"):
        IterableClient("key", JWT_SECRET, jwt, base_url=url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost"])
@pytest.mark.parametrize("end", ["", "/"])
def test_http_to_this_machine_is_accepted(iterable: StandIn, host: str, end: str) -> None:
    """A stand-in needs no certificate."""
    assert update(client_of(iterable, base_url=iterable.url.replace("127.0.0.1", host) + end))[0]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.2", "http://[::1]:8080", "https://api.eu.iterable.com", "HTTPS://API.ITERABLE.COM"]
)
def test_addresses_that_are_accepted(url: str) -> None:
    """All of loopback is this machine, and https is for every other."""
    with closing(IterableClient("key", base_url=url)) as client:
        assert client.base_url == url


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(iterable: StandIn, status: int) -> None:
    """The key never reaches another server: a redirect is a wrong URL and ends the call."""
    with StandIn() as elsewhere:
        iterable.faults = lambda _: catalogue.redirect(status, f"{elsewhere.url}/api/users/update")
        result = update(client_of(iterable))

        assert (result.verdict, result.attempts) == (Verdict.WRONG_URL, 1)
        assert (elsewhere.requests, elsewhere.connections) == ([], 0)


def test_netrc_does_not_replace_the_token(iterable: StandIn, tmp_path: Path) -> None:
    """A default entry in ~/.netrc is for other programs: the bearer token goes out, and nothing with an API key."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login somebody password something\n")
    netrc.chmod(0o600)

    assert update(jwt_client_of(iterable, Clock()))[0]
    assert update(client_of(iterable))[0]
    with_jwt, with_key = iterable.requests
    assert with_jwt.headers["authorization"].startswith("Bearer ")
    assert "authorization" not in with_key.headers
