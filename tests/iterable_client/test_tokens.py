"""Tokens: whose they are, how long they live, and what a refused one costs."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from iterable_client import IterableClient
from sync.api.answers import Verdict
from sync.api.endpoints import USERS_UPDATE, Message
from tests import faults as catalogue
from tests.iterable_client.helpers import (
    ANN,
    JWT_KEY,
    JWT_SECRET,
    NOW,
    Clock,
    Waits,
    claims_of,
    client_of,
    jwt_client_of,
    lines,
    update,
)
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, scripted
from tests.stand_in.stand_in import StandIn


def test_official_test_vector() -> None:
    """The token of Iterable's documentation, letter by letter."""
    client = IterableClient("key", JWT_SECRET, use_jwt=True, jwt_issuer="", jwt_lifetime=1, clock=lambda: 1599693218.9)

    assert client._generate_jwt_token({"email": "test@iterable.com"}) == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
        "eyJlbWFpbCI6InRlc3RAaXRlcmFibGUuY29tIiwiaWF0IjoxNTk5NjkzMjE4LCJleHAiOjE1OTk2OTMyMTl9."
        "eDbexB7CnK2jGsXvHfYENrCEkblrLKxgMNbmlfJHXUA"
    )


def test_token_without_a_user_has_the_seeds_claims() -> None:
    """`_generate_jwt_token()` takes no argument, as in the seed: issuer and two times."""
    import jwt

    client = IterableClient("key", JWT_SECRET, use_jwt=True, clock=lambda: NOW)
    claims = jwt.decode(
        client._generate_jwt_token(), JWT_SECRET, ["HS256"], options={"verify_exp": False, "verify_iat": False}
    )

    assert claims == {"iss": "iterable-integration", "iat": int(NOW), "exp": int(NOW) + 3600}


@pytest.mark.parametrize("secret", [None, ""])
def test_use_jwt_without_a_secret_raises(iterable: StandIn, secret: str | None) -> None:
    """Never a silent fallback: not at construction, and not when a switch is assigned later."""
    with pytest.raises(ValueError, match="jwt_secret"):
        IterableClient("key", secret, use_jwt=True)
    client = client_of(iterable, jwt_secret=secret)
    client.use_jwt = True
    with pytest.raises(ValueError, match="jwt_secret"):
        update(client)
    assert iterable.requests == []


@pytest.mark.parametrize(
    "key",
    [
        "geheim-key\n",
        "geheim-keÿ",
        "geheim\rkey",
        "geheim-ключ",
        " geheim",
        "geheim ",
        "geheim\tkey",
        "\x7fgeheim",
        "  ",
    ],
)
def test_key_that_no_header_can_carry_raises(key: str) -> None:
    """A key with white space or a letter beyond ASCII is told at once, without repeating it."""
    with pytest.raises(ValueError, match="API key") as caught:
        IterableClient(key)
    assert "geheim" not in str(caught.value)


def test_both_headers_and_the_bodys_user(iterable: StandIn) -> None:
    """Api-Key and bearer together; the claim is the very user of the body, in lower case; times are integers."""
    client = jwt_client_of(iterable, Clock(NOW + 0.75))
    assert client.update_user("Ann@Example.com", {})[0]
    assert client.track_event(ANN, "page_view", {})[0]
    assert client.send(USERS_UPDATE, Message({"userId": "u1"}, b'{"userId":"u1"}'))[0]

    times = {"iat": int(NOW), "exp": int(NOW) + 3600, "iss": "iterable-integration"}
    expected = [{"email": ANN, **times}, {"email": ANN, **times}, {"userId": "u1", **times}]
    assert [claims_of(request) for request in iterable.requests] == expected
    assert all(type(claims_of(request)[name]) is int for request in iterable.requests for name in ("iat", "exp"))
    assert {request.headers["api-key"] for request in iterable.requests} == {JWT_KEY}


def test_empty_issuer_leaves_the_claim_out(iterable: StandIn) -> None:
    """JWT_ISSUER empty: exactly the three documented claims, which the strictest reading accepts."""
    iterable.reject_extra_claims = True

    assert update(jwt_client_of(iterable, Clock(), jwt_issuer=""))[0]
    assert set(claims_of(iterable.requests[0])) == {"email", "iat", "exp"}


