"""Whom Iterable should have as the database says, by the state: a sample of them, with what was delivered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sync.rows.identity import USER_ID_PREFIX
from sync.rows.read_back import MOST_EVENTS
from sync.state.delivered import sort_in
from sync.state.file import State
from sync.state.owed import Mark
from sync.state.scope import Part, RunScope

BATCH = 500


class DeliveredEvent(NamedTuple):
    """An event that Iterable has: `digest` is that of the body."""

    id: bytes
    digest: bytes
    body: str


class DeliveredUser(NamedTuple):
    """A user whom Iterable has as the row says; `body` None where no profiles are sent. `left`: left the segment."""

    identity: str
    digest: bytes | None
    body: str | None
    events: tuple[DeliveredEvent, ...] = ()
    left: bool = False


class Verification(Part):
    """Reads what a plan found, on a copy of the state; nothing of it is changed."""

    def __init__(self, run: RunScope) -> None:
        super().__init__(run)
        self._db.execute(
            "CREATE INDEX temp.scan_event_delivered ON scan_event (identity, moment DESC) "
            f"WHERE mark = {Mark.UNCHANGED:d}"
        )
        kinds = f"substr(p.identity, 1, {len(USER_ID_PREFIX)}) = '{USER_ID_PREFIX}'"
        own_kind = kinds if self._policy.by_user_id else f"NOT {kinds}"
        delivered = (
            f"EXISTS (SELECT 1 FROM temp.scan_event e WHERE e.identity = u.identity AND e.mark = {Mark.UNCHANGED:d})"
        )
        self._db.execute(
            "CREATE TEMP TABLE verify AS SELECT u.identity, 0 AS is_gone FROM temp.scan_user u "
            f"WHERE (u.mark = {Mark.UNCHANGED:d} OR (u.mark = {Mark.NONE:d} AND {delivered})) "
            "AND NOT EXISTS (SELECT 1 FROM temp.turn t WHERE t.identity = u.identity) "
            "UNION ALL SELECT p.identity, 1 FROM main.profile p WHERE p.sync = ? AND ? AND p.in_segment = 0 "
            f"AND p.rejected IS NULL AND {own_kind} "
            "AND NOT EXISTS (SELECT 1 FROM temp.scan_user u WHERE u.identity = p.identity) "
            "AND p.identity NOT IN (SELECT identity FROM owed_user WHERE sync = ?)",
            (self._sync, bool(self._policy.segment_field and self._policy.whole_window), self._sync),
        )
        self._db.execute("CREATE INDEX temp.turn_identity ON turn (identity)")

    def count(self) -> tuple[int, int]:
        """How many users can be compared, and how many are owed something."""
        return (
            self._run.one("SELECT COUNT(*) FROM temp.verify"),
            self._run.one("SELECT COUNT(*) FROM temp.turn"),
        )

    def sample(self, count: int) -> Iterator[list[DeliveredUser]]:
        """`count` users at random, a batch at a time."""
        chosen = self._db.execute("SELECT identity, is_gone FROM temp.verify ORDER BY random() LIMIT ?", (count,))
        while batch := chosen.fetchmany(BATCH):
            yield [self._user(identity, is_gone) for identity, is_gone in batch]

    def _user(self, identity: str, is_gone: int) -> DeliveredUser:
        if is_gone:
            return DeliveredUser(identity, None, None, left=True)
        digest, body = self._db.execute(
            "SELECT digest, kept FROM temp.scan_user WHERE identity = ?", (identity,)
        ).fetchone()
        events = self._db.execute(
            f"SELECT id, digest, kept FROM temp.scan_event WHERE identity = ? AND mark = {Mark.UNCHANGED:d} "
            "ORDER BY moment DESC LIMIT ?",
            (identity, MOST_EVENTS),
        )
        return DeliveredUser(identity, digest, body, tuple(DeliveredEvent(*event) for event in events))


class Repair(NamedTuple):
    """What differs of one user: the profile, the events of these ids."""

    user: DeliveredUser
    profile: bool
    events: Sequence[bytes]


def owe_again(state: State, sync: int, repairs: Sequence[Repair], today: int) -> None:
    """Forget that these were delivered, so that the next run sends them; membership stays.

    `today` is a day number since 1970. Who should have left the segment and has not is a member again, so that the
    next run sees him leave.
    """
    sort_in(state, sync, today)
    with state.transaction():
        for user, profile, events in repairs:
            if user.left:
                state.db.execute(
                    "UPDATE profile SET in_segment = 1 WHERE sync = ? AND identity = ? AND in_segment = 0",
                    (sync, user.identity),
                )
            elif profile:
                state.db.execute(
                    "UPDATE profile SET delivered = NULL WHERE sync = ? AND identity = ? AND delivered = ?",
                    (sync, user.identity, user.digest),
                )
            state.db.executemany(
                "UPDATE event SET delivered = NULL WHERE sync = ? AND id = ?", [(sync, event) for event in events]
            )
