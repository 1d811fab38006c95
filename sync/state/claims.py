"""Debts out: owed users and leavers, in the order of delivery, a few at a time and with a few events each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from sync.rows.payloads import UNKNOWN_MOMENT, leave_body, with_segment_false
from sync.state.doubt import Doubt
from sync.state.owed import Move, OwedEvent, OwedUser
from sync.state.scope import Part, RunScope

_TURNS = """
SELECT t.place, t.failed_before, t.leaves, t.identity, o.digest, o.body, s.identity IS NOT NULL,
    EXISTS (SELECT 1 FROM main.profile p WHERE p.sync = o.sync AND p.identity = t.identity AND p.again
        AND p.rejected = o.digest),
    CASE s.digest WHEN o.digest THEN s.fingerprint END, s.moment
FROM temp.turn t LEFT JOIN owed_user o ON o.sync = ? AND o.identity = t.identity AND o.aside = 0
LEFT JOIN temp.scan_user s ON s.identity = t.identity
"""

_MAY_BE_DRAWN = (
    "failed_before = ? AND identity NOT IN (SELECT new FROM temp.move WHERE level IS NOT NULL "
    "UNION ALL SELECT old FROM temp.move WHERE level IS NOT NULL)"
)

_OF_THE_ROW = "LEFT JOIN temp.scan_event s ON s.id = o.id AND s.digest = o.digest"

START = (UNKNOWN_MOMENT, b"")


class Claims(Part):
    """Hands out what is owed; the state forgets what Iterable held of it before it is sent."""

    def __init__(self, run: RunScope, doubt: Doubt) -> None:
        super().__init__(run)
        self._doubt = doubt
        self._after = 0

    def claim(self, count: int, events: int) -> list[OwedUser]:
        """The next `count` users at most, with `events` of their events, shared out evenly, one for each at least.

        Known failers come last, and never together with others. The state forgets what Iterable held of all that is
        claimed before this returns.
        """
        with self._state.transaction():
            users = self._next(count, events)
            self._doubt.mark(users)
        return users

    def claim_rest(self, users: Sequence[OwedUser], events: int) -> list[OwedUser]:
        """As `claim`, for the events that come after the last of each of these users, whatever became of those."""
        with self._state.transaction():
            rest = self._rest_of(users, events)
            self._doubt.mark(rest)
        return rest

    def claim_drawn(self, ranks: Sequence[int], events: int, *, failed_before: bool) -> list[OwedUser]:
        """As `claim`, for users who are far from their turn: those of these ranks, from 0, in `count_unclaimed`."""
        with self._state.transaction():
            turns = [
                self._db.execute(
                    f"{_TURNS} WHERE t.place = (SELECT place FROM temp.turn WHERE place > ? AND {_MAY_BE_DRAWN} "
                    "ORDER BY place LIMIT 1 OFFSET ?)",
                    (self._sync, self._after, failed_before, rank),
                ).fetchone()
                for rank in ranks
            ]
            self._db.executemany("DELETE FROM temp.turn WHERE place = ?", [turn[:1] for turn in turns])
            users = self._with_events([self._user(*turn[1:]) for turn in turns], events)
            self._doubt.mark(users)
        return users

    def count_unclaimed(self, *, failed_before: bool) -> int:
        """How many users wait for their first claim: known failers, or the others; those to be moved have an order."""
        with self._state.errors_explained():
            return self._run.one(
                f"SELECT COUNT(*) FROM temp.turn WHERE place > ? AND {_MAY_BE_DRAWN}", self._after, failed_before
            )

    def names_to_be_freed(self) -> list[str]:
        """The addresses that one user gives up in this run and another takes."""
        with self._state.errors_explained():
            found = self._db.execute(
                "SELECT DISTINCT m.old FROM temp.move m WHERE m.level IS NOT NULL AND m.old <> m.new "
                "AND m.old IN (SELECT identity FROM temp.turn)"
            )
            return [row[0] for row in found]

    def count_rest(self, user: OwedUser) -> int:
        """How many events of this user come after the last of these."""
        with self._state.errors_explained():
            return self._run.one(
                "SELECT COUNT(*) FROM owed_event WHERE sync = ? AND identity = ? AND aside = 0 "
                "AND (moment, id) > (?, ?)",
                self._sync,
                user.identity,
                *_last_of(user),
            )

    def _next(self, count: int, events: int) -> list[OwedUser]:
        turns = self._db.execute(
            f"{_TURNS} WHERE t.place > ? ORDER BY t.place LIMIT ?", (self._sync, self._after, count)
        ).fetchall()
        turns = list(takewhile(lambda turn: turn[1] == turns[0][1], turns))
        if turns:
            self._after = turns[-1][0]
        return self._with_events([self._user(*turn[1:]) for turn in turns], events)

    def _user(
        self,
        failed_before: int,
        leaves: int,
        identity: str,
        digest: bytes | None,
        body: str | None,
        in_result: int,
        refused_before: int,
        fingerprint: bytes | None,
        moment: int | None,
    ) -> OwedUser:
        """Who has left the result gets what is owed with the segment false, and a leaver at least that."""
        field = self._policy.segment_field
        move = self._move_of(identity)
        user = OwedUser(
            identity,
            body,
            digest,
            (),
            failed_before=bool(failed_before),
            refused_before=bool(refused_before),
            move=move,
            apart=move is not None or self._is_being_freed(identity),
            fingerprint=fingerprint,
            moment=moment,
        )
        if not leaves and (in_result or body is None or not field):
            return user
        exit_ = with_segment_false(body, field) if body else leave_body(identity, field)
        return user._replace(profile=exit_.body, digest=None, leaves=bool(leaves), in_result=False, fingerprint=None)

    def _move_of(self, identity: str) -> Move | None:
        """How the user comes to this address: from the one on record, or from those that may have been reached."""
        if not self._policy.follows_addresses:
            return None
        found = self._db.execute(
            "SELECT person, old, perhaps FROM temp.move WHERE new = ? AND level IS NOT NULL", (identity,)
        ).fetchone()
        if found is None:
            return None
        person, old, perhaps = found
        names = dict.fromkeys((old, *(perhaps or "").split("\n")))
        sources = tuple(name for name in names if name not in ("", identity))
        shared = frozenset(name for name in sources if self._is_another_s(name, person))
        return Move(person, sources, in_doubt=bool(perhaps), shared=shared) if sources else None

    def _is_being_freed(self, address: str) -> bool:
        """Whether another user gives this address up in this run."""
        query = "SELECT EXISTS (SELECT 1 FROM temp.move WHERE old = ? AND new <> old AND level IS NOT NULL)"
        return self._policy.follows_addresses and bool(self._run.one(query, address))

    def _is_another_s(self, address: str, person: str) -> bool:
        """Whether another user is known by this address, or may be."""
        query = (
            "SELECT EXISTS (SELECT 1 FROM name_of_id WHERE sync = ? AND address = ? AND person <> ?) "
            "OR EXISTS (SELECT 1 FROM temp.perhaps_of WHERE identity = ? AND person <> ?)"
        )
        return bool(self._run.one(query, self._sync, address, person, address, person))

    def _rest_of(self, users: Sequence[OwedUser], events: int) -> list[OwedUser]:
        without = [user._replace(profile=None, digest=None, events=()) for user in users]
        return self._with_events(without, events, [_last_of(user) for user in users])

    def _with_events(
        self, users: Sequence[OwedUser], events: int, after: Sequence[tuple[int, bytes]] = ()
    ) -> list[OwedUser]:
        """These users with their oldest owed events, of those `after` a moment and id; `events` for all of them."""
        each = max(1, events // max(1, len(users)))
        if not after:
            return self._with_first_events(users, each)
        return [self._with_some_events(user, each, place) for user, place in zip(users, after, strict=True)]

    def _with_first_events(self, users: Sequence[OwedUser], each: int) -> list[OwedUser]:
        """These users with `each` of their oldest events at most; those who have few are asked for all at once."""
        marks = f"({','.join('?' * len(users))})"
        owed = f"FROM owed_event WHERE sync = ? AND identity IN {marks} AND aside = 0"
        names = (self._sync, *(user.identity for user in users))
        counts = dict(self._db.execute(f"SELECT identity, COUNT(*) {owed} GROUP BY identity", names))
        few = [identity for identity, count in counts.items() if count <= each]
        found: dict[str, list[OwedEvent]] = {user.identity: [] for user in users}
        for identity, *event in self._db.execute(
            f"SELECT o.identity, o.id, o.digest, o.body, o.moment, s.fingerprint FROM owed_event o {_OF_THE_ROW} "
            f"WHERE o.sync = ? AND o.aside = 0 AND o.identity IN ({','.join('?' * len(few))}) "
            "ORDER BY o.identity, o.moment, o.id",
            (self._sync, *few),
        ):
            found[identity].append(OwedEvent(*event))
        return [
            user._replace(events=tuple(found[user.identity]))
            if counts.get(user.identity, 0) <= each
            else self._with_some_events(user, each, START)
            for user in users
        ]

    def _with_some_events(self, user: OwedUser, count: int, after: tuple[int, bytes]) -> OwedUser:
        found: list[Any] = self._db.execute(
            f"SELECT o.id, o.digest, o.body, o.moment, s.fingerprint FROM owed_event o {_OF_THE_ROW} "
            "WHERE o.sync = ? AND o.identity = ? AND o.aside = 0 AND o.moment >= ? AND (o.moment, o.id) > (?, ?) "
            "ORDER BY o.moment, o.id LIMIT ?",
            (self._sync, user.identity, after[0], *after, count + 1),
        ).fetchall()
        return user._replace(events=tuple(OwedEvent(*event) for event in found[:count]), more=len(found) > count)


def _last_of(user: OwedUser) -> tuple[int, bytes]:
    return (user.events[-1].moment, user.events[-1].id) if user.events else START
