"""By which address Iterable knows a user whose id is known: learnt from its answers."""

from __future__ import annotations

from collections.abc import Iterable

from sync.state.doubt import Doubt
from sync.state.owed import Mark, Move
from sync.state.scope import Part, RunScope


class KnownNames(Part):
    """Puts addresses on record; inside a transaction. Does nothing where addresses are not followed."""

    def __init__(self, run: RunScope, doubt: Doubt) -> None:
        super().__init__(run)
        self._doubt = doubt

    def delivered(self, identities: Iterable[str]) -> None:
        """Profiles were accepted under these addresses: all who have one in the result are known by it."""
        if not self._policy.follows_addresses:
            return
        self._db.executemany(
            "INSERT INTO name_of_id (sync, person, address, first, seen) SELECT ?, person, identity, identity, ? "
            "FROM temp.scan_person WHERE identity = ? AND person <> identity "
            "ON CONFLICT DO UPDATE SET address = excluded.address, perhaps = NULL, seen = excluded.seen",
            [(self._sync, self._today, identity) for identity in identities],
        )

    def moved(self, move: Move, new: str) -> None:
        """The user has the new address at Iterable: events, segments and all else on record go along."""
        self._db.execute(
            "UPDATE name_of_id SET address = ?, perhaps = NULL WHERE sync = ? AND person = ?",
            (new, self._sync, move.person),
        )
        for old in move.sources:
            if old not in move.shared or old == move.sources[move.tried]:
                self._take_over(old, new)
        self._db.execute(
            "UPDATE main.event SET fingerprint = NULL, "
            "delivered = (SELECT digest FROM temp.scan_event s WHERE s.id = event.id) "
            "WHERE sync = ? AND delivered IS NOT NULL AND id IN "
            "(SELECT id FROM temp.scan_event WHERE person = ? AND mark = ?)",
            (self._sync, move.person, Mark.UNCHANGED),
        )

    def _take_over(self, old: str, new: str) -> None:
        here = self._sync
        self._doubt.take_over_segment(old, new)
        self._db.execute(
            "UPDATE main.profile SET in_segment = COALESCE((SELECT in_segment FROM main.profile before "
            "WHERE before.sync = ? AND before.identity = ? AND before.in_segment > 0), in_segment) "
            "WHERE sync = ? AND identity = ?",
            (here, old, here, new),
        )
        for table in ("other_member", "failer", "debt"):
            self._db.execute(
                f"UPDATE OR REPLACE {table} SET identity = ? WHERE sync = ? AND identity = ?", (new, here, old)
            )
        self._db.execute("DELETE FROM main.profile WHERE sync = ? AND identity = ?", (here, old))
        self._db.execute(  # another user takes the name that has become free
            "INSERT INTO main.profile (sync, identity, in_segment, seen) SELECT ?, identity, 2 * ?, ? "
            "FROM temp.scan_user WHERE identity = ?",
            (here, bool(self._policy.segment_field), self._today, old),
        )
