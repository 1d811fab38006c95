"""Rows that say what they said before: known by their fingerprints, they take next to nothing.

A row of which the state knows both fingerprints needs no payload, and mostly no place among the collected rows either:
one bit says that its user, another that its event, is in the result. Each user and event that has a fingerprint has a
number for that.

The profile is that of a user's newest row. So the bit of a user says more: the newest row that the state knows is in
the result. Where another row of the user has to be collected, that one is collected as well, whenever it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sync.rows.columns import Values
from sync.rows.fingerprint import Fingerprint
from sync.state.number_set import NumberSet
from sync.state.owed import Mark
from sync.state.scope import Part, RunScope

SEEN_EXACT = 7
"""Days: `seen` is only written when it is older, so that a run in which nothing changed writes next to nothing."""


class KnownProfile(NamedTuple):
    """The fingerprint of a profile that was delivered: of the user's newest row then, at this moment."""

    identity: str
    fingerprint: bytes
    delivered: bytes
    number: int
    moment: int


class KnownEvent(NamedTuple):
    """The fingerprint of an event that was delivered."""

    id: bytes
    fingerprint: bytes
    delivered: bytes
    number: int


class Collected(NamedTuple):
    """A row that has to be collected.

    `delivered`: the digests of its profile and its event, which are known and need not be made; None where they are
    not. `user_before` is the newest row of the user, and `event_before` the row of the same event, if they came before
    and were only counted: they have to be collected first.
    """

    line: int
    values: Values
    fingerprint: Fingerprint | None
    delivered: tuple[bytes | None, bytes | None] | None = None
    user_before: KnownProfile | None = None
    event_before: KnownEvent | None = None


