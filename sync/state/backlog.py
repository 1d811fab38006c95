"""What follows from a result: who is who, who leaves the segment, and what is pending, in the order of delivery.

Where the address is the identity and the user id is known, a changed address is changed at Iterable
(`users/updateEmail`) before anything else is sent for that user, and persons may share an address (addresses.sql).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from sync.state.exchange import Merged, Plan
from sync.state.file import State
from sync.state.run_scope import Mark, RunScope

SMALL_SEGMENT: Final = 10
"""Members: a smaller segment may empty without a question."""

_IDENTITY: Final = "CASE WHEN :by_id THEN s.person ELSE COALESCE(u.address, s.person) END"
_WITH_USER: Final = "temp.scan s LEFT JOIN temp.scan u ON u.key = s.person AND u.line IS NOT NULL"


_SENTENCES: Final = {
    "still_shared": "another user id still has the address %s",
    "already_taken": "another user id has the address %s as well",
    "changed_places": (
        "user id %s wants the address %s of another user, who in turn waits for an address that is not free (a swap): "
        "give one of them a third address, run once, then set the right one"
    ),
}


class Backlog(RunScope):
    """Turns the compared rows into the backlog of this run, in one commit."""

    def plan(self, put_on_record: Callable[[], object] = lambda: None) -> Plan:
        """Turn the collected rows into a backlog, in one commit with `put_on_record`, and say what they mean.

        If `put_on_record` raises, all of it is undone.
        """
        plan = Plan()
        with self._state.transaction():
            put_on_record()
            plan.segment_renamed_from = self._take_up_field()
            plan.members_renamed = self.run("backlog", "old names")
            self._settle_names(plan)
            self.run("backlog", "derive")
            if self.policy.retry_rejected or self.policy.full:
                self.run("backlog", "ask again")
            self._find_exits(plan)
            self.run("backlog", "carry over", everybody=self.policy.whole_window and not plan.exit_held_back)
            if not plan.exit_held_back:
                self.run("backlog", "exits")
            self._count(plan)
            self.run("backlog", "rejections and ages", everybody=self.policy.whole_window)
            self.run("backlog", "line up")
            plan.pending_users = self.one("SELECT COUNT(*) FROM temp.turn WHERE NOT leaves")
        return plan

    def _take_up_field(self) -> str:
        """From here on, what is pending is about this run's field; returns that of the last run, if it was another."""
        (old,) = self.do("SELECT segment_field FROM sync WHERE id = :sync").fetchone()
        if old == self.policy.segment_field:
            return ""
        self.run("backlog", "another field")
        return str(old)

    def _settle_names(self, plan: Plan) -> None:
        """Settle who is who in the rows of the result."""
        if self.policy.address_ids:
            self.run("addresses", "former ids")
        if self.policy.by_user_id:
            self.run("addresses", "the id identifies")
        if self.policy.follows_addresses:
            self.run("addresses", "changes")
            while self.run("addresses", "not made", **_SENTENCES):
                pass
            self.run("addresses", "one user")
            self.run("addresses", "waits", **_SENTENCES)
            plan.moves = self.one(
                "SELECT COUNT(*) FROM temp.change c CROSS JOIN temp.scan s ON s.key = c.person AND s.mark = 2 "
                "WHERE c.reason IS NULL AND c.person NOT IN (SELECT person FROM temp.waits)"
            )

    def _find_exits(self, plan: Plan) -> None:
        """Members who are not in the result leave the segment, unless too many would leave."""
        if self.policy.whole_window and self.policy.segment_field:
            plan.leaving = self.run("backlog", "gone")
            plan.segment_size = self.one("SELECT COUNT(*) FROM member WHERE sync = :sync AND field = :field")
            many = plan.segment_size >= SMALL_SEGMENT and plan.leaving * 2 > plan.segment_size
            plan.exit_held_back = many and not self.policy.allow_mass_exit

    def _count(self, plan: Plan) -> None:
        """Everything but what is pending has its outcome now."""
        found = {
            (bool(is_profile), Mark(mark)): count
            for is_profile, mark, count in self.do(
                "SELECT moment IS NULL, mark, COUNT(*) FROM temp.scan GROUP BY moment IS NULL, mark"
            )
        }
        for is_profile, counts in ((True, plan.users), (False, plan.events)):
            counts.unchanged = found.get((is_profile, Mark.UNCHANGED), 0)
            counts.newly_rejected = found.get((is_profile, Mark.NEWLY_REJECTED), 0)
            counts.rejected = counts.newly_rejected + found.get((is_profile, Mark.KNOWN_REJECTED), 0)
        plan.pending_profiles, plan.pending_events = (found.get((kind, Mark.PENDING), 0) for kind in (True, False))
        plan.leavers = found.get((True, Mark.EXIT), 0)
        if not plan.exit_held_back:
            plan.leaving = plan.leavers
        plan.second_name_missing = self.one("SELECT COUNT(lacks) FROM temp.scan")
        plan.merged_rows = self.one("SELECT COUNT(DISTINCT line) FROM temp.merged")
        plan.merged_events, plan.merged_profiles = self._merged("event"), self._merged("profile")

    def _merged(self, kind: str) -> Merged:
        query = "SELECT COUNT(*), MIN(line), identity FROM temp.merged WHERE kind = :kind"  # the identity of that line
        rows, first, identity = self.do(query, kind=kind).fetchone()
        return Merged(rows, first, identity) if rows else Merged()

    def new_rejections(self) -> Iterator[tuple[str, str]]:
        """Users who were rejected before any request, and why: (identity, reason)."""
        yield from self.do(
            f"SELECT {_IDENTITY}, s.reason FROM {_WITH_USER} WHERE s.mark = 4 AND s.reason IS NOT NULL "
            "AND (s.moment IS NULL OR u.mark NOT IN (3, 4))"
        )

    def lacking(self) -> Iterator[tuple[str, str]]:
        """Users whose profile is pending without the other name, and why: (identity, reason)."""
        yield from self.do(f"SELECT {_IDENTITY}, s.lacks FROM {_WITH_USER} WHERE s.lacks IS NOT NULL AND s.mark = 2")

    def changes_not_made(self) -> Iterator[tuple[str, str]]:
        """Users whose address changed but is not changed at Iterable, and why: (identity, reason)."""
        yield from self.do("SELECT person, reason FROM temp.change WHERE reason IS NOT NULL ORDER BY line")

    def waiting(self) -> Iterator[tuple[str, str]]:
        """Users who take an address that another user gives up, and so wait for the next run: (identity, address)."""
        yield from self.do("SELECT person, address FROM temp.waits")


