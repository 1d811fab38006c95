"""Debts out: owed users and leavers, in the order of delivery, a few at a time and with a few events each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from sync.rows.payloads import leave_body, with_segment_false
from sync.rows.values import UNKNOWN_MOMENT
from sync.state.doubt import Doubt
from sync.state.owed import Move, OwedEvent, OwedUser
from sync.state.scope import Part, RunScope

_TURNS = """
SELECT t.place, t.failed_before, t.leaves, t.identity, o.digest, CASE o.aside WHEN 0 THEN o.body END, t.in_result,
    EXISTS (SELECT 1 FROM main.profile p INDEXED BY profile_again WHERE p.sync = o.sync AND p.identity = t.identity
        AND p.again AND p.rejected = o.digest AND o.aside = 0),
    o.fingerprint, CASE o.aside WHEN 0 THEN o.moment END, o.place
FROM temp.turn t LEFT JOIN owed_user o ON o.place = t.owed AND o.identity = t.identity AND o.sync = ?
"""
"""What is set aside of a leaver is not sent; it has its place all the same, and goes with the exit."""

_MAY_BE_DRAWN = (
    "failed_before = ? AND identity NOT IN (SELECT new FROM temp.move WHERE level IS NOT NULL "
    "UNION ALL SELECT old FROM temp.move WHERE level IS NOT NULL)"
)

_EVENT = "e.id, e.digest, e.body, e.moment, e.place, e.fingerprint"
_DUE = "FROM temp.due d CROSS JOIN owed_event e ON e.place = d.place WHERE e.sync = ? AND e.aside = 0"

START = (UNKNOWN_MOMENT, 0)


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
            users = self._users(turns, events)
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
        if not self._policy.follows_addresses:
            return []
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
                f"SELECT COUNT(*) {_DUE} AND d.identity = ? AND (d.moment, d.place) > (?, ?)",
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
        return self._users(turns, events)

    def _users(self, turns: Sequence[tuple[Any, ...]], events: int) -> list[OwedUser]:
        """Whose turns these are, with their oldest owed events; `events` for all of them."""
        each = max(1, events // max(1, len(turns)))
        owed = self._first_events([turn[3] for turn in turns], each)
        return [self._user(owed[turn[3]], *turn[1:]) for turn in turns]

    def _user(
        self,
        owed: tuple[tuple[OwedEvent, ...], bool],
        failed_before: int,
        leaves: int,
        identity: str,
        digest: bytes | None,
        body: str | None,
        in_result: int,
        refused_before: int,
        fingerprint: bytes | None,
        moment: int | None,
        place: int | None,
    ) -> OwedUser:
        """Who has left the result gets what is owed with the segment false, and a leaver at least that."""
        field = self._policy.segment_field
        exits = bool(leaves or not (in_result or body is None)) and bool(field)
        if exits:
            exit_ = with_segment_false(body, field) if body else leave_body(identity, field)
            body, digest, fingerprint = exit_.body, None, None
        events, more = owed
        move, apart = self._move_of(identity) if self._policy.follows_addresses else (None, False)
        return OwedUser(
            identity,
            body,
            digest,
            events,
            leaves=exits and bool(leaves),
            more=more,
            in_result=not exits,
            failed_before=bool(failed_before),
            refused_before=bool(refused_before),
            move=move,
            apart=apart,
            fingerprint=fingerprint,
            moment=moment,
            place=place,
        )

    def _move_of(self, identity: str) -> tuple[Move | None, bool]:
        """How the user comes to this address, if by a move, and whether the user is served apart for it."""
        found = self._db.execute(
            "SELECT person, old, perhaps FROM temp.move WHERE new = ? AND level IS NOT NULL", (identity,)
        ).fetchone()
        if found:
            person, old, perhaps = found
            names = dict.fromkeys((old, *(perhaps or "").split("\n")))  # the one on record, those perhaps reached
            sources = tuple(name for name in names if name not in ("", identity))
            if sources:
                shared = frozenset(name for name in sources if self._is_another_s(name, person))
                return Move(person, sources, in_doubt=bool(perhaps), shared=shared), True
        return None, self._is_being_freed(identity)

    def _is_being_freed(self, address: str) -> bool:
        """Whether another user gives this address up in this run."""
        query = "SELECT EXISTS (SELECT 1 FROM temp.move WHERE old = ? AND new <> old AND level IS NOT NULL)"
        return bool(self._run.one(query, address))

    def _is_another_s(self, address: str, person: str) -> bool:
        """Whether another user is known by this address, or may be."""
        query = (
            "SELECT EXISTS (SELECT 1 FROM name_of_id WHERE sync = ? AND address = ? AND person <> ?) "
            "OR EXISTS (SELECT 1 FROM temp.perhaps_of WHERE identity = ? AND person <> ?)"
        )
        return bool(self._run.one(query, self._sync, address, person, address, person))

    def _rest_of(self, users: Sequence[OwedUser], events: int) -> list[OwedUser]:
        each = max(1, events // max(1, len(users)))
        rest = []
        for user in users:
            found, more = self._some_events(user.identity, each, _last_of(user))
            rest.append(user._replace(profile=None, digest=None, events=found, more=more))
        return rest

    def _first_events(self, identities: Sequence[str], each: int) -> dict[str, tuple[tuple[OwedEvent, ...], bool]]:
        """`each` of the oldest events of these users at most, and whether there are more, by identity.

        All are asked for at once; who comes behind users with many events is asked for alone.
        """
        most = each * len(identities)
        found: dict[str, list[OwedEvent]] = {identity: [] for identity in identities}
        read, last = 0, ""
        for last, *event in self._db.execute(
            f"SELECT d.identity, {_EVENT} {_DUE} AND d.identity IN ({','.join('?' * len(identities))}) "
            "ORDER BY d.identity, d.moment, d.place LIMIT ?",
            (self._sync, *identities, most + 1),
        ):
            found[last].append(OwedEvent(*event))
            read += 1
        all_read = read <= most
        return {
            identity: (tuple(events[:each]), len(events) > each)
            if all_read or identity < last
            else self._some_events(identity, each, START)
            for identity, events in found.items()
        }

    def _some_events(self, identity: str, count: int, after: tuple[int, int]) -> tuple[tuple[OwedEvent, ...], bool]:
        """The oldest events of one user `after` a moment and place, and whether there are more than these."""
        found: list[Any] = self._db.execute(
            f"SELECT {_EVENT} {_DUE} AND d.identity = ? AND d.moment >= ? AND (d.moment, d.place) > (?, ?) "
            "ORDER BY d.moment, d.place LIMIT ?",
            (self._sync, identity, after[0], *after, count + 1),
        ).fetchall()
        return tuple(OwedEvent(*event) for event in found[:count]), len(found) > count


def _last_of(user: OwedUser) -> tuple[int, int]:
    return (user.events[-1].moment, user.events[-1].place) if user.events else START
