"""Where credentials must not go."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.api.answers import Verdict
from sync.sandbox.stand_in import StandIn
from tests import faults as catalogue
from tests.iterable_client.helpers import (
    Clock,
    client_of,
    jwt_client_of,
    update,
)


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
