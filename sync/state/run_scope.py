"""What the parts of the outbox share: one run of one sync, and the temporary tables that end with it."""

from __future__ import annotations

import enum
from typing import Any

from sync.state.exchange import Policy
from sync.state.file import CACHE_KIB, Cursor, State
from sync.state.schema import script


class Mark(enum.IntEnum):
    """What the state says about one payload of this run; run.sql says more."""

    NONE = 0
    UNCHANGED = 1
    PENDING = 2
    KNOWN_REJECTED = 3
    NEWLY_REJECTED = 4
    PRESENT = 5
    EXIT = 6


class RunScope:
    """One run of a sync, over an open state. `now` is in Unix seconds."""

    def __init__(self, state: State, sync: int, policy: Policy, now: float) -> None:
        self._state, self._db, self.policy = state, state.db, policy
        self._sync, self._today = sync, int(now // 86400)
        self._here = {
            "sync": sync,
            "now": int(now),
            "today": self._today,
            "field": policy.segment_field,
            "by_id": policy.by_user_id,
            "follows": policy.follows_addresses,
            "full": policy.full,
        }
        self.do(f"PRAGMA temp.cache_size=-{CACHE_KIB}")
        self.run("run")

    def do(self, statement: str, **values: Any) -> Cursor:
        """Run a statement, which may use the values of this run: :sync, :now, :today, :field, :by_id, ..."""
        return self._state.execute(statement, {**self._here, **values})

    def one(self, query: str, **values: Any) -> int:
        """The one number that a query gives."""
        return int(self.do(query, **values).fetchone()[0])

    def run(self, name: str, section: str = "", **values: Any) -> int:
        """Run a section of an SQL file of this package; how many rows it changed."""
        return sum(max(0, self.do(statement, **values).rowcount) for statement in script(name)[section])
