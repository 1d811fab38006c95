"""The endpoints that are called, by their names in the log and the limits, and the body of a request to one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sync.rows.masking import excerpt
from sync.rows.values import is_deeper

USERS_UPDATE = "users/update"
EVENTS_TRACK = "events/track"
USERS_BULK_UPDATE = "users/bulkUpdate"
EVENTS_TRACK_BULK = "events/trackBulk"
USERS_UPDATE_EMAIL = "users/updateEmail"
USERS_BY_EMAIL = "users/getByEmail"
USERS_BY_ID = "users/byUserId"
EVENTS_BY_EMAIL = "events"
EVENTS_BY_ID = "events/byUserId"

MAX_ITEMS = 1000
"""Users or events in one bulk request. Iterable documents no bound; its partners in production send up to 1,000."""

MAX_BYTES = 4_000_000
"""Iterable's Swagger document: 4 MB for users/bulkUpdate; assumed for events/trackBulk, which has no stated limit."""

BULK = frozenset({USERS_BULK_UPDATE, EVENTS_TRACK_BULK})

DEEPEST = 500
"""How deeply a payload may be nested: deeper than any document in a row, and not too deep for any Python."""

LOGGED = {"email": "email", "userId": "user_id"}
"""The fields that name a user, and what the log calls them."""

OPTIONS = {
    USERS_UPDATE: frozenset({"preferUserId", "mergeNestedObjects", "createNewFields"}),
    EVENTS_TRACK: frozenset({"id", "createdAt", "campaignId", "templateId", "createNewFields"}),
}
"""What a body may hold beside the user, the event's name and the data fields.

Source: Iterable's Swagger document, ApiUserUpdateRequest and TrackRequest.
"""


class Message(NamedTuple):
    """A request body with the user that it is about: `{"email": ...}` or `{"userId": ...}`, None in bulk.

    `body` is JSON in UTF-8. The identity is what a token must claim and what a log line names.
    """

    identity: Mapping[str, str] | None
    body: bytes | None


def known(endpoint: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options if the endpoint takes them all: with a misspelt `id`, a call could not be repeated safely."""
    if unknown := options.keys() - OPTIONS[endpoint]:
        raise TypeError(f"{endpoint} takes no {', '.join(sorted(unknown))}; it takes {', '.join(OPTIONS[endpoint])}")
    return options


def named(email: str | None, user_id: str | None) -> dict[str, str]:
    """The field that names the user; raises ValueError unless there is exactly one name."""
    if email is None and user_id is not None:
        return {"userId": user_id}
    if email is None or user_id is not None:
        raise ValueError("a user is named by an address, or by a user id with None for the address")
    return {"email": email.strip().lower()}


def encode(payload: Mapping[str, Any]) -> bytes:
    """The body of `payload`; raises ValueError or TypeError for what is not JSON.

    The format is that of built payloads, so a payload that was parsed is written again letter for letter.
    """
    if is_deeper(payload, DEEPEST):
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def identity_in(payload: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The user that a body is about; None if it names none."""
    return {key: str(payload[key]) for key in LOGGED if key in payload} or None


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form; give text or a number")


def who(message: Message) -> str:
    """The field that names the user, for the end of a log sentence."""
    return "".join(f" {LOGGED[key]}={excerpt(name)}" for key, name in (message.identity or {}).items())
