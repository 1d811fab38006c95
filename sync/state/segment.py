"""Who is in the segment: members by field, those who leave, and those who may not."""

from __future__ import annotations

from sync.rows.identity import USER_ID_PREFIX
from sync.state.owed import Plan
from sync.state.people import People
from sync.state.scope import Part, RunScope

SMALL_SEGMENT = 10
"""Members: a smaller segment may empty itself without being asked about."""


class Segment(Part):
    """Membership in the segment of this run's field; that of a sync's other fields waits until its field comes back."""

    def __init__(self, run: RunScope, people: People) -> None:
        super().__init__(run)
        self._people = people

    def find_leavers(self, plan: Plan) -> None:
        """Those who were in the segment and are not in the result, unless they would empty it."""
        plan.segment_renamed_from = self._switch_field()
        plan.members_renamed = self._forget_old_names()
        if not (self._policy.whole_window and self._policy.segment_field):
            return
        plan.segment_size = self._run.one(
            "SELECT COUNT(*) FROM main.profile WHERE sync = ? AND in_segment IN (1, 2)", self._sync
        )
        self._db.execute(
            "INSERT INTO temp.leaver (identity) SELECT identity FROM main.profile WHERE sync = ? AND "
            "in_segment IN (1, 2) AND NOT is_unchanged(number) "
            "AND identity NOT IN (SELECT identity FROM temp.scan_user) "
            f"AND identity NOT IN ({self._people.stay()}) ORDER BY identity",
            (self._sync,),
        )
        plan.leaving = self._run.one("SELECT COUNT(*) FROM temp.leaver")
        many = plan.segment_size >= SMALL_SEGMENT and plan.leaving * 2 > plan.segment_size
        if many and not self._policy.allow_mass_exit:
            plan.exit_held_back = self._run.exit_held_back = True
            self._db.execute("DELETE FROM temp.leaver")

    def _switch_field(self) -> str:
        """Let `in_segment` speak of this run's field; returns the field that it spoke of, if that is another."""
        old, new = self._field_on_record(), self._policy.segment_field
        if old == new:
            return ""
        here = self._sync
        if old:
            self._db.execute(
                "UPDATE owed_user SET body = json_remove(body, ?), fingerprint = NULL "
                "WHERE sync = ? AND body IS NOT NULL",
                (f'$.dataFields."{old}"', here),
            )
            self._db.execute(
                "INSERT OR REPLACE INTO other_member (sync, field, identity, in_segment) "
                "SELECT sync, ?, identity, in_segment FROM main.profile WHERE sync = ? AND in_segment > 0",
                (old, here),
            )
        self._db.execute("UPDATE main.profile SET in_segment = 0 WHERE sync = ? AND in_segment > 0", (here,))
        self._db.execute(
            "INSERT INTO main.profile (sync, identity, in_segment, seen) "
            "SELECT sync, identity, in_segment, ? FROM other_member WHERE sync = ? AND field = ? "
            "ON CONFLICT DO UPDATE SET in_segment = excluded.in_segment",
            (self._today, here, new),
        )
        self._db.execute("DELETE FROM other_member WHERE sync = ? AND field = ?", (here, new))
        self._db.execute("UPDATE sync SET segment_field = ? WHERE id = ?", (new, here))
        return old

    def _field_on_record(self) -> str:
        row = self._db.execute("SELECT segment_field FROM sync WHERE id = ?", (self._sync,)).fetchone()
        field: str = row[0] if row else ""
        return field

    def _forget_old_names(self) -> int:
        """Take members off the record who are known by the other kind of name: nobody is told false for that."""
        ids = f"substr(identity, 1, {len(USER_ID_PREFIX)}) = '{USER_ID_PREFIX}'"
        old_kind = f"NOT {ids}" if self._policy.by_user_id else ids
        count = 0
        for table in ("main.profile", "other_member"):
            keep = "UPDATE main.profile SET in_segment = 0" if table == "main.profile" else "DELETE FROM other_member"
            count += self._db.execute(
                f"{keep} WHERE sync = ? AND in_segment > 0 AND {old_kind}", (self._sync,)
            ).rowcount
        return count
