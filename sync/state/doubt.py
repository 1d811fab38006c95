"""What is in doubt: sent, and the answer not recorded yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sync.state.owed import Move, OwedUser, UserOutcome
from sync.state.scope import GROUP, Part, RunScope


class Doubt(Part):
    """Forgets what Iterable held before anything is sent; keeps it in mind for those to whom nothing is sent."""

    def __init__(self, run: RunScope) -> None:
        super().__init__(run)
        self._prior: dict[str | bytes, tuple[bytes | None, int, int]] = {}
        self._moves: dict[str, str | None] = {}
        self._first_names: dict[str, list[str]] = {}

    def segment_before(self, identity: str) -> int | None:
        """Whether the user was in the segment before this run marked the profile as in doubt; None: not known."""
        return self._prior.get(identity, (None, None))[1]

    def has_number(self, key: str | bytes) -> bool | None:
        """Whether the profile or event had a number when it was marked; None: this run does not know any more."""
        prior = self._prior.get(key)
        return None if prior is None else bool(prior[2])

    def mark(self, users: Sequence[OwedUser]) -> None:
        """Forget what Iterable held: from here to its answer, nobody knows. This run alone keeps it in mind."""
        for user in users:
            if user.move:
                self._mark_move(user.move, user.identity)
        perhaps = 2 if self._policy.segment_field else 0
        profiles = [user.identity for user in users if user.profile is not None]
        events = [event.id for user in users for event in user.events]
        self._remember_prior("profile", "identity", "in_segment", profiles)
        known_events = self._remember_prior("event", "id", "0", events)
        self._mark_names(profiles)
        self._db.executemany(
            "INSERT INTO main.profile (sync, identity, in_segment, seen) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET delivered = NULL, fingerprint = NULL, "
            "in_segment = CASE in_segment WHEN 0 THEN excluded.in_segment ELSE in_segment END",
            [(self._sync, identity, perhaps, self._today) for identity in profiles],
        )
        self._db.executemany(
            "UPDATE main.event SET delivered = NULL, fingerprint = NULL WHERE sync = ? AND id = ?",
            [(self._sync, event) for event in known_events],
        )

    def _mark_names(self, identities: Sequence[str]) -> None:
        """From here on a user whose id was never sent may be known by this address."""
        if not self._policy.follows_addresses:
            return
        for identity in identities:
            found = self._db.execute(
                "INSERT INTO name_of_id (sync, person, address, first, seen) SELECT ?, person, identity, identity, ? "
                "FROM temp.scan_person WHERE identity = ? AND person <> identity ON CONFLICT DO UPDATE SET "
                "address = excluded.address WHERE address IS NULL AND perhaps IS NULL RETURNING person",
                (self._sync, self._today, identity),
            ).fetchall()
            if found:
                self._first_names[identity] = [person for (person,) in found]

    def _mark_move(self, move: Move, new: str) -> None:
        """From here on the user may be known by the new address, and what Iterable held under the old one may not."""
        key = (self._sync, move.person)
        (before,) = self._db.execute("SELECT perhaps FROM name_of_id WHERE sync = ? AND person = ?", key).fetchone()
        self._moves[move.person] = before
        names = dict.fromkeys([*(before or "").split("\n"), new])
        self._db.execute(
            "UPDATE name_of_id SET perhaps = ? WHERE sync = ? AND person = ?",
            ("\n".join(name for name in names if name), *key),
        )
        self._remember_prior("profile", "identity", "in_segment", move.sources)
        self._db.executemany(
            "UPDATE main.profile SET delivered = NULL WHERE sync = ? AND identity = ?",
            [(self._sync, source) for source in move.sources],
        )

    def restore_move(self, move: Move, *, happened_never: bool = False) -> None:
        """The user is not known by the new address: it was not sent, or (`happened_never`) was refused."""
        if move.person not in self._moves:
            return
        before = self._moves.pop(move.person)
        self._db.execute(
            "UPDATE name_of_id SET perhaps = ? WHERE sync = ? AND person = ?",
            (None if happened_never else before, self._sync, move.person),
        )
        for source in move.sources:
            self.restore("profile", "identity", source)
            self._prior.pop(source, None)

    def take_over_segment(self, old: str, new: str) -> None:
        """The user who was known as `old` is known as `new`: so is the membership."""
        in_segment = self._prior.pop(old, (None, 0))[1]
        if in_segment:
            self._prior[new] = (None, in_segment, 0)

    def _remember_prior(self, table: str, key: str, segment: str, keys: Sequence[Any]) -> list[Any]:
        """Keep in mind what is about to be forgotten, for those to whom no request is made after all.

        Returns the keys of those that are on record.
        """
        known = []
        self._prior.update(dict.fromkeys(keys, (None, 0, 0)))
        for start in range(0, len(keys), GROUP):
            some = keys[start : start + GROUP]
            marks = ",".join("?" * len(some))
            for row in self._db.execute(
                f"SELECT {key}, delivered, {segment}, number IS NOT NULL FROM main.{table} "
                f"WHERE sync = ? AND {key} IN ({marks})",
                (self._sync, *some),
            ):
                self._prior[row[0]] = row[1:]
                known.append(row[0])
        return known

    def restore(self, table: str, key: str, value: Any) -> None:
        """Nothing was sent: Iterable holds what it held, if this run still has it in mind."""
        if value not in self._prior:
            return
        delivered, in_segment, _ = self._prior[value]
        for person in self._first_names.pop(str(value), ()):
            self._db.execute("UPDATE name_of_id SET address = NULL WHERE sync = ? AND person = ?", (self._sync, person))
        segment = f", in_segment = {in_segment}" if table == "profile" else ""
        self._db.execute(
            f"UPDATE main.{table} SET delivered = ?{segment} WHERE sync = ? AND {key} = ?",
            (delivered, self._sync, value),
        )

    def stay_in_doubt(self, user: OwedUser) -> None:
        """An attempt was made for this user, and another waits: what Iterable held before is not known any more."""
        self._prior.pop(user.identity, None)
        self._first_names.pop(user.identity, None)
        if user.move:
            self._moves.pop(user.move.person, None)
        for event in user.events:
            self._prior.pop(event.id, None)

    def forget(self, outcome: UserOutcome) -> None:
        """What was in mind for these payloads has served."""
        if outcome.profile is not None:
            self._prior.pop(outcome.user.identity, None)
            self._first_names.pop(outcome.user.identity, None)
        for event in outcome.user.events:
            self._prior.pop(event.id, None)
