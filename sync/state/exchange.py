"""What the state and the delivery exchange: pending users and events, outcomes, counts and the plan of a run."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from sync.rows.mapping import Fields


class PendingEvent(NamedTuple):
    """An event that Iterable does not have: its id, the body of its request, and its place in the backlog."""

    id: bytes
    body: str
    place: int = 0


class Move(NamedTuple):
    """An address to be changed at Iterable: from the first of `sources` by which the user is known there.

    `person` is the user id, as an identity; `in_doubt`: the change was sent before, and its answer was not recorded.
    Another user may also be known by the `shared` sources.
    """

    person: str
    sources: tuple[str, ...]
    in_doubt: bool = False
    shared: frozenset[str] = frozenset()


class PendingUser(NamedTuple):
    """A user with what is pending: the profile, if any, then the events, oldest first.

    `place` is that of the first of them in the backlog. `more` says that further events wait until these are recorded;
    `leaves` that the profile is there to take the user out of the segment; `failed_before` that the user is a repeat
    failure; `refused_before` that this profile was rejected before, over a name that another user has. `move` comes
    before anything else of the user, who is then served `apart`, and not in a batch.
    """

    identity: str
    profile: str | None
    events: tuple[PendingEvent, ...]
    place: int = 0
    leaves: bool = False
    more: bool = False
    failed_before: bool = False
    refused_before: bool = False
    move: Move | None = None
    apart: bool = False


def places_of(user: PendingUser) -> list[int]:
    """Where what is pending of a user lies in the backlog."""
    return [*([user.place] if user.profile is not None else []), *(event.place for event in user.events)]


class Outcome(enum.Enum):
    """What became of a payload."""

    DELIVERED = "delivered"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    FAILED = "failed"


class PayloadResult(NamedTuple):
    """An outcome with its reason.

    `sent` is False if certainly no request was made, so that nothing is unconfirmed; `alone` when the request was about
    this user only, so that a failure is the user's own. `over_a_name`: rejected because another user has a name of
    this one; `moved`: the address was changed at Iterable; `turned_away`: it refused the key, so it took nothing.
    """

    outcome: Outcome
    reason: str = ""
    sent: bool = True
    alone: bool = True
    over_a_name: bool = False
    moved: bool = False
    turned_away: bool = False

    @property
    def failed(self) -> bool:
        """Whether a call about this user failed; a payload that was not sent has not."""
        return self.outcome is Outcome.FAILED and self.sent and self.alone


DELIVERED = PayloadResult(Outcome.DELIVERED)
_NONE_OR_DELIVERED = (None, DELIVERED)


class UserOutcome(NamedTuple):
    """What became of one pending user: None for a profile that was not pending; events in the user's order.

    `derived` events were not sent: they have the profile's outcome. `move` is what became of the user's move; None
    where there was none, or it had its outcome before.
    """

    user: PendingUser
    profile: PayloadResult | None
    events: tuple[PayloadResult, ...]
    derived: bool = False
    move: PayloadResult | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether something was delivered, and everything was; the usual case."""
        events = self.events
        return (
            bool(events or self.profile)
            and self.profile in _NONE_OR_DELIVERED
            and events.count(DELIVERED) == len(events) == len(self.user.events)
            and not self.derived
            and self.move is None
            and self.user.move is None
        )

    @property
    def of_payloads(self) -> tuple[PayloadResult, ...]:
        """What became of the profile, if it was pending, and of the events, in the order of the calls."""
        return self.events if self.profile is None else (self.profile, *self.events)

    @property
    def results(self) -> tuple[PayloadResult, ...]:
        """All of them, in the order of the calls."""
        return self.of_payloads if self.move is None else (self.move, *self.of_payloads)


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


class Merged(NamedTuple):
    """Rows that another row replaces although they differ: how many, the first one's number, its user."""

    rows: int = 0
    first: int = 0
    identity: str = ""


@dataclass
class Plan:
    """What the result of the query means: counted before anything is sent.

    `pending_events` counts those of leavers, too, and users who have to wait for the next run are counted as well.
    `leaving` is how many would leave, `leavers` how many do: none while a mass exit is held back. `members_renamed`
    were known by the other kind of name. `merged_events` are one event with others by EVENT_KEY; `merged_profiles` are
    as new as the row that makes the profile of their user; `merged_rows` counts each of these rows once. `moves` are
    addresses to be changed at Iterable; `second_name_missing` counts the users whose other name is missing or unusable.
    """

    users: Counts = field(default_factory=Counts)
    events: Counts = field(default_factory=Counts)
    pending_users: int = 0
    pending_profiles: int = 0
    pending_events: int = 0
    leavers: int = 0
    leaving: int = 0
    segment_size: int = 0
    exit_held_back: bool = False
    segment_renamed_from: str = ""
    members_renamed: int = 0
    merged_rows: int = 0
    merged_events: Merged = Merged()
    merged_profiles: Merged = Merged()
    moves: int = 0
    second_name_missing: int = 0


@dataclass(frozen=True)
class Policy:
    """How a run reads the state.

    `whole_window`: the whole result of the usual window was read, so that a user's absence from it says something.
    `follows_addresses`: users are identified by addresses and known by ids, so that a changed address is changed at
    Iterable.
    `address_ids`: events may be on record under ids that were made with an address, where now the user id makes them.
    `keep_bodies`: keep those of unchanged payloads, too, for `--verify`.
    `fields`: what the payloads of this run hold.
    """

    whole_window: bool = True
    full: bool = False
    retry_rejected: bool = False
    allow_mass_exit: bool = False
    segment_field: str = ""
    by_user_id: bool = False
    follows_addresses: bool = False
    address_ids: bool = False
    keep_bodies: bool = False
    fields: Fields = field(default_factory=dict)
