"""What follows from a result: who leaves the segment, what is owed, and how much of each."""

from __future__ import annotations

from collections.abc import Iterator

from sync.state.owed import Counts, Mark, Plan
from sync.state.scope import Part

FORGET_AFTER = 90
"""Days: what was in no result for so long may be forgotten."""

SEEN_EXACT = 7
"""Days: `seen` is only written when it is older, so that a run in which nothing changed writes next to nothing."""

SMALL_SEGMENT = 10
"""Members: a smaller segment may empty itself without being asked about."""


class Debts(Part):
    """Turns the compared rows into debts, in one commit."""

    def plan(self) -> Plan:
        """Turn the collected rows into debts, in one commit, and say what they mean."""
        plan = Plan()
        with self._state.transaction():
            self._derive_events()
            plan.segment_renamed_from = self._renamed_segment()
            self._find_leavers(plan)
            self._put_debts()
            self._line_up()
            self._count(plan)
            self._forget_refusals()
            self._remember()
        return plan

    def _derive_events(self) -> None:
        """An owed event of a rejected profile has the profile's outcome."""
        self._db.execute(
            "UPDATE temp.scan_event SET body = NULL, "
            "mark = (SELECT mark FROM temp.scan_user u WHERE u.identity = scan_event.identity) "
            "WHERE mark = ? AND identity IN (SELECT identity FROM temp.scan_user WHERE mark >= ?)",
            (Mark.OWED, Mark.KNOWN_REJECTED),
        )

    def _renamed_segment(self) -> str:
        """The old name when SEGMENT_FIELD changed; nobody is a member of the new field yet."""
        found = self._db.execute("SELECT segment_field FROM destination WHERE id = ?", (self._destination,)).fetchone()
        old: str = found[0] if found else ""
        if old == self._policy.segment_field:
            return ""
        self._run.renamed_from = old
        if old:
            self._db.execute(
                "UPDATE owed_user SET body = json_remove(body, ?) WHERE destination = ? AND body IS NOT NULL",
                (f'$.dataFields."{old}"', self._destination),
            )
        self._db.execute(
            "UPDATE main.profile SET in_segment = 0 WHERE destination = ? AND in_segment > 0", (self._destination,)
        )
        self._db.execute(
            "UPDATE destination SET segment_field = ? WHERE id = ?", (self._policy.segment_field, self._destination)
        )
        return old

    def _find_leavers(self, plan: Plan) -> None:
        """Those who were in the segment and are not in the result, unless they would empty it."""
        if not (self._policy.whole_window and self._policy.segment_field) or self._run.renamed_from:
            return
        plan.segment_size = self._run.one(
            "SELECT COUNT(*) FROM main.profile WHERE destination = ? AND in_segment > 0", self._destination
        )
        self._db.execute(
            "INSERT INTO temp.leaver (identity) SELECT identity FROM main.profile WHERE destination = ? AND "
            "in_segment > 0 AND identity NOT IN (SELECT identity FROM temp.scan_user) ORDER BY identity",
            (self._destination,),
        )
        plan.leaving = self._run.one("SELECT COUNT(*) FROM temp.leaver")
        many = plan.segment_size >= SMALL_SEGMENT and plan.leaving * 2 > plan.segment_size
        if many and not self._policy.allow_mass_exit:
            plan.exit_held_back = self._run.exit_held_back = True
            self._db.execute("DELETE FROM temp.leaver")

    def _put_debts(self) -> None:
        """Replace what was owed to the users of the result; what was owed to others stays, and comes first."""
        here = self._destination
        self._db.execute(
            "DELETE FROM owed_event WHERE destination = ? AND id IN (SELECT id FROM temp.scan_event)", (here,)
        )
        self._db.execute(
            "INSERT INTO owed_event (destination, id, identity, moment, digest, body) "
            "SELECT ?, id, identity, moment, digest, body FROM temp.scan_event WHERE mark = ?",
            (here, Mark.OWED),
        )
        self._db.execute(
            "DELETE FROM owed_user WHERE destination = ? AND identity IN (SELECT identity FROM temp.scan_user)", (here,)
        )
        self._db.execute(
            "INSERT INTO owed_user (place, destination, identity, digest, body) "
            "SELECT (SELECT COALESCE(MAX(place), 0) FROM owed_user) + position, ?, identity, digest, body "
            "FROM temp.scan_user u WHERE mark = ? OR (mark < 3 AND EXISTS (SELECT 1 FROM owed_event e "
            "WHERE e.destination = ? AND e.identity = u.identity)) ORDER BY position",
            (here, Mark.OWED, here),
        )
        self._db.execute(
            "INSERT INTO owed_user (place, destination, identity) "
            "SELECT (SELECT COALESCE(MAX(place), 0) FROM owed_user) + ROW_NUMBER() OVER (ORDER BY identity), ?, "
            "identity FROM (SELECT DISTINCT identity FROM owed_event o "
            "WHERE destination = ? AND NOT EXISTS (SELECT 1 FROM owed_user u WHERE u.destination = o.destination AND "
            "u.identity = o.identity) AND identity NOT IN (SELECT identity FROM temp.scan_user))",
            (here, here),
        )

    def _line_up(self) -> None:
        """Give everybody a place: users in the query's order, then leavers, and last of all the known failers."""
        everybody = (
            ("owed_user o", 0, f"o.destination = {self._destination} AND {self._run.serves()}"),
            ("temp.leaver o", 1, "true"),
        )
        for failed, exists in ((0, "NOT EXISTS"), (1, "EXISTS")):
            for table, leaves, condition in everybody:
                self._db.execute(
                    "INSERT INTO temp.turn (identity, leaves, failed_before) SELECT o.identity, ?, ? "
                    f"FROM {table} WHERE {condition} AND {exists} (SELECT 1 FROM failer f WHERE f.destination = ? "
                    "AND f.identity = o.identity) ORDER BY o.place",
                    (leaves, failed, self._destination),
                )

    def _count(self, plan: Plan) -> None:
        """Everything but what is owed has its outcome now."""
        kinds: tuple[tuple[str, Counts], ...] = (("scan_user", plan.users), ("scan_event", plan.events))
        for table, counts in kinds:
            for mark, count in self._db.execute(f"SELECT mark, COUNT(*) FROM temp.{table} GROUP BY mark"):
                if mark == Mark.UNCHANGED:
                    counts.unchanged += count
                elif mark >= Mark.KNOWN_REJECTED:
                    counts.rejected += count
                    counts.newly_rejected += count if mark == Mark.NEWLY_REJECTED else 0
        plan.owed_users, plan.owed_profiles, plan.leavers = self._db.execute(
            "SELECT COUNT(*) FILTER (WHERE NOT leaves), COUNT(o.body) FILTER (WHERE NOT leaves), "
            "COUNT(*) FILTER (WHERE leaves) FROM temp.turn t LEFT JOIN owed_user o "
            "ON o.destination = ? AND o.identity = t.identity",
            (self._destination,),
        ).fetchone()
        plan.owed_events = self._run.one(
            "SELECT COUNT(*) FROM temp.turn t JOIN owed_event o ON o.destination = ? AND o.identity = t.identity",
            self._destination,
        )
        if not plan.exit_held_back:
            plan.leaving = plan.leavers

    def new_rejections(self) -> Iterator[tuple[str, str]]:
        """Who was rejected before any request, and why: (identity, reason)."""
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
                f"UPDATE main.{table} SET rejected = NULL, reason = NULL{delivered} WHERE destination = ? "
                f"AND {key} IN (SELECT {key} FROM temp.{scan} WHERE mark = ?)",
                (self._destination, Mark.OWED),
            )

    def _remember(self) -> None:
        """Put new rejections on record, note who was seen, and forget who was not for 90 days."""
        here, today = self._destination, self._today
        self._db.execute(
            "INSERT INTO main.profile (destination, identity, rejected, reason, in_segment, seen) "
            "SELECT ?, identity, digest, reason, 0, ? FROM temp.scan_user WHERE mark = 4 ON CONFLICT DO UPDATE SET "
            "rejected = excluded.rejected, reason = excluded.reason",
            (here, today),
        )
        self._db.execute(
            "INSERT INTO main.event (destination, id, rejected, reason, seen) "
            "SELECT ?, id, digest, reason, ? FROM temp.scan_event WHERE mark = 4 AND reason IS NOT NULL "
            "ON CONFLICT DO UPDATE SET rejected = excluded.rejected, reason = excluded.reason",
            (here, today),
        )
        self._db.execute(
            "INSERT OR IGNORE INTO temp.refused_line SELECT line, reason FROM temp.scan_user WHERE mark = 4 UNION ALL "
            "SELECT line, reason FROM temp.scan_event WHERE mark = 4 AND reason IS NOT NULL"
        )
        for table, key, scan in (("profile", "identity", "scan_user"), ("event", "id", "scan_event")):
            self._db.execute(
                f"UPDATE main.{table} SET seen = ? WHERE destination = ? AND seen < ? "
                f"AND {key} IN (SELECT {key} FROM temp.{scan})",
                (today, here, today - SEEN_EXACT),
            )
        stale = (here, today - FORGET_AFTER)
        self._db.execute("DELETE FROM main.profile WHERE destination = ? AND seen < ? AND in_segment = 0", stale)
        self._db.execute("DELETE FROM main.event WHERE destination = ? AND seen < ?", stale)
        self._db.execute("DELETE FROM failer WHERE destination = ? AND seen < ?", stale)
