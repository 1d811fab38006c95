"""The endpoints that are called, by the names that logs and limits know."""

from __future__ import annotations

USERS_UPDATE = "users/update"


EVENTS_TRACK = "events/track"


USERS_BULK_UPDATE = "users/bulkUpdate"


EVENTS_TRACK_BULK = "events/trackBulk"


BULK = frozenset({USERS_BULK_UPDATE, EVENTS_TRACK_BULK})

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that are this machine: spoken to without TLS and without a proxy."""
