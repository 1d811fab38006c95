"""What one run owes: rows in, owed users out, outcomes back into the state.

In doubt, owed. Before anything is sent of a user, the state forgets what Iterable held of them (`claim`); it learns
the new payload only from Iterable's answer (`record`). So an answer that was never recorded means: send again, even
if the row went back to its old value meanwhile. What is owed stays in the state until it is delivered or rejected,
also when its row has left the result.

The rows of a run are collected in temporary tables of SQLite (a file that the system removes by itself), so a
million of them need no more memory than a thousand, and one commit turns them into debts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sync.rows.columns import Values
from sync.rows.reading import Reading
from sync.state.claims import Claims
from sync.state.comparison import Comparison
from sync.state.debts import Debts
from sync.state.delivered import Delivered
from sync.state.doubt import Doubt
from sync.state.file import State
from sync.state.outcomes import Outcomes
from sync.state.owed import OwedUser, Plan, Policy, UserOutcome
from sync.state.scope import RunScope
from sync.state.spool import Spool
from sync.state.unchanged import Unchanged


class Outbox:
    """The debts of one run of a sync. `today` is a day number since 1970."""

    def __init__(self, state: State, sync: int, policy: Policy, today: int) -> None:
        self.scope = run = RunScope(state, sync, policy, today)
        self._delivered = Delivered(run)  # first: the others look at what it sorts in
        spool = Spool(run)
        self._unchanged = Unchanged(run)
        self._comparison, self._debts = Comparison(run, self._unchanged), Debts(run, self._unchanged, spool)
        self._doubt = Doubt(run)
        self._claims, self._outcomes = Claims(run, self._doubt), Outcomes(run, self._doubt, self._delivered)

    def take(self, rows: Iterable[Values], reading: Reading) -> Iterator[Values]:
        """Take the rows of the result as they are asked for, and hand each on; a group at a time is in memory."""
        return self._comparison.take(rows, reading)

    def load(self, rows: Iterable[Values], reading: Reading) -> int:
        """Take all rows of the result, for whom nobody waits, and return how many there were."""
        return sum(1 for _ in self.take(rows, reading))

    def plan(self, put_on_record: Callable[[], object] = lambda: None) -> Plan:
        """Turn the collected rows into debts, in one commit with `put_on_record`, and say what they mean."""
        return self._debts.plan(put_on_record)

    def new_rejections(self) -> Iterator[tuple[str, str]]:
        """Who was rejected before any request, and why: (identity, reason)."""
        return self._debts.new_rejections()

    def claim(self, count: int, events: int) -> list[OwedUser]:
        """The next `count` users at most, with `events` of their events, shared out evenly; see `Claims`."""
        return self._claims.claim(count, events)

    def claim_rest(self, users: Sequence[OwedUser], events: int) -> list[OwedUser]:
        """The events that come after the last of each of these users, whatever became of those."""
        return self._claims.claim_rest(users, events)

    def claim_drawn(self, ranks: Sequence[int], events: int, *, failed_before: bool) -> list[OwedUser]:
        """Users who are far from their turn: those of these ranks, from 0, in `count_unclaimed`."""
        return self._claims.claim_drawn(ranks, events, failed_before=failed_before)

    def count_unclaimed(self, *, failed_before: bool) -> int:
        """How many users wait for their first claim: known failers, or the others."""
        return self._claims.count_unclaimed(failed_before=failed_before)

    def names_to_be_freed(self) -> list[str]:
        """The addresses that one user gives up in this run and another takes."""
        return self._claims.names_to_be_freed()

    def told_moves(self) -> Iterator[tuple[str, str]]:
        """Whose address changed and is not moved, and why: (identity, reason)."""
        return self._debts.people.told()

    def lacking(self) -> Iterator[tuple[str, str]]:
        """Whose profile is owed and goes without the other name, and why: (identity, reason)."""
        return self._debts.people.lacking()

    def count_rest(self, user: OwedUser) -> int:
        """How many events of this user come after the last of these."""
        return self._claims.count_rest(user)

    def record(self, outcomes: Sequence[UserOutcome]) -> None:
        """Put these outcomes on record in one commit; what failed stays owed."""
        self._outcomes.record(outcomes)

    def stay_in_doubt(self, user: OwedUser) -> None:
        """An attempt was made for this user, and another waits: what Iterable held before is not known any more."""
        self._doubt.stay_in_doubt(user)

    def remember(self) -> None:
        """Sort in what was delivered, and keep by what the next run knows these rows; done last."""
        self._delivered.sort_in()
        self._unchanged.remember()

    def refused_lines(self) -> Iterator[tuple[int, str]]:
        """Which rows of the result were newly rejected and why, in the order of the result, counted from 1."""
        return self._outcomes.refused_lines()

    def stops_in_a_row(self) -> int:
        """How many runs in a row, the last ones, the stop rule for failing calls has stopped."""
        return self._outcomes.stops_in_a_row()

    def record_end(self, *, stopped_by_rule: bool) -> None:
        """Count one more run in a row that the rule stopped, or begin anew."""
        self._outcomes.record_end(stopped_by_rule=stopped_by_rule)
