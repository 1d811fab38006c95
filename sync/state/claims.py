"""Debts out: owed users and leavers, in the order of delivery, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sync.rows.payloads import UNKNOWN_MOMENT, leave_body, with_segment_false
from sync.state.doubt import Doubt
from sync.state.owed import OwedEvent, OwedUser
from sync.state.scope import GROUP, Part, RunScope

EVENTS_AT_ONCE = 500
"""Events of one user that are in memory at a time."""


class Claims(Part):
    """Hands out what is owed; the state forgets what Iterable held of it before it is sent."""

    def __init__(self, run: RunScope, doubt: Doubt) -> None:
        super().__init__(run)
        self._doubt = doubt
        self._after = self._after_leaver = -1

    def claim(self, count: int) -> list[OwedUser]:
        """The next `count` owed users at most; the state forgets what Iterable held of them before this returns."""
        with self._state.transaction():
            users = self._next_users(count)
            self._doubt.mark(users)
        return users

    def claim_leavers(self, count: int) -> list[OwedUser]:
        """As `claim`, for those who leave the segment: after a complete run, once everybody else was served."""
        with self._state.transaction():
            users = self._next_leavers(count)
            self._doubt.mark(users)
        return users

    def claim_rest(self, user: OwedUser) -> OwedUser:
        """The events of a user that come after those of `user`, whatever became of these."""
        with self._state.transaction():
            rest = self._rest_of(user)
            self._doubt.mark([rest])
        return rest

    def preview(self) -> Iterator[OwedUser]:
        """All owed users and leavers, without touching the state; `preview_rest` has the further events of one."""
        with self._state.errors_explained():
            for source in (self._next_users, self._next_leavers):
                while users := source(GROUP):
                    yield from users

    def preview_rest(self, user: OwedUser) -> Iterator[OwedUser]:
        """What `claim_rest` would give, time after time."""
        while user.more:
            with self._state.errors_explained():
                user = self._rest_of(user)
            yield user

    def _next_users(self, count: int) -> list[OwedUser]:
        """A user who is owed a profile and whose row has left the result gets it with the segment field false."""
        rows = self._db.execute(
            "SELECT place, identity, digest, body, "
            "EXISTS (SELECT 1 FROM temp.scan_user s WHERE s.identity = o.identity) "
            f"FROM owed_user o WHERE destination = ? AND place > ? AND {self._run.serves()} ORDER BY place LIMIT ?",
            (self._destination, self._after, count),
        ).fetchall()
        if rows:
            self._after = rows[-1][0]
        return self._with_events([self._user(*row[1:]) for row in rows])

    def _user(self, identity: str, digest: bytes | None, body: str | None, in_result: int) -> OwedUser:
        field = self._policy.segment_field
        if in_result or body is None or not field:
            return OwedUser(identity, body, digest, ())
        return OwedUser(identity, with_segment_false(body, field).body, None, (), in_result=False)

    def _next_leavers(self, count: int) -> list[OwedUser]:
        """A leaver who is still owed a profile gets that profile, with the segment field false."""
        rows = self._db.execute(
            "SELECT l.place, l.identity, o.body FROM temp.leaver l LEFT JOIN owed_user o "
            "ON o.destination = ? AND o.identity = l.identity WHERE l.place > ? ORDER BY l.place LIMIT ?",
            (self._destination, self._after_leaver, count),
        ).fetchall()
        if rows:
            self._after_leaver = rows[-1][0]
        field = self._policy.segment_field
        bodies = [
            (identity, with_segment_false(body, field) if body else leave_body(identity, field))
            for _, identity, body in rows
        ]
        return self._with_events(
            [OwedUser(identity, exit_.body, None, (), leaves=True, in_result=False) for identity, exit_ in bodies]
        )

    def _rest_of(self, user: OwedUser) -> OwedUser:
        last = user.events[-1]
        return self._with_events([OwedUser(user.identity, None, None, ())], (last.moment, last.id))[0]

    def _with_events(
        self, users: Sequence[OwedUser], after: tuple[int, bytes] = (UNKNOWN_MOMENT, b"")
    ) -> list[OwedUser]:
        """These users with their oldest owed events, of those `after` this moment and id."""
        marks = ",".join("?" * len(users))
        found: dict[str, list[OwedEvent]] = {}
        for identity, *event in self._db.execute(
            "SELECT identity, id, digest, body, moment FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY identity "
            f"ORDER BY moment, id) AS rank FROM owed_event WHERE destination = ? AND identity IN ({marks}) "
            "AND (moment, id) > (?, ?)) WHERE rank <= ? ORDER BY identity, rank",
            (self._destination, *(user.identity for user in users), *after, EVENTS_AT_ONCE + 1),
        ):
            found.setdefault(identity, []).append(OwedEvent(*event))
        return [
            replace(user, events=tuple(events[:EVENTS_AT_ONCE]), more=len(events) > EVENTS_AT_ONCE)
            for user in users
            for events in [found.get(user.identity, [])]
        ]