class Figures(NamedTuple):
    """What the state says of one sync at the end of a run. `oldest_pending` is the age in seconds of what has been
    pending for longest; 0 when nothing is.

    What is tried again in every run because of a name conflict is not counted.
    """

    pending_users: int
    pending_events: int
    segment_users: int
    oldest_pending: float


def read_figures(state: State, sync: int, now: float) -> Figures:
    """Count, even if a run ended before it was settled. `now` is in Unix seconds."""
    with state.errors_explained():
        (field,) = state.db.execute("SELECT segment_field FROM sync WHERE id = ?", (sync,)).fetchone()
        here = {"sync": sync, "field": field}
        profiles, events, since = state.db.execute(
            "SELECT COUNT(*) FILTER (WHERE moment IS NULL), COUNT(moment), MIN(since) FROM pending "
            "WHERE sync = :sync AND state < 3 AND reason IS NULL",
            here,
        ).fetchone()
        (members,) = state.db.execute(
            "SELECT COUNT(*) FROM (SELECT person FROM member WHERE sync = :sync AND field = :field UNION "
            "SELECT person FROM pending WHERE sync = :sync AND state IN (1, 2, 3) AND moment IS NULL AND inside = 1 "
            "AND :field <> '' EXCEPT SELECT person FROM pending WHERE sync = :sync AND state = 3 AND inside = -1)",
            here,
        ).fetchone()
    return Figures(profiles, events, members, max(0.0, now - since) if since is not None else 0.0)
