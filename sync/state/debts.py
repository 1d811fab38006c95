"""What follows from a result: who leaves the segment, what is owed, and how much of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sync.state.owed import REJECTED, Counts, Mark, Merged, Plan
from sync.state.people import People
from sync.state.scope import Part, RunScope
from sync.state.segment import Segment
from sync.state.spool import Spool
from sync.state.unchanged import SEEN_EXACT, Unchanged

FORGET_AFTER = 90
"""Days: what was in no result for so long may be forgotten."""

OTHERS = 5
"""Users to each that is moved: about as users/update may be called more often than users/updateEmail."""


class Debts(Part):
    """Turns the compared rows into debts, in one commit."""

    def __init__(self, run: RunScope, unchanged: Unchanged, spool: Spool) -> None:
        super().__init__(run)
        self._unchanged, self._spool = unchanged, spool
        self.people = People(run)
        self._segment = Segment(run, self.people)

    def plan(self, put_on_record: Callable[[], object]) -> Plan:
        """Turn the collected rows into debts, in one commit, and say what they mean.

        `put_on_record` is called inside that commit; what it raises undoes all of it.
        """
        plan = Plan()
        with self._state.transaction():
            put_on_record()
            self.people.settle(plan)
            self._derive_events()
            if self._policy.retry_rejected or self._policy.full:
                self._take_up_rejected()
            self._segment.find_leavers(plan)
            self._put_debts()
            self.people.find_others_in_doubt()
            self._line_up()
            self._count(plan)
            self._forget_refusals()
            self._remember()
        return plan

    def _derive_events(self) -> None:
        """An owed event of a rejected profile has the profile's outcome; it keeps its body, and comes back with it."""
        if not self._run.may_have(*REJECTED):
            return
        self._db.execute(
            "UPDATE temp.scan_event SET mark = (SELECT mark FROM temp.scan_user u "
            "WHERE u.identity = scan_event.identity) WHERE mark = ? "
            "AND identity IN (SELECT identity FROM temp.scan_user WHERE mark >= ?)",
            (Mark.OWED, Mark.KNOWN_REJECTED),
        )

    def _take_up_rejected(self) -> None:
        """What was set aside is owed again, whole: profiles, events whose rows have left the result, exits."""
        here = (self._sync,)
        for table, key, owed in (("profile", "identity", "owed_user"), ("event", "id", "owed_event")):
            self._db.execute(
                f"UPDATE main.{table} SET rejected = NULL, reason = NULL WHERE sync = ? "
                f"AND {key} IN (SELECT {key} FROM {owed} o WHERE o.sync = ? AND o.aside > 0)",
                here * 2,
            )
            self._db.execute(f"UPDATE {owed} SET aside = 0 WHERE sync = ? AND aside > 0", here)
        self._db.execute("UPDATE main.profile SET in_segment = 1 WHERE sync = ? AND in_segment = 3", here)

    def _put_debts(self) -> None:
        """Replace what was owed to the users of the result; what was owed to others stays, and comes first.

        What is rejected as before stays set aside as it is: the result holds no body for it.
        """
        here = self._sync
        self._owed_before = self._has("owed_user", "owed_event")
        if self._owed_before:
            self._forget_replaced()
        self._db.execute(
            "INSERT INTO owed_event (sync, id, identity, moment, digest, body, aside, person, fingerprint) "
            "SELECT ?, id, identity, moment, digest, body, CASE mark WHEN ? THEN 0 ELSE 2 END, person, fingerprint "
            "FROM temp.scan_event WHERE body IS NOT NULL ORDER BY position",
            (here, Mark.OWED),
        )
        if self._owed_before:
            self._bring_back()
        self._spool.index_events()
        self._after = self._last_place()
        self._db.execute(
            "INSERT INTO owed_user (place, sync, identity, digest, body, person, fingerprint, moment) "
            f"SELECT ? + position, ?, identity, digest, body, {self._person()}, fingerprint, moment "
            "FROM temp.scan_user u WHERE mark = ? OR (mark < ? AND EXISTS (SELECT 1 FROM temp.due d "
            "WHERE d.identity = u.identity)) ORDER BY position",
            (self._after, here, Mark.OWED, Mark.KNOWN_REJECTED),
        )
        self._put_debtors_behind(self._last_place())

    def _put_debtors_behind(self, last: int) -> None:
        """Who is not in the result and is owed events alone, such as those that were set aside."""
        self._db.execute(
            "INSERT INTO owed_user (sync, identity) SELECT DISTINCT ?, identity FROM temp.due "
            "WHERE identity NOT IN (SELECT identity FROM temp.scan_user) "
            "AND identity NOT IN (SELECT identity FROM owed_user WHERE sync = ?) ORDER BY identity",
            (self._sync, self._sync),
        )
        self._db.execute(
            "INSERT OR REPLACE INTO temp.owing SELECT identity, place FROM owed_user WHERE sync = ? AND place > ?",
            (self._sync, last),
        )

    def _last_place(self) -> int:
        return self._run.one("SELECT COALESCE(MAX(place), 0) FROM owed_user")

    def _has(self, *tables: str) -> bool:
        """Whether any of these tables has something of this sync; asked for what a first run need not do."""
        return any(self._run.one(f"SELECT EXISTS (SELECT 1 FROM {name} WHERE sync = ?)", self._sync) for name in tables)

    def _forget_replaced(self) -> None:
        """What was owed to the users of the result, and is owed otherwise now or no longer."""
        here = self._sync
        self._db.execute(
            "DELETE FROM owed_event WHERE sync = ? AND EXISTS (SELECT 1 FROM temp.scan_event s "
            "WHERE s.id = owed_event.id AND (s.mark <> ? OR s.body IS NOT NULL))",
            (here, Mark.KNOWN_REJECTED),
        )
        self._db.execute(
            "DELETE FROM owed_user WHERE sync = ? AND EXISTS (SELECT 1 FROM temp.scan_user s "
            "WHERE s.identity = owed_user.identity AND s.mark <> ?)",
            (here, Mark.KNOWN_REJECTED),
        )

    def _bring_back(self) -> None:
        """Events that were set aside with a profile come back with it."""
        here = self._sync
        self._db.execute(
            "UPDATE owed_event SET aside = 0 WHERE sync = ? AND aside > 0 AND aside = 2 AND identity IN "
            "(SELECT identity FROM temp.scan_user WHERE mark < ?) AND (person IS NULL OR EXISTS (SELECT 1 "
            "FROM temp.scan_person p WHERE p.person = owed_event.person AND p.identity = owed_event.identity))",
            (here, Mark.KNOWN_REJECTED),
        )

    def _person(self) -> str:
        """The user id of an owed user, where addresses may change."""
        if not self._policy.follows_addresses:
            return "NULL"
        return "(SELECT MIN(p.person) FROM temp.scan_person p WHERE p.identity = u.identity AND p.person <> p.identity)"

    def _line_up(self) -> None:
        """Give everybody a place: users in the query's order, then leavers, and last of all the known failers."""
        # CASE: of an OR that is a value, SQLite looks at both sides.
        in_result = (
            f"CASE WHEN o.place > {self._after} THEN true ELSE o.identity IN (SELECT identity FROM temp.scan_user) END"
        )
        own = f"WHERE o.sync = {self._sync} AND o.aside = 0 AND {self._run.serves()}"
        everybody = (
            f"o.identity, 0, {{}}, o.place, {in_result} FROM owed_user o {own}",
            "o.identity, 1, {}, w.place, false FROM temp.leaver o LEFT JOIN temp.owing w ON w.identity = o.identity "
            "WHERE true",
        )
        for failed, exists in ((0, "NOT EXISTS"), (1, "EXISTS"))[: 1 + self._has("failer")]:
            for some in everybody:
                self._db.execute(
                    "INSERT INTO temp.turn (identity, leaves, failed_before, owed, in_result) "
                    f"SELECT {some.format(failed)} AND {exists} (SELECT 1 FROM failer f WHERE f.sync = ? "
                    "AND f.identity = o.identity) ORDER BY o.place",
                    (self._sync,),
                )
        self._movers_early()

    def _movers_early(self) -> None:
        """Whose address is moved waits a while after that: they begin right behind the first user, in their order.

        That first one is nobody who takes an address that is yet to be freed. Then `OTHERS` go to each of them, so
        that many moves keep nobody from his turn.
        """
        if not self._run.one("SELECT EXISTS (SELECT 1 FROM temp.move WHERE level IS NOT NULL)"):
            return
        first = (
            "SELECT MIN(place) FROM temp.turn WHERE identity NOT IN (SELECT new FROM temp.move WHERE level >= 0 "
            "UNION ALL SELECT old FROM temp.move WHERE level >= 0)"
        )
        self._db.execute(
            "CREATE TEMP TABLE in_order AS SELECT identity, leaves, failed_before, owed, in_result "
            "FROM (SELECT t.*, m.level, "
            f"t.place IS NOT ({first}) AS later, ROW_NUMBER() OVER (PARTITION BY t.failed_before, m.level IS NULL "
            f"ORDER BY t.place IS NOT ({first}), m.level, t.place) AS rank FROM temp.turn t "
            "LEFT JOIN temp.move m ON m.new = t.identity AND m.level IS NOT NULL) "
            f"ORDER BY failed_before, later, CASE WHEN level IS NULL THEN rank ELSE (rank - 1) * {OTHERS} END, "
            "level IS NULL"
        )
        self._db.execute("DELETE FROM temp.turn")
        self._db.execute(
            "INSERT INTO temp.turn (identity, leaves, failed_before, owed, in_result) "
            "SELECT identity, leaves, failed_before, owed, in_result FROM temp.in_order ORDER BY rowid"
        )
        self._db.execute("DROP TABLE temp.in_order")

    def _count(self, plan: Plan) -> None:
        """Everything but what is owed has its outcome now."""
        plan.users.unchanged, plan.events.unchanged = self._unchanged.users, self._unchanged.events
        if self._run.may_have(Mark.UNCHANGED, *REJECTED):
            self._count_settled("scan_user", plan.users)
            self._count_settled("scan_event", plan.events)
        plan.owed_users, plan.owed_profiles, plan.leavers = self._db.execute(
            "SELECT COUNT(*) FILTER (WHERE NOT leaves), COUNT(o.body) FILTER (WHERE NOT leaves), "
            "COUNT(*) FILTER (WHERE leaves) FROM temp.turn t LEFT JOIN owed_user o "
            "ON o.place = t.owed AND o.identity = t.identity AND o.aside = 0"
        ).fetchone()
        plan.owed_events = self._run.one(f"SELECT COUNT(*) FROM {self._served_events()}")
        if not plan.exit_held_back:
            plan.leaving = plan.leavers
        plan.merged_rows = self._run.one("SELECT COUNT(DISTINCT line) FROM temp.merged")
        plan.merged_events, plan.merged_profiles = self._merged("event"), self._merged("profile")

    def _merged(self, kind: str) -> Merged:
        query = "SELECT COUNT(*), MIN(line), identity FROM temp.merged WHERE kind = ?"  # the identity is that line's
        rows, first, identity = self._db.execute(query, (kind,)).fetchone()
        return Merged(rows, first, identity) if rows else Merged()

    def _served_events(self) -> str:
        """The owed events of whoever has a turn.

        Those are all where this result alone owes them. Where addresses are followed, an event may stand under one that
        no user of the result has any more.
        """
        if not (self._owed_before or self._policy.follows_addresses):
            return "temp.due"
        # CROSS: users first, whose events an index finds; the other way round each event would look through all turns.
        return "temp.turn t CROSS JOIN temp.due d USING (identity)"

    def _count_settled(self, table: str, counts: Counts) -> None:
        for mark, count in self._db.execute(f"SELECT mark, COUNT(*) FROM temp.{table} GROUP BY mark"):
            if mark == Mark.UNCHANGED:
                counts.unchanged += count
            elif mark >= Mark.KNOWN_REJECTED:
                counts.rejected += count
                counts.newly_rejected += count if mark == Mark.NEWLY_REJECTED else 0

    def new_rejections(self) -> Iterator[tuple[str, str]]:
        """Who was rejected before any request, and why: (identity, reason)."""
        if not self._run.may_have(Mark.NEWLY_REJECTED):
            return
        with self._state.errors_explained():
            yield from self._db.execute(
                "SELECT identity, reason FROM temp.scan_user WHERE mark = 4 UNION ALL "
                "SELECT e.identity, e.reason FROM temp.scan_event e JOIN temp.scan_user u ON u.identity = e.identity "
                "WHERE e.mark = 4 AND e.reason IS NOT NULL AND u.mark < 3"
            )

    def _forget_refusals(self) -> None:
        """What `--retry-rejected` or `--full` owes stays owed when this run does not get to it."""
        if not (self._policy.full or self._policy.retry_rejected):
            return
        delivered = ", delivered = NULL" if self._policy.full else ""
        for table, key, scan in (("profile", "identity", "scan_user"), ("event", "id", "scan_event")):
            self._db.execute(
                f"UPDATE main.{table} SET rejected = NULL, reason = NULL{delivered} WHERE sync = ? "
                f"AND {key} IN (SELECT {key} FROM temp.{scan} WHERE mark = ?)",
                (self._sync, Mark.OWED),
            )

    def _remember(self) -> None:
        """Put new rejections on record, note who was seen, and forget who was not for 90 days."""
        here, today = self._sync, self._today
        if self._run.may_have(Mark.NEWLY_REJECTED):
            self._remember_rejections()
        for table, key, scan in (("profile", "identity", "scan_user"), ("event", "id", "scan_event")):
            self._db.execute(
                f"UPDATE main.{table} SET seen = ? WHERE sync = ? AND seen < ? "
                f"AND {key} IN (SELECT {key} FROM temp.{scan})",
                (today, here, today - SEEN_EXACT),
            )
        stale = (here, today - FORGET_AFTER)
        if self._has("name_of_id"):
            persons = "SELECT person FROM temp.scan_person UNION ALL SELECT identity FROM temp.scan_user"
            self._db.execute(
                f"UPDATE name_of_id SET seen = ? WHERE sync = ? AND seen < ? AND person IN ({persons})",
                (today, here, today - SEEN_EXACT),
            )
            self._db.execute("DELETE FROM name_of_id WHERE sync = ? AND seen < ? AND perhaps IS NULL", stale)
        self._db.execute("DELETE FROM main.profile WHERE sync = ? AND seen < ? AND in_segment = 0", stale)
        self._db.execute("DELETE FROM main.event WHERE sync = ? AND seen < ?", stale)
        self._db.execute("DELETE FROM failer WHERE sync = ? AND seen < ?", stale)
        self._forget_set_aside()

    def _remember_rejections(self) -> None:
        here, today = self._sync, self._today
        self._db.execute(
            "INSERT INTO main.profile (sync, identity, rejected, reason, in_segment, seen) "
            "SELECT ?, identity, digest, reason, 0, ? FROM temp.scan_user WHERE mark = 4 ON CONFLICT DO UPDATE SET "
            "rejected = excluded.rejected, reason = excluded.reason, again = 0",
            (here, today),
        )
        self._db.execute(
            "INSERT INTO main.event (sync, id, rejected, reason, seen) "
            "SELECT ?, id, digest, reason, ? FROM temp.scan_event WHERE mark = 4 AND reason IS NOT NULL "
            "ON CONFLICT DO UPDATE SET rejected = excluded.rejected, reason = excluded.reason",
            (here, today),
        )
        self._db.execute(
            "INSERT OR IGNORE INTO temp.refused_line SELECT line, reason FROM temp.scan_user WHERE mark = 4 UNION ALL "
            "SELECT line, reason FROM temp.scan_event WHERE mark = 4 AND reason IS NOT NULL"
        )

    def _forget_set_aside(self) -> None:
        """What was set aside goes with the record of why."""
        for owed, condition in (
            ("owed_user", "identity NOT IN (SELECT identity FROM main.profile WHERE sync = :sync)"),
            ("owed_event", "aside = 1 AND id NOT IN (SELECT id FROM main.event WHERE sync = :sync)"),
            ("owed_event", "aside = 2 AND identity NOT IN (SELECT identity FROM main.profile WHERE sync = :sync)"),
        ):
            self._db.execute(
                f"DELETE FROM {owed} WHERE sync = :sync AND aside > 0 AND {condition}", {"sync": self._sync}
            )
