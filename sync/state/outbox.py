"""What one run owes: rows in, owed users out, outcomes back into the state.

In doubt, owed. Before anything is sent of a user, the state forgets what Iterable held of them (`claim`); it learns
the new payload only from Iterable's answer (`record`). So an answer that was never recorded means: send again, even
if the row went back to its old value meanwhile. What is owed stays in the state until it is delivered or rejected,
also when its row has left the result.

The rows of a run are collected in temporary tables of SQLite (a file that the system removes by itself), so a
million of them need no more memory than a thousand, and one commit turns them into debts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sync.rows.payloads import RowPayloads
from sync.state.claims import Claims
from sync.state.comparison import Comparison
from sync.state.debts import Debts
from sync.state.doubt import Doubt
from sync.state.file import State
from sync.state.outcomes import Outcomes
from sync.state.owed import OwedUser, Plan, Policy, UserOutcome
from sync.state.scope import RunScope


class Outbox:
    """The debts of one run at one destination. `today` is a day number since 1970."""

    def __init__(self, state: State, destination: int, policy: Policy, today: int) -> None:
        run = RunScope(state, destination, policy, today)
        self._comparison, self._debts, self._doubt = Comparison(run), Debts(run), Doubt(run)
        self._claims, self._outcomes = Claims(run, self._doubt), Outcomes(run, self._doubt)

    def load(self, rows: Iterable[RowPayloads]) -> int:
        """Take all rows of the result and return how many there were; a group at a time is in memory."""
        return self._comparison.load(rows)

    def plan(self) -> Plan:
        """Turn the collected rows into debts, in one commit, and say what they mean."""
        return self._debts.plan()

    def new_rejections(self) -> Iterator[tuple[str, str]]:
        """Who was rejected before any request, and why: (identity, reason)."""
        return self._debts.new_rejections()

    def claim(self, count: int) -> list[OwedUser]:
        """The next `count` owed users at most; the state forgets what Iterable held of them before this returns."""
        return self._claims.claim(count)

    def claim_leavers(self, count: int) -> list[OwedUser]:
        """As `claim`, for those who leave the segment: after a complete run, once everybody else was served."""
        return self._claims.claim_leavers(count)

    def claim_rest(self, user: OwedUser) -> OwedUser:
        """The events of a user that come after those of `user`, whatever became of these."""
        return self._claims.claim_rest(user)

    def preview(self) -> Iterator[OwedUser]:
        """All owed users and leavers, without touching the state; `preview_rest` has the further events of one."""
        return self._claims.preview()

    def preview_rest(self, user: OwedUser) -> Iterator[OwedUser]:
        """What `claim_rest` would give, time after time."""
        return self._claims.preview_rest(user)

    def record(self, outcomes: Sequence[UserOutcome]) -> None:
        """Put these outcomes on record in one commit; what failed stays owed."""
        self._outcomes.record(outcomes)

    def stay_in_doubt(self, user: OwedUser) -> None:
        """An attempt was made for this user, and another waits: what Iterable held before is not known any more."""
        self._doubt.stay_in_doubt(user)

    def refused_lines(self) -> Iterator[tuple[int, str]]:
        """Which rows of the result were newly rejected and why, in the order of the result, counted from 1."""
        return self._outcomes.refused_lines()
