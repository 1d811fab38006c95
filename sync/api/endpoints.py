"""The endpoints that are called, by the names that logs and limits know."""

from __future__ import annotations

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
"""Iterable's Swagger document: 4 MB for users/bulkUpdate; taken for events/trackBulk too, where it is silent."""

BULK = frozenset({USERS_BULK_UPDATE, EVENTS_TRACK_BULK})

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that are this machine: spoken to without TLS and without a proxy."""