def test_one_token_serves_a_users_two_calls(iterable: StandIn) -> None:
    """A token is made once for each user, not for each request; the next user gets one of its own."""
    clock = Clock()
    iterable.faults = lambda _: clock.move(1)
    client = jwt_client_of(iterable, clock)
    for email in (ANN, "bob@example.com"):
        assert update(client, email)[0]
        assert client.track_event(email, "page_view", {})[0]

    tokens = [request.headers["authorization"] for request in iterable.requests]
    assert tokens[0] == tokens[1] != tokens[2] == tokens[3]


@pytest.mark.parametrize(
    ("jump", "new"),
    [
        pytest.param(3539, False, id="young"),
        pytest.param(3540, True, id="a minute before it ends"),
        pytest.param(86_400, True, id="long over"),
        pytest.param(-1, True, id="clock set back"),
        pytest.param(-86_400, True, id="clock set back a day"),
    ],
)
def test_age_is_checked_before_every_attempt(iterable: StandIn, jump: float, new: bool) -> None:
    """A wait may outlast a token: the next attempt of the same call has one that holds."""
    clock = Clock()
    iterable.faults = scripted([catalogue.UNAVAILABLE])
    result = update(jwt_client_of(iterable, clock, Waits(during=lambda _: clock.move(jump))))

    first, second = (claims_of(request) for request in iterable.requests)
    assert result.verdict is Verdict.ACCEPTED
    assert second["iat"] - first["iat"] == (jump if new else 0)


@pytest.mark.parametrize("lifetime", [1, 30, 60, 120])
def test_short_lifetimes(iterable: StandIn, lifetime: int) -> None:
    """A token that lives shorter than the margin is used for the first half of its life."""
    clock = Clock()
    client = jwt_client_of(iterable, clock, jwt_lifetime=lifetime)
    for elapsed in (0, 0.4, 0.6):
        clock.now = NOW + elapsed * lifetime + (elapsed > 0.5)
        update(client)

    first, second, third = (claims_of(request) for request in iterable.requests)
    assert first == second
    assert third["iat"] > first["iat"]
    assert first["exp"] == int(NOW) + lifetime


