"""What is in doubt: sent, and the answer not recorded yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sync.state.delivered import IN_DOUBT
from sync.state.owed import Move, OwedUser, UserOutcome
from sync.state.scope import GROUP, Part, RunScope

_NOTHING: Final = (None, 0)
"""What is in mind of a payload that is not on record."""


class Doubt(Part):
    """Forgets what Iterable held before anything is sent; keeps it in mind for those to whom nothing is sent."""

    def __init__(self, run: RunScope) -> None:
        super().__init__(run)
        self._prior: dict[str | bytes, tuple[bytes | None, int]] = {}
        self._flagged: set[str] = set()
        self._moves: dict[str, str | None] = {}
        self._first_names: dict[str, list[str]] = {}

    def segment_before(self, identity: str) -> int | None:
        """Whether the user was in the segment before this run marked the profile as in doubt; None: not known."""
        return self._prior.get(identity, (None, None))[1]

    def mark(self, users: Sequence[OwedUser]) -> None:
        """Forget what Iterable held: from here to its answer, nobody knows. This run alone keeps it in mind."""
        for user in users:
            if user.move:
                self._mark_move(user.move, user.identity)
        profiles = [user for user in users if user.profile is not None]
        flagged = [user for user in profiles if self._is_by_flag(user)]
        marked = [user.identity for user in profiles if not self._is_by_flag(user)]
        events = [event.id for user in users for event in user.events]
        self._remember_prior("profile", "identity", "in_segment", marked)
        known_events = self._remember_prior("event", "id", "0", events)
        self._mark_names(marked)
        self._mark_profiles(marked)
        self._flag(flagged, 2 if self._policy.segment_field else 1)
        self._flagged.update(user.identity for user in flagged)
        self._db.executemany(
            "UPDATE main.event SET delivered = NULL, fingerprint = NULL WHERE sync = ? AND id = ?",
            [(self._sync, event) for event in known_events],
        )

    def _is_by_flag(self, user: OwedUser) -> bool:
        """Whether the spool flags the profile as in doubt: that takes a place there, and one name for good."""
        return user.place is not None and not self._policy.follows_addresses

    def _flag(self, users: Sequence[OwedUser], in_doubt: int) -> None:
        self._db.executemany(
            "UPDATE owed_user SET in_doubt = ? WHERE place = ? AND sync = ? AND identity = ?",
            [(in_doubt, user.place, self._sync, user.identity) for user in users],
        )

    def _mark_profiles(self, identities: Sequence[str]) -> None:
        perhaps = 2 if self._policy.segment_field else 0
        self._db.executemany(
            f"INSERT INTO main.profile (sync, identity, in_segment, seen) VALUES (?, ?, ?, ?) {IN_DOUBT}",
            [(self._sync, identity, perhaps, self._today) for identity in identities],
        )

    def put_on_record(self, user: OwedUser) -> None:
        """Mark a profile in its own place, where the answer is about to be put."""
        if not self._is_by_flag(user):
            return
        if user.identity in self._flagged:
            self._remember_prior("profile", "identity", "in_segment", [user.identity])
        self._mark_profiles([user.identity])
        self._flag([user], 0)

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
            self._prior[new] = (None, in_segment)

    def _remember_prior(self, table: str, key: str, segment: str, keys: Sequence[Any]) -> list[Any]:
        """Keep in mind what is about to be forgotten, for those to whom no request is made after all.

        Returns the keys of those that are on record.
        """
        known = []
        self._prior.update(dict.fromkeys(keys, _NOTHING))
        for start in range(0, len(keys), GROUP):
            some = keys[start : start + GROUP]
            marks = ",".join("?" * len(some))
            for row in self._db.execute(
                f"SELECT {key}, delivered, {segment} FROM main.{table} WHERE sync = ? AND {key} IN ({marks})",
                (self._sync, *some),
            ):
                self._prior[row[0]] = row[1:]
                known.append(row[0])
        return known

    def is_new(self, identity: str) -> bool:
        """Whether nothing of this user was on record before this run sent something."""
        if identity not in self._flagged:
            return self._prior.get(identity) is _NOTHING
        query = "SELECT NOT EXISTS (SELECT 1 FROM main.profile WHERE sync = ? AND identity = ?)"
        return bool(self._run.one(query, self._sync, identity))

    def restore_profile(self, user: OwedUser) -> None:
        """As `restore`, for the profile of a user."""
        if user.identity in self._flagged:
            self._flag([user], 0)
        else:
            self.restore("profile", "identity", user.identity)

    def restore(self, table: str, key: str, value: Any) -> None:
        """Nothing was sent: Iterable holds what it held, if this run still has it in mind."""
        if value not in self._prior:
            return
        for person in self._first_names.pop(str(value), ()):
            self._db.execute("UPDATE name_of_id SET address = NULL WHERE sync = ? AND person = ?", (self._sync, person))
        if self._prior[value] is _NOTHING:
            self._db.execute(f"DELETE FROM main.{table} WHERE sync = ? AND {key} = ?", (self._sync, value))
            return
        delivered, in_segment = self._prior[value]
        segment = f", in_segment = {in_segment}" if table == "profile" else ""
        self._db.execute(
            f"UPDATE main.{table} SET delivered = ?{segment} WHERE sync = ? AND {key} = ?",
            (delivered, self._sync, value),
        )

    def stay_in_doubt(self, user: OwedUser) -> None:
        """An attempt was made for this user, and another waits: what Iterable held before is not known any more."""
        self._prior.pop(user.identity, None)
        self._flagged.discard(user.identity)
        self._first_names.pop(user.identity, None)
        if user.move:
            self._moves.pop(user.move.person, None)
        for event in user.events:
            self._prior.pop(event.id, None)

    def forget(self, outcome: UserOutcome) -> None:
        """What was in mind for these payloads has served."""
        if outcome.profile is not None:
            self._prior.pop(outcome.user.identity, None)
            self._flagged.discard(outcome.user.identity)
            self._first_names.pop(outcome.user.identity, None)
        for event in outcome.user.events:
            self._prior.pop(event.id, None)
