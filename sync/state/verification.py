"""A sample of the users whom, by the state, Iterable should have as the database has them, with their payloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sync.rows.payloads import event_request, profile_request
from sync.rows.read_back import MOST_EVENTS
from sync.state.file import State
from sync.state.outcomes import settle
from sync.state.run_scope import RunScope

BATCH: Final = 500


class DeliveredEvent(NamedTuple):
    """An event that Iterable has."""

    id: bytes
    body: str


class DeliveredUser(NamedTuple):
    """A user whom Iterable has as the row says; `body` None where no profiles are sent. `left`: left the segment."""

    person: str
    identity: str
    body: str | None
    events: tuple[DeliveredEvent, ...] = ()
    left: bool = False


class Verification:
    """Reads what a plan found, on a copy of the state; nothing of it is claimed."""

    def __init__(self, run: RunScope) -> None:
        self._run = run
        run.run("verification", everybody=bool(run.policy.segment_field and run.policy.whole_window))

    def count(self) -> tuple[int, int]:
        """How many users can be compared, and of how many something is pending."""
        return self._run.one("SELECT COUNT(*) FROM temp.verify"), self._run.one("SELECT COUNT(*) FROM temp.turn")

    def sample(self, count: int) -> Iterator[list[DeliveredUser]]:
        """`count` users at random, a batch at a time."""
        chosen = self._run.do("SELECT * FROM temp.verify ORDER BY random() LIMIT :count", count=count)
        while batch := chosen.fetchmany(BATCH):
            yield [self._delivered(*user) for user in batch]

    def _delivered(self, person: str, identity: str, is_gone: int, rest: str | None) -> DeliveredUser:
        if is_gone:
            return DeliveredUser(person, identity, None, left=True)
        events = self._run.do(
            "SELECT key, body FROM temp.scan WHERE person = :person AND moment IS NOT NULL AND mark = 1 "
            "ORDER BY moment DESC LIMIT :most",
            person=person,
            most=MOST_EVENTS,
        )
        profile = None if rest is None else profile_request(identity, rest, self._run.policy.segment_field, inside=True)
        found = tuple(DeliveredEvent(key, event_request(identity, body)) for key, body in events)
        return DeliveredUser(person, identity, profile, found)


class Repair(NamedTuple):
    """What differs of one user: the profile, the events of these ids."""

    user: DeliveredUser
    profile: bool
    events: Sequence[bytes]


def make_pending_again(state: State, sync: int, repairs: Sequence[Repair], today: int) -> None:
    """Forget that these were delivered, so that the next run sends them; membership stays.

    `today` is a day number since 1970. A user who should have left the segment and has not becomes a member again, so
    that the next run sends the exit.
    """
    settle(state, sync, today)
    forget = "UPDATE known SET fingerprint = NULL WHERE sync = ? AND key = ?"
    with state.transaction():
        for user, profile, events in repairs:
            if user.left:
                state.db.execute(
                    "INSERT OR IGNORE INTO member SELECT id, segment_field, ? FROM sync WHERE id = ?",
                    (user.person, sync),
                )
            keys = [*([user.person] if profile else []), *events]
            state.db.executemany(forget, [(sync, key) for key in keys])
