"""What a run does with the state: rows in, pending users out, outcomes back."""

from __future__ import annotations

from sync.state.backlog import Backlog
from sync.state.claims import Claims
from sync.state.comparison import Comparison
from sync.state.exchange import Policy
from sync.state.file import State
from sync.state.outcomes import Outcomes, settle


class Outbox(Comparison, Backlog, Claims, Outcomes):
    """One run of a sync: `load`, `plan`, `claim` and `record` until nothing is left, `remember`.

    `now` is in Unix seconds. Each step is described where it is made, in the file of the same name as its class.
    """

    def __init__(self, state: State, sync: int, policy: Policy, now: float) -> None:
        settle(state, sync, int(now // 86400))
        super().__init__(state, sync, policy, now)

    def remember(self) -> None:
        """Settle what this run has done, and keep the fingerprints of rows whose bodies were made, for the next run."""
        settle(self._state, self._sync, self._today)
        with self._state.transaction():
            self.run("addresses", "known by")
            self.run("backlog", "after delivery")

    def stops_in_a_row(self) -> int:
        """How many of the last runs, in a row, the stop rule for failing calls has stopped."""
        return self.one("SELECT stops_in_a_row FROM sync WHERE id = :sync")

    def record_end(self, *, stopped_by_rule: bool) -> None:
        """Count one more run in a row that the rule stopped, or start again at 0."""
        with self._state.transaction():
            self.do(
                "UPDATE sync SET stops_in_a_row = CASE WHEN :stopped THEN stops_in_a_row + 1 ELSE 0 END "
                "WHERE id = :sync",
                stopped=stopped_by_rule,
            )
