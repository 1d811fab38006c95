"""Who is who where the address identifies and the user id is known: one user an id, and addresses that changed.

All rows of one id take the address of the newest. An address that is another than the one on record is to be moved at
Iterable (`users/updateEmail`), before anything else of that user; nobody leaves a segment for it. Chains go in the
order that frees names. What cannot be moved is told: an address that other ids share, and users who changed places.
"""

from __future__ import annotations

from collections.abc import Iterator

from sync.rows.identity import address_of
from sync.rows.ids import digest_of
from sync.rows.payloads import to_address
from sync.state.owed import Mark, Plan
from sync.state.scope import GROUP, Part

_SHARED = "the address {old} is still that of another user id"
_TAKEN = "the address {new} is that of another user id as well"
_SWAP = (
    "user id {id} has now the address {new}, which another user gives up only for one that is not free either: "
    "give one of them a third address for one run, and then the right one"
)


def _usable(identity: str) -> str:
    return f"substr({identity}, 1, 2) <> '?:'"


class People(Part):
    """Settles who is who in the rows of a result; inside the commit that plans the run."""

    def settle(self, plan: Plan) -> None:
        """Turn persons into identities, and find the addresses to be moved."""
        if not self._policy.follows_addresses:
            self._identified_by_id()
        else:
            self._know_unchanged()
            self._find_moves()
            self._refuse_swaps()
            self._gather_events()
            self._collapse()
            self._take_debts_along()
            plan.moves = self._run.one("SELECT COUNT(*) FROM temp.move WHERE level IS NOT NULL")
        plan.second_name_missing = self._run.one("SELECT COUNT(*) FROM temp.scan_user WHERE lacks IS NOT NULL")

    def told(self) -> Iterator[tuple[str, str]]:
        """Whose address changed and is not moved, and why: (identity, reason)."""
        with self._state.errors_explained():
            for person, old, new, told in self._db.execute(
                "SELECT person, old, new, told FROM temp.move WHERE told IS NOT NULL ORDER BY place"
            ):
                yield person, told.format(old=old, new=new, id=address_of(person))

    def lacking(self) -> Iterator[tuple[str, str]]:
        """Whose profile is owed and goes without the other name, and why: (identity, reason)."""
        with self._state.errors_explained():
            yield from self._db.execute(
                "SELECT identity, lacks FROM temp.scan_user WHERE lacks IS NOT NULL AND mark = ?", (Mark.OWED,)
            )

    def _identified_by_id(self) -> None:
        """The id stays, whatever the address: only by which address older events may be on record is kept."""
        self._db.execute(
            "UPDATE name_of_id SET address = NULL, perhaps = NULL WHERE sync = ? AND address IS NOT NULL", (self._sync,)
        )
        if self._policy.address_ids:
            self._db.execute(
                "INSERT OR IGNORE INTO name_of_id (sync, person, first, seen) "
                "SELECT ?, identity, address, ? FROM temp.scan_user WHERE address IS NOT NULL",
                (self._sync, self._today),
            )

    # -- moves

    def _know_unchanged(self) -> None:
        """Whose profile is at Iterable as the row says is known there by the row's address."""
        self._db.execute(
            "INSERT INTO name_of_id (sync, person, address, first, seen) SELECT ?, person, identity, "
            "identity, ? FROM temp.scan_person WHERE mark = ? AND person <> identity "
            "ON CONFLICT DO UPDATE SET address = excluded.address WHERE address IS NULL AND perhaps IS NULL",
            (self._sync, self._today, Mark.UNCHANGED),
        )

    def _find_moves(self) -> None:
        self._db.execute(
            "INSERT INTO temp.move (place, person, old, new, perhaps) "
            "SELECT p.position, p.person, n.address, p.identity, n.perhaps FROM temp.scan_person p "
            "JOIN name_of_id n ON n.sync = ? AND n.person = p.person "
            "WHERE (n.address <> p.identity OR n.perhaps IS NOT NULL) AND p.mark IN (?, ?) "
            f"AND {_usable('p.identity')}",
            (self._sync, Mark.UNCHANGED, Mark.OWED),
        )
        in_doubt = self._db.execute(
            "SELECT person, perhaps FROM name_of_id WHERE sync = ? AND perhaps IS NOT NULL", (self._sync,)
        ).fetchall()
        self._db.executemany(
            "INSERT OR IGNORE INTO temp.perhaps_of VALUES (?, ?)",
            [(name, person) for person, perhaps in in_doubt for name in perhaps.split("\n")],
        )
        while self._tell_shared() or self._tell_taken():
            pass
        self._db.execute(
            "UPDATE name_of_id SET address = m.new, perhaps = NULL FROM temp.move m "
            "WHERE sync = ? AND name_of_id.person = m.person AND m.told IS NOT NULL",
            (self._sync,),
        )
        self._db.execute(  # events that would have moved along do not
            "UPDATE temp.scan_event SET mark = ?, body = kept, kept = NULL WHERE mark = ? AND kept IS NOT NULL "
            "AND person IN (SELECT person FROM temp.move WHERE told IS NOT NULL) AND digest <> "
            "(SELECT delivered FROM main.event e WHERE e.sync = ? AND e.id = scan_event.id)",
            (Mark.OWED, Mark.UNCHANGED, self._sync),
        )
        self._put_in_order()

    def _tell_shared(self) -> int:
        """The old address stays with another id of the result that has it and does not move, or that moves it first."""
        return self._db.execute(
            "UPDATE temp.move SET told = ? WHERE told IS NULL AND old <> new AND (EXISTS (SELECT 1 FROM name_of_id n "
            "WHERE n.sync = ? AND n.address = move.old AND n.person <> move.person "
            "AND n.person IN (SELECT person FROM temp.scan_person) AND NOT EXISTS "
            "(SELECT 1 FROM temp.move other WHERE other.person = n.person AND other.told IS NULL)) "
            "OR EXISTS (SELECT 1 FROM temp.move other WHERE other.old = move.old AND other.place < move.place "
            "AND other.told IS NULL AND other.perhaps IS NULL AND move.perhaps IS NULL))",
            (_SHARED, self._sync),
        ).rowcount

    def _tell_taken(self) -> int:
        """The new address is also that of a row whose user has it already, or of another who moves to it first."""
        return self._db.execute(
            "UPDATE temp.move SET told = ? WHERE told IS NULL AND old <> new AND (EXISTS (SELECT 1 "
            "FROM temp.scan_person p JOIN main.profile known ON known.sync = ? AND known.identity = p.identity "
            "AND (known.delivered IS NOT NULL OR known.in_segment > 0) WHERE p.identity = move.new "
            "AND p.person <> move.person AND NOT EXISTS "
            "(SELECT 1 FROM temp.move other WHERE other.person = p.person AND other.told IS NULL)) "
            "OR EXISTS (SELECT 1 FROM temp.move other WHERE other.new = move.new AND other.place < move.place "
            "AND other.told IS NULL))",
            (_TAKEN, self._sync),
        ).rowcount

    def _put_in_order(self) -> None:
        """A move to an address that another move frees comes after that one: its level is one more."""
        moved = self._db.execute(
            "UPDATE temp.move SET level = 0 WHERE told IS NULL AND NOT EXISTS (SELECT 1 FROM temp.move other "
            "WHERE other.old = move.new AND other.told IS NULL AND other.person <> move.person)"
        ).rowcount
        level = 0
        while moved:
            level += 1
            moved = self._db.execute(
                "UPDATE temp.move SET level = ? WHERE told IS NULL AND level IS NULL AND EXISTS "
                "(SELECT 1 FROM temp.move other WHERE other.old = move.new AND other.level = ?)",
                (level, level - 1),
            ).rowcount

    def _refuse_swaps(self) -> None:
        """Who waits for each other waits for ever: the rows are rejected until one of them has a third address."""
        for person, old, new in self._db.execute(
            "SELECT person, old, new FROM temp.move WHERE told IS NULL AND level IS NULL"
        ).fetchall():
            reason = _SWAP.format(id=address_of(person), new=new, old=old)
            digest = digest_of(reason)
            known = self._db.execute(
                "SELECT 1 FROM main.profile WHERE sync = ? AND identity = ? AND rejected = ?", (self._sync, new, digest)
            ).fetchone()
            mark = Mark.KNOWN_REJECTED if known else Mark.NEWLY_REJECTED
            self._db.execute(
                "UPDATE temp.scan_person SET mark = ?, digest = ?, reason = ?, body = NULL WHERE person = ?",
                (mark, digest, reason, person),
            )

    # -- from persons to identities

    def _gather_events(self) -> None:
        """Events of rows with an older address of their user go to the newest one."""
        after = b""
        while found := self._db.execute(
            "SELECT e.id, e.body, e.identity, p.identity, k.delivered FROM temp.scan_event e "
            "JOIN temp.scan_person p ON p.person = e.person AND p.identity <> e.identity "
            f"LEFT JOIN main.event k ON k.sync = ? AND k.id = e.id WHERE e.id > ? AND {_usable('p.identity')} "
            "ORDER BY e.id LIMIT ?",
            (self._sync, after, GROUP),
        ).fetchall():
            after = found[-1][0]
            self._db.executemany(
                "UPDATE temp.scan_event SET identity = ? WHERE id = ?", [(event[3], event[0]) for event in found]
            )
            for event, body, old, new, delivered in found:
                if body is None:
                    continue
                payload = to_address(body, old, new)
                same = payload.digest == delivered and not self._policy.full
                self._db.execute(
                    "UPDATE temp.scan_event SET body = ?, digest = ?, mark = ? WHERE id = ?",
                    (None if same else payload.body, payload.digest, Mark.UNCHANGED if same else Mark.OWED, event),
                )

    def _collapse(self) -> None:
        """Persons with one address are one user at Iterable: the newest row is the profile's."""
        columns = "position, identity, moment, line, mark, digest, body, reason, lacks, kept"
        self._db.execute(
            f"INSERT INTO temp.scan_user ({columns}) SELECT {columns} FROM temp.scan_person p WHERE NOT EXISTS "
            "(SELECT 1 FROM temp.scan_person q WHERE q.identity = p.identity AND q.position <> p.position "
            "AND (q.moment > p.moment OR (q.moment = p.moment AND q.line < p.line)))"
        )
        self._db.execute(
            "INSERT OR IGNORE INTO temp.merged SELECT p.line, 'profile', u.identity FROM temp.scan_person p "
            "CROSS JOIN temp.scan_user u ON u.identity = p.identity "
            "WHERE p.position <> u.position AND p.moment = u.moment AND p.digest <> u.digest"
        )

    def _take_debts_along(self) -> None:
        """What is owed under an address that is no longer the user's, or never was, is owed under the right one."""
        self._db.execute(
            "INSERT OR IGNORE INTO temp.stale (old, new, in_result) "
            "SELECT u.identity, COALESCE(p.identity, n.address), p.person IS NOT NULL FROM owed_user u "
            "LEFT JOIN temp.scan_person p ON p.person = u.person "
            "LEFT JOIN name_of_id n ON n.sync = u.sync AND n.person = u.person WHERE u.sync = ? "
            "AND u.person IS NOT NULL AND u.identity NOT IN (SELECT identity FROM temp.scan_user) "
            f"AND COALESCE(p.identity, n.address) <> u.identity AND {_usable('COALESCE(p.identity, n.address)')} "
            "UNION ALL SELECT old, new, 1 FROM temp.move WHERE level IS NOT NULL AND old <> new",
            (self._sync,),
        )
        self._take_events_along()
        self._db.execute(
            "DELETE FROM owed_user WHERE place IN (SELECT w.place FROM temp.stale s JOIN temp.owing w "
            "ON w.identity = s.old WHERE s.in_result)"
        )
        self._db.execute("DELETE FROM temp.owing WHERE identity IN (SELECT old FROM temp.stale WHERE in_result)")
        for old, new in self._db.execute("SELECT old, new FROM temp.stale WHERE NOT in_result").fetchall():
            self._take_profile_along(old, new)
        here = {"sync": self._sync}
        self._db.execute(  # since when it is owed does not begin anew
            "UPDATE OR REPLACE debt SET identity = s.new FROM temp.stale s "
            "WHERE sync = :sync AND debt.identity = s.old",
            here,
        )

    def _take_profile_along(self, old: str, new: str) -> None:
        """What is owed under an address is owed under another, unless that one is owed something itself."""
        place, body = self._db.execute(
            "SELECT o.place, o.body FROM temp.owing w JOIN owed_user o ON o.place = w.place WHERE w.identity = ?",
            (old,),
        ).fetchone()
        self._db.execute("DELETE FROM temp.owing WHERE identity = ?", (old,))
        query = "SELECT 1 FROM temp.owing WHERE identity = ? AND place IS NOT NULL"
        if self._db.execute(query, (new,)).fetchone():
            self._db.execute("DELETE FROM owed_user WHERE place = ?", (place,))
            return
        profile = to_address(body, old, new) if body else None
        self._db.execute(
            "UPDATE owed_user SET identity = ?, body = ?, digest = ?, fingerprint = NULL WHERE place = ?",
            (new, profile and profile.body, profile and profile.digest, place),
        )
        self._db.execute("INSERT OR REPLACE INTO temp.owing VALUES (?, ?)", (new, place))

    def _take_events_along(self) -> None:
        """Owed events go with their person, or, where that is not known, with the address."""
        here = {"sync": self._sync}
        for place, body, old, new in self._db.execute(
            "SELECT e.place, e.body, s.old, s.new FROM owed_event e CROSS JOIN temp.stale s ON s.old = e.identity "
            "LEFT JOIN temp.scan_person p ON p.person = e.person "
            "WHERE e.sync = :sync AND (e.person IS NULL OR p.identity = s.new) UNION "
            "SELECT e.place, e.body, e.identity, p.identity FROM owed_event e CROSS JOIN temp.scan_person p "
            "ON p.person = e.person AND p.identity <> e.identity WHERE e.sync = :sync "
            f"AND p.mark < {Mark.KNOWN_REJECTED:d} AND {_usable('p.identity')}",
            here,
        ).fetchall():
            payload = to_address(body, old, new)
            self._db.execute(
                "UPDATE owed_event SET identity = ?, body = ?, digest = ?, fingerprint = NULL WHERE place = ?",
                (new, payload.body, payload.digest, place),
            )

    # -- who leaves

    def stay(self) -> str:
        """The addresses of whom the result still holds, under another address or with one that is not usable."""
        return (
            "SELECT old FROM temp.move WHERE told IS NULL UNION ALL SELECT identity FROM temp.perhaps_of "
            "UNION ALL SELECT n.address FROM temp.scan_person p "
            f"JOIN name_of_id n ON n.sync = {self._sync} AND n.person = p.person "
            f"WHERE n.address IS NOT NULL AND (p.mark >= {Mark.KNOWN_REJECTED:d} OR NOT {_usable('p.identity')})"
        )

    def find_others_in_doubt(self) -> None:
        """Who is not in the result and may have been moved is moved back first, and so found under either address."""
        self._db.execute(
            "INSERT INTO temp.move (person, old, new, perhaps, level) "
            "SELECT n.person, n.address, n.address, n.perhaps, 0 FROM name_of_id n WHERE n.sync = :sync "
            "AND n.perhaps IS NOT NULL AND n.person NOT IN (SELECT person FROM temp.move) "
            "AND (n.address IN (SELECT identity FROM temp.leaver) OR n.address IN "
            "(SELECT identity FROM owed_user WHERE sync = :sync AND aside = 0))",
            {"sync": self._sync},
        )
