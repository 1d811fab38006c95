"""Who may call what: keys and their kinds, JWTs and their claims, rate limits."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from tests.stand_in.answers import Json, RefusedError, Request, jwt_refused, rate_limit_answer, refused
from tests.stand_in.rules import EVENTS_TRACK, USERS_EMAIL, USERS_UPDATE, ProjectRules

MAX_JWT_LIFETIME = 31_536_000
"""Most seconds from `iat` to `exp` (JWT documentation)."""


JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


class Key(NamedTuple):
    """A key and its kind: server-side, read-only, or mobile, which is the one with a JWT."""

    kind: str
    value: str


GETS_FOR_READ_ONLY = frozenset({"/api/channels", "/api/lists", "/api/users/getFields"})


FOR_CLIENT_SIDE = frozenset({USERS_UPDATE, USERS_EMAIL, EVENTS_TRACK, "/api/inApp/getMessages"})


class Window:
    """Admits at most *limit* arrivals in any one second."""

    def __init__(self, limit: float) -> None:
        self._most = max(1, int(limit))
        self._seconds = max(1.0, 1 / limit)
        self._arrivals: deque[float] = deque()

    def admits(self, now: float) -> bool:
        """Whether an arrival now is within the limit."""
        arrivals = self._arrivals
        while arrivals and arrivals[0] <= now - self._seconds:
            arrivals.popleft()
        if len(arrivals) >= self._most:
            return False
        arrivals.append(now)
        return True


def insufficient(key: Key, path: str) -> RefusedError:
    """The answer to a key that may not call this endpoint."""
    return refused(
        401,
        "BadApiKey",
        "Disabled API key or insufficient privileges",
        {"ip": "127.0.0.1", "endpoint": path, "apiKeyIdentifier": key.value[:8], "apiKeyType": key.kind},
    )


def decoded(segment: str) -> Json:
    """A segment of a JWT as an object; an empty one when it is none."""
    try:
        value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, binascii.Error):
        return {}
    return value if isinstance(value, dict) else {}


def signature_holds(token: str, secret: str) -> bool:
    """HS256 over the first two segments, keyed with the text of the secret (JWT documentation)."""
    signed, _, signature = token.rpartition(".")
    right = base64.urlsafe_b64encode(hmac.digest(secret.encode(), signed.encode(), "sha256")).rstrip(b"=")
    header = decoded(signed.partition(".")[0])
    return header.get("alg") == "HS256" and hmac.compare_digest(right, signature.encode())


class Call(NamedTuple):
    """A request that may be made, with its endpoint, what stands in its path, and the claims of its JWT."""

    request: Request
    endpoint: str
    argument: str
    claims: Json | None

    @property
    def by_client_key(self) -> bool:
        """Whether a JWT came with it."""
        return self.claims is not None

    def parameter(self, name: str) -> str:
        """A parameter of the query string; empty when it is not there."""
        return parse_qs(self.request.query).get(name, [""])[0]


class Access:
    """Lets requests in or refuses them, by the rules of the project; `warn` is told of what nobody should do."""

    def __init__(self, rules: ProjectRules, warn: Callable[[str], None]) -> None:
        self._rules, self._warn = rules, warn
        self._windows: dict[tuple[str, float], Window] = {}
        self._refusals = 0

    def key(self, request: Request, endpoint: str) -> Key:
        """The key of a request; refused when there is none, or when its kind may not call this endpoint."""
        sent = request.headers.get("api-key") or request.headers.get("api_key")
        if sent is None or (kind := self._kinds().get(sent)) is None:
            raise refused(401, "BadApiKey", "Invalid API key", {"ip": "127.0.0.1", "endpoint": request.path})
        key = Key(kind, sent)
        if (kind == "ReadOnly" and endpoint not in GETS_FOR_READ_ONLY) or (
            kind == "Mobile" and endpoint not in FOR_CLIENT_SIDE
        ):
            raise insufficient(key, request.path)
        if kind != "Mobile" and "authorization" in request.headers:
            self._warn("an Authorization header came with a key that is not JWT-enabled")
        return key

    def _kinds(self) -> dict[str | None, str]:
        rules = self._rules
        return {rules.read_only_key: "ReadOnly", rules.jwt_api_key: "Mobile", rules.api_key: "ServerSide"}

    def claims(self, request: Request) -> Json:
        """What the JWT of a request claims; refused when it is none."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token:
            raise jwt_refused(request, "JWT authorization header is not set", code="BadAuthorizationHeader")
        if scheme.lower() != "bearer" or not JWT.fullmatch(token):
            raise jwt_refused(request, "JWT format is invalid")
        if not signature_holds(token, self._rules.jwt_secret or ""):
            raise jwt_refused(request, "JWT is invalid")
        claims = decoded(token.split(".")[1])
        if problem := self._problem_of_claims(claims):
            raise jwt_refused(request, problem)
        return claims

    def _problem_of_claims(self, claims: Json) -> str | None:
        issued, expires = claims.get("iat"), claims.get("exp")
        named = [claims[kind] for kind in ("email", "userId") if kind in claims]
        extra = claims.keys() - {"email", "userId", "iat", "exp"}
        if type(issued) is not int or type(expires) is not int or (extra and self._rules.reject_extra_claims):
            return "Invalid payload"
        if not named:
            return "JWT payload requires a value for userId or email"
        if len(named) > 1 or type(named[0]) is not str:
            return "Invalid payload"
        if expires - issued > MAX_JWT_LIFETIME:
            return "exp must be less than 1 year from iat"
        return "JWT token is expired" if expires <= self._rules.clock() else None

    def check_claims(self, call: Call, body: Mapping[str, Any]) -> None:
        """The user of the request must be the one of the JWT (JWT documentation); same kind, same letters."""
        for kind in ("email", "userId"):
            if call.claims and kind in call.claims and body.get(kind) != call.claims[kind]:
                raise refused(
                    self._rules.jwt_mismatch_status,
                    "JwtUserIdentifiersMismatched",
                    "JWT user identifiers do not match those of the request",
                    {"endpoint": call.request.path},
                )

    def meter(self, request: Request, endpoint: str) -> None:
        """Refuse what is over the rate limit of its endpoint."""
        limit = (self._rules.limits or {}).get(endpoint)
        if limit is None:
            return
        window = self._windows.setdefault((endpoint, limit), Window(limit))
        if not window.admits(request.arrived):
            self._refusals += 1
            raise RefusedError(
                rate_limit_answer(request.path, text=self._refusals % 2 == 0, retry_after=self._rules.retry_after)
            )
