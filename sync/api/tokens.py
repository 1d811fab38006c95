"""JWTs: one for each user, replaced before it expires (Iterable's JWT documentation)."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

Identity = Mapping[str, str]

logger = logging.getLogger("iterable_client")

MARGIN = 60
"""Seconds before `exp` at which a token counts as old, as in Iterable's web SDK."""

SHORT_SECRET = 32
"""Bytes: HS256 wants a key at least as long as its hash (RFC 7518, 3.2)."""


class TokenMint:
    """Makes tokens, and keeps each thread's last one for the same user's other calls until it is old.

    `lifetime` is in seconds; `issuer` is the `iss` claim, empty for none. Whether Iterable accepts `iss` is not
    documented.
    """

    def __init__(self, lifetime: int, issuer: str) -> None:
        self._lifetime, self._issuer = lifetime, issuer
        self._kept = threading.local()
        self._short_secrets: set[str] = set()

    def token(self, identity: Identity, secret: str, now: int, make: Callable[[Identity], str]) -> str:
        """The token that this thread keeps, if it is for this user and secret and not old; else one from `make`."""
        claimed, issued, token = getattr(self._kept, "token", (None, 0, ""))
        margin = min(MARGIN, self._lifetime // 2)
        if claimed != (identity, secret) or not issued <= now < issued + self._lifetime - margin:
            token = make(identity)
            self._kept.token = (dict(identity), secret), now, token
        return str(token)

    def forget(self) -> None:
        """Make this thread's next call use a new token."""
        self._kept.token = None, 0, ""

    def mint(self, identity: Identity | None, secret: str, now: int) -> str:
        """A fresh HS256 token: `iat` and `exp` are integers in Unix seconds, the secret is its UTF-8 text."""
        import jwt.warnings  # only a JWT run needs to load it

        if len(secret.encode()) < SHORT_SECRET and secret not in self._short_secrets:
            self._short_secrets.add(secret)  # warn once, in our words; the library would warn for each token
            warnings.filterwarnings("ignore", category=jwt.warnings.InsecureKeyLengthWarning)
            told = "The JWT secret has fewer than %d bytes, but Iterable's secrets have %d: check ITERABLE_JWT_SECRET"
            logger.warning(told, SHORT_SECRET, SHORT_SECRET)
        claims: dict[str, Any] = {**(identity or {}), "iat": now, "exp": now + self._lifetime}
        if self._issuer:
            claims["iss"] = self._issuer
        return jwt.encode(claims, secret, algorithm="HS256")
