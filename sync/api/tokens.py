"""JWTs: one for each user, made anew when it grows old (Iterable's JWT documentation)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from sync.api.answers import ApiResponse, Verdict

logger = logging.getLogger("iterable_client")

MARGIN = 60
"""Seconds before `exp` at which a token counts as old, as Iterable's web SDK has it."""

SHORT_SECRET = 32
"""Bytes: HS256 wants a key at least as long as its hash (RFC 7518, 3.2)."""


class _Token(NamedTuple):
    identity: Mapping[str, str]
    secret: str
    text: str
    issued: int
    expires: int


class TokenMint:
    """Makes tokens, and keeps the last one of each thread: it serves the user's other calls while it is young.

    `lifetime` is in seconds; `issuer` is the `iss` claim, empty for none. Whether Iterable welcomes `iss` is not
    documented.
    """

    def __init__(self, lifetime: int, issuer: str) -> None:
        self._lifetime, self._issuer = lifetime, issuer
        self._kept = threading.local()
        self._short_secrets: set[str] = set()

    def mint(self, identity: Mapping[str, str] | None, secret: str, now: int) -> str:
        """A fresh HS256 token: `iat` and `exp` are integers in Unix seconds, the secret is its UTF-8 text."""
        import jwt  # only a JWT run pays for loading it

        if len(secret.encode()) < SHORT_SECRET and secret not in self._short_secrets:
            self._short_secrets.add(secret)
            self._warn_of_short_secret()
        claims: dict[str, Any] = {**(identity or {}), "iat": now, "exp": now + self._lifetime}
        if self._issuer:
            claims["iss"] = self._issuer
        return jwt.encode(claims, secret, algorithm="HS256")

    def young(self, identity: Mapping[str, str], secret: str, now: int) -> str | None:
        """The token that this thread keeps, if it is this user's, of this secret, and not old."""
        token = self._last
        if token and token.identity == identity and token.secret == secret and token.issued <= now < token.expires:
            return token.text
        return None

    def keep(self, identity: Mapping[str, str], secret: str, text: str, now: int) -> str:
        """Keep a token that was just made, for this thread's next calls; returns it."""
        margin = min(MARGIN, self._lifetime // 2)
        self._kept.token = _Token(dict(identity), secret, text, now, now + self._lifetime - margin)
        return text

    def forget(self) -> None:
        """Let this thread's next call have a new token."""
        self._kept.token = None

    @property
    def _last(self) -> _Token | None:
        token: _Token | None = getattr(self._kept, "token", None)
        return token

    @staticmethod
    def _warn_of_short_secret() -> None:
        """In our words; the library's own warning would come with each token."""
        import warnings

        from jwt.warnings import InsecureKeyLengthWarning

        warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)
        told = "The JWT secret has fewer than %d bytes, and Iterable's have %d: check ITERABLE_JWT_SECRET"
        logger.warning(told, SHORT_SECRET, SHORT_SECRET)


def may_be_stale(answer: ApiResponse) -> bool:
    """Whether a token made anew may be accepted where this one was not."""
    return answer.code == "InvalidJwtPayload" and answer.verdict is Verdict.JWT_REFUSED