def test_token_is_made_anew_once(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """After InvalidJwtPayload a new token is made, and nobody waits for it."""
    clock, waits = Clock(), Waits()

    def expired(_: Request) -> Fault | None:
        clock.move(1)
        return catalogue.JWT_EXPIRED if len(iterable.requests) == 1 else None

    iterable.faults = expired
    result = update(jwt_client_of(iterable, clock, waits))

    first, second = (claims_of(request) for request in iterable.requests)
    assert (result.verdict, result.attempts, result.retried, waits) == (Verdict.ACCEPTED, 2, (), [])
    assert second["iat"] == first["iat"] + 1
    assert lines(caplog, logging.WARNING) == [
        "The JWT was refused by users/update; trying once more with a new one: 401 InvalidJwtPayload: "
        f"JWT token is expired email={ANN}"
    ]


def test_token_is_not_made_anew_twice(iterable: StandIn) -> None:
    """A second InvalidJwtPayload is the answer, also when something else came between."""
    iterable.faults = scripted([catalogue.JWT_SIGNATURE, catalogue.UNAVAILABLE, catalogue.JWT_SIGNATURE])
    result = update(jwt_client_of(iterable, Clock()))

    assert (result.verdict, result.code, result.attempts) == (Verdict.JWT_REFUSED, "InvalidJwtPayload", 3)
    assert len(iterable.requests) == 3


def test_new_token_costs_no_attempt(iterable: StandIn) -> None:
    """The request that showed the token to be old does not count towards `max_retries`."""
    iterable.faults = scripted([catalogue.JWT_EXPIRED, catalogue.UNAVAILABLE, catalogue.UNAVAILABLE])
    result = update(jwt_client_of(iterable, Clock()))

    assert (result.verdict, result.attempts, result.retried) == (Verdict.ACCEPTED, 4, ("503", "503"))


@pytest.mark.parametrize("fault", [catalogue.JWT_MISMATCH, catalogue.JWT_MISMATCH_400, catalogue.JWT_MISSING], ids=str)
def test_other_refusals_of_a_token_are_final(iterable: StandIn, fault: Fault) -> None:
    """A token of another user, or none, does not become right by being made anew."""
    iterable.faults = scripted([fault])

    assert update(jwt_client_of(iterable, Clock())).attempts == 1


@pytest.mark.parametrize(("issuer", "named"), [("iterable-integration", True), ("", False)])
def test_invalid_payload_names_the_issuer(
    iterable: StandIn, caplog: pytest.LogCaptureFixture, issuer: str, named: bool
) -> None:
    """Whether Iterable welcomes `iss` is not known: the refusal it would cause says which setting to look at."""
    iterable.faults = lambda _: catalogue.JWT_PAYLOAD
    result = update(jwt_client_of(iterable, Clock(), jwt_issuer=issuer))

    assert ("JWT_ISSUER" in result.reason) is named
    assert ("JWT_ISSUER" in lines(caplog)[-1]) is named


def test_expired_token_does_not_name_the_issuer(iterable: StandIn) -> None:
    """Other refusals are not blamed on it."""
    iterable.faults = lambda _: catalogue.JWT_EXPIRED

    assert "JWT_ISSUER" not in update(jwt_client_of(iterable, Clock())).reason


def test_secret_assigned_later_counts(iterable: StandIn) -> None:
    """A token that the old secret signed is not used once there is a new one."""
    client = jwt_client_of(iterable, Clock(), jwt_secret="x" * 32)
    assert not update(client)[0]
    client.jwt_secret = JWT_SECRET

    assert update(client).attempts == 1
    client.use_jwt = False
    update(client)
    assert "authorization" not in iterable.requests[-1].headers


def test_short_secret_is_warned_of_once(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """In our words, which name the setting and not the secret; the library's own warning is not shown."""
    iterable.jwt_secret = "short-secret"
    client = jwt_client_of(iterable, Clock(), jwt_secret="short-secret", workers=4)
    with ThreadPoolExecutor(4) as pool:  # a warning of the library would be an error here
        results = list(pool.map(lambda n: update(client, f"u{n}@example.com"), range(12)))

    assert all(success for success, _ in results)
    assert lines(caplog, logging.WARNING) == [
        "The JWT secret has fewer than 32 bytes, but Iterable's secrets have 32: check ITERABLE_JWT_SECRET"
    ]


def test_secret_of_full_length_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """32 bytes are enough; they are counted as UTF-8."""
    IterableClient("key", "ä" * 16, use_jwt=True)._generate_jwt_token()

    assert lines(caplog, logging.WARNING) == []


def test_jwt_without_an_api_key(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """The bearer goes alone, as in the seed, with a warning; Iterable then refuses the key."""
    result = update(jwt_client_of(iterable, Clock(), api_key=None))

    headers = iterable.requests[0].headers
    assert headers["authorization"].startswith("Bearer ") and "api-key" not in headers
    assert lines(caplog, logging.WARNING)[0].startswith("JWT without an API key: only the bearer token is sent")
    assert result.verdict is Verdict.CREDENTIALS_REFUSED


def test_api_key_alone_on_a_jwt_enabled_key(iterable: StandIn) -> None:
    """Whoever forgot to switch JWT on is told so."""
    result = update(client_of(iterable, api_key=JWT_KEY))

    assert (result.verdict, result.attempts) == (Verdict.JWT_REFUSED, 1)
    assert "the key is JWT-enabled: set USE_JWT_AUTH and ITERABLE_JWT_SECRET" in result.reason


def test_threads_do_not_mix_tokens(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever's thread it is, the token is that of the user in the body, and no thread takes another's place for it."""
    caplog.set_level(logging.DEBUG)
    client = jwt_client_of(iterable, Clock(), workers=6)

    def both(email: str) -> bool:
        return update(client, email)[0] and client.track_event(email, "page_view", {})[0]

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(both, [f"user{n}@example.com" for n in range(60)]))

    assert all(results)
    assert all(claims_of(request)["email"] == request.json()["email"] for request in iterable.requests)
    assert sum(line.startswith("JWT token generated") for line in lines(caplog)) == 60
