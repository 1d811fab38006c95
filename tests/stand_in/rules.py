"""What kind of project the stand-in is: endpoints, documented limits, and rules that may change while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.stand_in.names import ProjectType

USERS_UPDATE = "/api/users/update"


USERS_EMAIL = "/api/users/updateEmail"


USERS_BULK = "/api/users/bulkUpdate"


EVENTS_TRACK = "/api/events/track"


EVENTS_BULK = "/api/events/trackBulk"


DOCUMENTED_LIMITS: Mapping[str, float] = {
    USERS_UPDATE: 500,
    USERS_BULK: 5,
    EVENTS_TRACK: 2000,
    EVENTS_BULK: 10,
    "/api/channels": 100,
    "/api/lists": 100,
    "/api/users/getFields": 3,
    "/api/users/{email}": 100,
    "/api/users/getByEmail": 100,
    "/api/users/byUserId/{userId}": 100,
    "/api/events/{email}": 100,
    "/api/events/byUserId/{userId}": 100,
}
"""Requests per second and project (Iterable Swagger)."""


@dataclass
class FieldTypes:
    """The type of each field, fixed by the first value the project ever received (Field Data Types)."""

    user: dict[str, str] = field(default_factory=dict)
    events: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class ProjectRules:
    """What kind of project this is. Every rule may be changed while the stand-in runs."""

    api_key: str = "stand-in-key"
    """The server-side key."""
    jwt_api_key: str | None = None
    jwt_secret: str | None = None
    """A JWT-enabled key and the secret that was shown with it."""
    read_only_key: str | None = None
    reject_extra_claims: bool = False
    """A claim other than email, userId, iat, exp is an invalid payload (unverified, hence a switch)."""
    jwt_needs_user: bool = False
    """events/track with a JWT for a user the project does not know: `email could not be found`."""
    jwt_mismatch_status: int = 401
    """401 (the SDKs) or 400 (API Response Codes) for a JWT of another user."""
    clock: Callable[[], float] = time.time

    limits: Mapping[str, float] | None = None
    """Endpoint -> requests per second, as DOCUMENTED_LIMITS; None: no limits."""
    retry_after: str | None = None
    """The Retry-After header of a 429. No recording of the real one has it."""

    strict: bool = True
    """Unknown fields of the envelope are refused."""
    project_type: ProjectType = ProjectType.HYBRID
    events_need_user: bool = False
    """An event does not create its user, but fails."""
    forgotten: set[str] = field(default_factory=set)
    """Identities under the right to be forgotten."""
    disallowed_events: set[str] = field(default_factory=set)
    count_disallowed: bool = True
    """Whether disallowed events are in `failCount` (unverified)."""
    blocked_events: set[str] = field(default_factory=set)
    """Names that a JWT key may send and that are silently not stored (Event Creation setting)."""

    field_types: FieldTypes = field(default_factory=FieldTypes)
    drop_unknown_fields: bool = False
    """The project's answer where a request says nothing about `createNewFields`."""
    user_field_limit: int = 1_000
    event_field_limit: int = 8_000
    conflict_rejects_batch: bool = True
    """A type conflict in one user refuses the whole bulkUpdate; else it is in `invalidData...`."""
    visible_after: float = 0.0
    """Seconds until a GET shows what was written."""