class Unchanged(Part):
    """Tells the rows of a result that need not be collected, and remembers who they were about."""

    def __init__(self, run: RunScope) -> None:
        super().__init__(run)
        policy = run.policy
        self._knows = not (policy.full or policy.retry_rejected or policy.keep_bodies or policy.address_ids) and bool(
            run.one("SELECT EXISTS (SELECT 1 FROM sync WHERE id = ? AND numbers > 0)", run.sync)
        )
        self._owes = bool(run.one("SELECT EXISTS (SELECT 1 FROM temp.owing)"))
        self._users, self._events = NumberSet(), NumberSet()
        self._collected_users, self._collected_events = NumberSet(), NumberSet()
        self.users = self.events = 0
        """How many are unchanged and not collected."""
        self._db.create_function("is_unchanged", 1, lambda number: number is not None and number in self._users)

    def sort_out(
        self, first_line: int, rows: Sequence[Values], fingerprints: Sequence[Fingerprint | None]
    ) -> list[Collected]:
        """The rows that have to be collected; the others are only counted."""
        lines = enumerate(zip(rows, fingerprints, strict=True), first_line)
        if not self._knows:
            return [Collected(line, row, it) for line, (row, it) in lines]
        prints = [it for it in fingerprints if it is not None]
        profiles, events, owed = self._known_profiles(prints), self._known_events(prints), self._owed(prints)
        collected = []
        for line, (row, it) in lines:
            if it is None:
                collected.append(Collected(line, row, it))
                continue
            profile, event = profiles.get(it.identity), events.get(it.event_id)
            known = (
                (it.profile is None or (profile is not None and profile[1] == it.profile))
                and (it.event is None or (event is not None and event[1] == it.event))
                and it.identity not in owed
            )
            if not (known and self._is_settled(it.moment, profile, event)):
                collected.append(self._collect(line, row, it, known, profile, event))
        return collected

    def _is_settled(self, moment: int, profile: Any, event: Any) -> bool:
        """Whether a known row needs no place among the collected: it is the newest of its user, or older than that."""
        if self._policy.follows_addresses or (event and self._collected_events and event[3] in self._collected_events):
            return False
        if profile:
            number, newest = profile[3:]
            if self._collected_users and number in self._collected_users:
                return False
            if moment == newest:
                self.users += self._users.add(number)
            elif moment > newest or number not in self._users:
                return False
        if event:
            self.events += self._events.add(event[3])
        return True

    def _collect(self, line: int, values: Values, it: Fingerprint, known: bool, profile: Any, event: Any) -> Collected:
        """This row, and before it those of the same user and event that were only counted so far."""
        user_before = event_before = None
        if profile and self._collected_users.add(profile[3]) and profile[3] in self._users:
            self.users -= 1
            user_before = KnownProfile(*profile)
        if event and self._collected_events.add(event[3]) and event[3] in self._events:
            self.events -= 1
            event_before = KnownEvent(*event)
        delivered = (profile[2] if profile else None, event[2] if event else None) if known else None
        return Collected(line, values, it, delivered, user_before, event_before)

    def _known_profiles(self, prints: Sequence[Fingerprint]) -> dict[str, tuple[Any, ...]]:
        """What `KnownProfile` holds, by identity."""
        return self._known("profile", "identity", ", moment", {it.identity for it in prints if it.profile is not None})

    def _known_events(self, prints: Sequence[Fingerprint]) -> dict[bytes, tuple[Any, ...]]:
        """What `KnownEvent` holds, by id."""
        return self._known("event", "id", "", {it.event_id for it in prints if it.event is not None})

    def _known(self, table: str, key: str, more: str, keys: set[Any]) -> dict[Any, tuple[Any, ...]]:
        rows = self._db.execute(
            f"SELECT {key}, fingerprint, delivered, number{more} FROM main.{table} WHERE sync = ? "
            f"AND {key} IN ({','.join('?' * len(keys))}) "
            "AND fingerprint IS NOT NULL AND delivered IS NOT NULL AND seen >= ?",
            (self._sync, *keys, self._today - SEEN_EXACT),
        )
        return {row[0]: row for row in rows}

    def _owed(self, prints: Sequence[Fingerprint]) -> set[str]:
        """The users of these rows to whom anything is owed or set aside, under the names that the rows have."""
        if not self._owes:
            return set()
        keys = {it.identity for it in prints}
        query = f"SELECT identity FROM temp.owing WHERE identity IN ({','.join('?' * len(keys))})"
        return {row[0] for row in self._db.execute(query, tuple(keys))}

    def remember(self) -> None:
        """Keep the fingerprints of all rows that were made, and found to be at Iterable as they are.

        It is done last: a run that ends before does not lose anything but the next one's time. Those of what this run
        delivered are on record with its outcome.
        """
        if not self._run.may_have(Mark.UNCHANGED):
            return
        with self._state.transaction():
            (given,) = self._db.execute("SELECT numbers FROM sync WHERE id = ?", (self._sync,)).fetchone()
            for table, key, columns in (
                ("profile", "identity", ("fingerprint", "moment")),
                ("event", "id", ("fingerprint",)),
            ):
                self._remember(table, key, columns, "IS NOT NULL", given)
                given += self._remember(table, key, columns, "IS NULL", given)
            self._db.execute("UPDATE sync SET numbers = ? WHERE id = ?", (given, self._sync))

    def _remember(self, table: str, key: str, columns: Sequence[str], numbered: str, given: int) -> int:
        """Those of one table that have a number, or that are given one now: without gaps, which would cost memory."""
        changed = " OR ".join(f"known.{column} IS NOT scan.{column}" for column in columns)
        return self._db.execute(
            f"UPDATE main.{table} SET number = COALESCE(number, ? + s.rank), "
            f"{', '.join(f'{column} = s.{column}' for column in columns)} FROM (SELECT scan.{key}, "
            f"{', '.join(f'scan.{column}' for column in columns)}, ROW_NUMBER() OVER () AS rank "
            f"FROM temp.scan_{'user' if table == 'profile' else table} scan CROSS JOIN main.{table} known "
            f"ON known.sync = ? AND known.{key} = scan.{key} AND known.delivered = scan.digest "
            f"AND known.number {numbered} "
            f"WHERE scan.fingerprint <> x'' AND scan.mark = ? AND ({changed})) s "
            f"WHERE {table}.sync = ? AND {table}.{key} = s.{key}",
            (given, self._sync, Mark.UNCHANGED, self._sync),
        ).rowcount
