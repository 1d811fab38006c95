"""What the state and the delivery exchange: owed users and events, outcomes, counts and the plan of a run."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple


class Mark(enum.IntEnum):
    """What the state says of one payload of the result."""

    NONE = 0  # there is no such payload: the mapping asks for none
    UNCHANGED = 1
    OWED = 2
    KNOWN_REJECTED = 3
    NEWLY_REJECTED = 4


class OwedEvent(NamedTuple):
    """An event that Iterable does not have."""

    id: bytes
    digest: bytes
    body: str
    moment: int = 0


@dataclass(frozen=True, slots=True)
class OwedUser:
    """A user with what is owed: the profile, if any, then the events, oldest first.

    `more` says that further events wait until these are recorded; `leaves` that the profile is there to take the user
    out of the segment; `in_result` is False for every profile that carries the segment field as false;
    `failed_before` that the user is a known failer: a call failed in an earlier run, and nothing was delivered since.
    """

    identity: str
    profile: str | None
    digest: bytes | None
    events: tuple[OwedEvent, ...]
    leaves: bool = False
    more: bool = False
    in_result: bool = True
    failed_before: bool = False


class Outcome(enum.Enum):
    """What became of a payload."""

    DELIVERED = "delivered"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    FAILED = "failed"


class PayloadResult(NamedTuple):
    """An outcome with its reason.

    `sent` is False when surely no request was made, so that nothing is in doubt; `alone` when the request was about
    this user only, so that a failure is the user's own.
    """

    outcome: Outcome
    reason: str = ""
    sent: bool = True
    alone: bool = True

    @property
    def failed(self) -> bool:
        """Whether a call about this user failed; a payload that was not sent has not."""
        return self.outcome is Outcome.FAILED and self.sent and self.alone


@dataclass(frozen=True, slots=True)
class UserOutcome:
    """What became of one owed user: None for a profile that was not owed; events in the user's order.

    `derived` events were not sent: they have the profile's outcome.
    """

    user: OwedUser
    profile: PayloadResult | None
    events: tuple[PayloadResult, ...]
    derived: bool = False


@dataclass
class Counts:
    """How many payloads had which outcome; `newly_rejected` are those that were not rejected before."""

    delivered: int = 0
    unchanged: int = 0
    rejected: int = 0
    failed: int = 0
    newly_rejected: int = 0

    def add(self, outcome: Outcome, count: int = 1) -> None:
        """Count `count` payloads with this outcome."""
        setattr(self, outcome.value, getattr(self, outcome.value) + count)

    def sent(self) -> int:
        """How many have an outcome that is not `unchanged`."""
        return self.delivered + self.rejected + self.failed


@dataclass
class Plan:
    """What the result of the query means: counted before anything is sent.

    `owed_events` counts those of leavers, too; `leaving` is who would leave, `leavers` who does: nobody while a mass
    exit is held back. `members_renamed` were known by the other kind of name; `merged_rows` fell together with others
    under EVENT_KEY and differ from them, the first of them on `first_merged_line` of the result.
    """

    users: Counts = field(default_factory=Counts)
    events: Counts = field(default_factory=Counts)
    owed_users: int = 0
    owed_profiles: int = 0
    owed_events: int = 0
    leavers: int = 0
    leaving: int = 0
    segment_size: int = 0
    exit_held_back: bool = False
    segment_renamed_from: str = ""
    members_renamed: int = 0
    merged_rows: int = 0
    first_merged_line: int = 0


@dataclass(frozen=True)
class Policy:
    """How a run reads the state.

    `whole_window`: the whole result of the usual window was read, so that a user's absence from it says something.
    """

    whole_window: bool = True
    full: bool = False
    retry_rejected: bool = False
    allow_mass_exit: bool = False
    segment_field: str = ""
    by_user_id: bool = False
