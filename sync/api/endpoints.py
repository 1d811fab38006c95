"""The endpoints that are called, by their names in the log and the limits, and the addresses that may be called."""

from __future__ import annotations

import re
from ipaddress import ip_address

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


def is_this_machine(host: str | None) -> bool:
    """Whether the host is this machine, which is called without a proxy and may be called without TLS."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def is_readable_on_the_way(base_url: str) -> bool:
    """Whether others could read what is sent to this address: http, and not to this machine.

    Only a plain host and port are known to be this machine, since libraries read anything else in different ways.
    """
    url = base_url.strip().lower()
    host = re.sub(r":[0-9]+$", "", url.removeprefix("http://").split("/")[0])
    return url.startswith("http:") and not is_this_machine(host.strip("[]"))
