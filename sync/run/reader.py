"""Reading users back from Iterable: many at once, at the documented rate, through the client's one request path."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from iterable_client import IterableClient
from sync.api.answers import FAILURES, REJECTIONS, STOPPING, ApiResult, Verdict
from sync.api.endpoints import EVENTS_BY_EMAIL, EVENTS_BY_ID, USERS_BY_EMAIL, USERS_BY_ID
from sync.rows.identity import is_user_id, log_field, name_of
from sync.rows.read_back import (
    MOST_EVENTS,
    Difference,
    event_differences,
    profile_differences,
    segment_differences,
)
from sync.rows.source import SourceError
from sync.state.verification import DeliveredUser

logger = logging.getLogger("main")

READERS = 16
"""Calls in flight: enough for 100 a second while one takes up to 0.16 s, and there are two endpoints."""

_NOBODY = frozenset({"error.users.noUserWithIdExists", "UnknownEmailError", "UnknownUserIdError"})


_NO_PATH = frozenset({".", ".."})
"""Ids that no URL can end in: they are steps in a path, however they are encoded. Events are read by such a URL."""


class NotReadableError(SourceError):
    """Iterable cannot be read; one sentence that says why and what to check."""


class Found(NamedTuple):
    """What the comparison of one user found; `events` are the ids of those that differ."""

    user: DeliveredUser
    profile: Sequence[Difference]
    events: Sequence[tuple[bytes, Sequence[Difference]]]

    @property
    def differences(self) -> list[Difference]:
        """All of them."""
        return [*self.profile, *(one for _, several in self.events for one in several)]


class Reader:
    """Compares users with what Iterable gives back. `segment_field`: the one that those who left must not have."""

    def __init__(self, client: IterableClient, segment_field: str) -> None:
        self._client, self._segment_field = client, segment_field

    def compare(self, users: Sequence[DeliveredUser]) -> Iterator[Found]:
        """Each user with the differences, in no certain order; raises NotReadableError."""
        with ThreadPoolExecutor(READERS, "reader") as pool:
            yield from pool.map(self._compare, users)

    def _compare(self, user: DeliveredUser) -> Found:
        stored: dict[str, Any] | None = None
        if user.left or user.body:
            result = self._look_up(user.identity)
            is_nobody = result.code in _NOBODY
            if result.verdict in REJECTIONS and not is_nobody:
                refused = f"(Iterable refuses to show him: {result.reason})"
                return Found(user, [Difference("(user)", "exists", refused)], ())
            found = None if is_nobody else _read(result).get("user")
            stored = found if isinstance(found, dict) else None
        if user.left:
            return Found(user, segment_differences(self._segment_field, stored), ())
        profile = profile_differences(user.body, stored) if user.body else []
        return Found(user, self._masked(profile), self._events(user) if user.events else ())

    def _masked(self, differences: Sequence[Difference]) -> list[Difference]:
        """What was found is Iterable's word, and masked once it was compared."""
        return [one._replace(found=self._client.masked(one.found)) for one in differences]

    def _look_up(self, identity: str) -> ApiResult:
        name = name_of(identity)
        if is_user_id(identity):
            return self._client.get(USERS_BY_ID, {"userId": name}, userId=name)
        return self._client.get(USERS_BY_EMAIL, {"email": name}, email=name)

    def _events(self, user: DeliveredUser) -> list[tuple[bytes, Sequence[Difference]]]:
        """The events that differ: each is held against those read that no other accounts for."""
        name = name_of(user.identity)
        if name in _NO_PATH:
            logger.warning("No URL leads to this user's events; they are not compared %s", log_field(user.identity))
            return []
        endpoint, kind = (EVENTS_BY_ID, "userId") if is_user_id(user.identity) else (EVENTS_BY_EMAIL, "email")
        result = self._client.get(endpoint, {kind: name}, path=name, limit=str(MOST_EVENTS))
        events = [event for event in _read(result).get("events", []) if isinstance(event, dict)]
        found = event_differences([json.loads(event.body) for event in user.events], events)
        return [(event.id, self._masked(several)) for event, several in zip(user.events, found, strict=True) if several]


def _read(result: ApiResult) -> dict[str, Any]:
    if result.verdict is Verdict.ACCEPTED:
        return result[1]
    if result.verdict is Verdict.INTERRUPTED:
        raise NotReadableError("interrupted")
    if result.verdict in STOPPING | FAILURES:
        raise NotReadableError(f"Iterable cannot be read: {result.reason}; check that ITERABLE_API_KEY may read users")
    raise NotReadableError(f"Iterable refuses to show a user: {result.reason}")
