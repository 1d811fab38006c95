"""Claims: pending users in the order of delivery, a few at a time and with a few events each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, takewhile
from operator import itemgetter
from typing import Any, Final

from sync.rows.payloads import event_request, exit_request, profile_request
from sync.state.exchange import Move, PendingEvent, PendingUser, places_of
from sync.state.run_scope import RunScope

_TURNS: Final = "SELECT first, failed FROM temp.turn WHERE NOT taken"
_PAYLOAD: Final = "place, p.person, key, moment, inside, address, reason, body"
_USERS: Final = f"""
SELECT first, failed, leaves, {_PAYLOAD} FROM temp.turn
CROSS JOIN pending p ON place BETWEEN first AND MIN(last, first + ?) AND +state = 0
WHERE first BETWEEN ? AND ? AND NOT taken ORDER BY first, place
"""
_REST: Final = f"SELECT {_PAYLOAD} FROM pending p WHERE place BETWEEN ? AND ? AND state = 0 ORDER BY place LIMIT ?"


class Claims(RunScope):
    """Hands out what is pending. From then on it is claimed, and unconfirmed until its outcome is recorded."""

    _after = 0

    def claim(self, count: int, events: int) -> list[PendingUser]:
        """The next users, at most `count`, with `events` of their events in total, shared evenly, at least one each.

        Repeat failures come last, and never together with others. All of it is marked as claimed before this returns.
        """
        with self._state.transaction():
            turns = self._db.execute(f"{_TURNS} AND first > ? ORDER BY first LIMIT ?", (self._after, count)).fetchall()
            turns = list(takewhile(lambda turn: turn[1] == turns[0][1], turns))
            self._after = turns[-1][0] if turns else self._after
            return self._noted(self._users([first for first, _ in turns], events))

    def claim_drawn(self, ranks: Sequence[int], events: int, *, failed_before: bool) -> list[PendingUser]:
        """Like `claim`, for users out of turn: those at these positions, from 0, among those in `count_unclaimed`."""
        query = f"{_TURNS} AND first > ? AND failed = ? ORDER BY first LIMIT 1 OFFSET ?"
        with self._state.transaction():
            places = [self._db.execute(query, (self._after, failed_before, rank)).fetchone()[0] for rank in ranks]
            users = [user for place in places for user in self._users([place], events // len(places))]
            self._db.executemany("UPDATE temp.turn SET taken = 1 WHERE first = ?", [(place,) for place in places])
            return self._noted(users)

    def claim_rest(self, users: Sequence[PendingUser], events: int) -> list[PendingUser]:
        """Like `claim`, for the events after the last one of each of these users, whatever became of those."""
        with self._state.transaction():
            return self._noted([self._rest_of(user, max(1, events // len(users))) for user in users])

    def count_unclaimed(self, *, failed_before: bool) -> int:
        """How many users wait for their first claim: repeat failures, or the others."""
        query = "SELECT COUNT(*) FROM temp.turn WHERE NOT taken AND first > :after AND failed = :failed"
        return self.one(query, after=self._after, failed=failed_before)

    def count_rest(self, user: PendingUser) -> int:
        """How many events this user has after the last one here."""
        after, last = self._rest(user)
        query = "SELECT COUNT(*) FROM pending WHERE place > :after AND place <= :last AND state = 0"
        return self.one(query, after=after, last=last)

    def _noted(self, users: list[PendingUser]) -> list[PendingUser]:
        """Mark all payloads of these users as claimed."""
        places = [places for user in users if (places := places_of(user))]
        self._db.executemany(
            "UPDATE pending SET state = 1 WHERE place BETWEEN ? AND ? AND state = 0",
            [(places[0], places[-1]) for places in places],
        )
        return users

    def _users(self, places: Sequence[int], events: int) -> list[PendingUser]:
        """The users whose turns begin at these places, with none between them, and their share of so many events."""
        if not places:
            return []
        each = max(1, events // len(places))
        rows = self._db.execute(_USERS, (each + 1, places[0], places[-1]))
        users = [self._user(list(payloads), each) for _, payloads in groupby(rows, itemgetter(0))]
        if len(users) < len(places):
            raise RuntimeError(f"{len(places) - len(users)} users have nothing pending, and it was their turn")
        return users

    def _user(self, rows: Sequence[tuple[Any, ...]], each: int) -> PendingUser:
        first, failed, leaves, _, person, _, moment, inside, address, reason, body = rows[0]
        identity = address or person
        has_profile = moment is None
        events = rows[has_profile : has_profile + each]
        move = self._move_of(person, identity) if address else None
        return PendingUser(
            identity,
            self._profile(identity, body, inside) if has_profile else None,
            tuple(_event(identity, row[3:]) for row in events),
            first,
            leaves=bool(leaves),
            more=len(rows) > has_profile + len(events),
            failed_before=bool(failed),
            refused_before=reason is not None,
            move=move,
            apart=move is not None,
        )

    def _profile(self, identity: str, rest: str | None, inside: int) -> str:
        field = self.policy.segment_field
        if rest is None:
            return exit_request(identity, field)
        return profile_request(identity, rest, field, inside=inside == 1)

    def _rest_of(self, user: PendingUser, each: int) -> PendingUser:
        after, last = self._rest(user)
        rows = self._db.execute(_REST, (after + 1, last, each + 1)).fetchall()
        events = tuple(_event(user.identity, row) for row in rows[:each])
        return user._replace(profile=None, events=events, more=len(rows) > each)

    def _rest(self, user: PendingUser) -> tuple[int, int]:
        """The place of this user's last payload that was handed out, and the place of the very last one."""
        after = user.events[-1].place if user.events else user.place
        return after, self.one("SELECT last FROM temp.turn WHERE first = :first", first=user.place)

    def _move_of(self, person: str, new: str) -> Move | None:
        """The change to this address, if Iterable knows, or may know, the person by another."""
        names = self._db.execute(
            "SELECT address, state, EXISTS (SELECT 1 FROM name other WHERE other.sync = name.sync "
            "AND other.address = name.address AND other.person <> name.person AND other.state < 2) FROM name "
            "WHERE sync = ? AND person = ? AND state < 2 ORDER BY state",
            (self._sync, person),
        ).fetchall()
        sources = tuple(address for address, _, _ in names if address != new)
        shared = frozenset(address for address, _, is_shared in names if is_shared)
        in_doubt = any(state == 1 for _, state, _ in names)
        return Move(person, sources, in_doubt=in_doubt, shared=shared) if sources else None


def _event(identity: str, row: tuple[Any, ...]) -> PendingEvent:
    return PendingEvent(row[2], event_request(identity, row[7]), row[0])
