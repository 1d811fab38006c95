"""What the parts of the outbox share: one run at one sync, and the tables that it collects rows in."""

from __future__ import annotations

from typing import Any

from sync.state.file import CACHE_KIB, State
from sync.state.owed import Mark, Policy

GROUP = 500

SCAN = """
CREATE TEMP TABLE scan_user (
    position INTEGER PRIMARY KEY, identity TEXT NOT NULL, moment INTEGER NOT NULL, line INTEGER NOT NULL,
    mark INTEGER NOT NULL, digest BLOB, body TEXT, reason TEXT, lacks TEXT,
    address TEXT, kept TEXT, fingerprint BLOB
);
CREATE TEMP TABLE scan_person (
    position INTEGER PRIMARY KEY, person TEXT NOT NULL, identity TEXT NOT NULL, moment INTEGER NOT NULL,
    line INTEGER NOT NULL, mark INTEGER NOT NULL, digest BLOB, body TEXT, reason TEXT, lacks TEXT, kept TEXT,
    fingerprint BLOB
);
CREATE TEMP TABLE scan_event (
    position INTEGER PRIMARY KEY, id BLOB NOT NULL, identity TEXT NOT NULL, moment INTEGER NOT NULL,
    line INTEGER NOT NULL, mark INTEGER NOT NULL, digest BLOB NOT NULL, body TEXT, reason TEXT,
    person TEXT, kept TEXT, fingerprint BLOB
);
CREATE TEMP TABLE repeated_user (first INTEGER PRIMARY KEY, key TEXT NOT NULL, newest INTEGER NOT NULL);
CREATE TEMP TABLE repeated_event (id BLOB PRIMARY KEY, first INTEGER NOT NULL);
CREATE TEMP TABLE merged (  -- rows that an earlier one counts for, though they differ from it
    line INTEGER NOT NULL, kind TEXT NOT NULL, identity TEXT NOT NULL, PRIMARY KEY (line, kind)
) WITHOUT ROWID;
CREATE INDEX temp.scan_event_person ON scan_event (person) WHERE person IS NOT NULL;
CREATE TEMP TABLE move (
    place INTEGER PRIMARY KEY, person TEXT NOT NULL UNIQUE, old TEXT NOT NULL, new TEXT NOT NULL, perhaps TEXT,
    level INTEGER, told TEXT
);
CREATE INDEX temp.move_old ON move (old);
CREATE INDEX temp.move_new ON move (new);
CREATE TEMP TABLE stale (old TEXT PRIMARY KEY, new TEXT NOT NULL, in_result INTEGER NOT NULL);
CREATE TEMP TABLE perhaps_of (identity TEXT NOT NULL, person TEXT NOT NULL, PRIMARY KEY (identity, person));
CREATE TEMP TABLE leaver (place INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE);
CREATE TEMP TABLE turn (
    place INTEGER PRIMARY KEY, identity TEXT NOT NULL, leaves INTEGER NOT NULL, failed_before INTEGER NOT NULL,
    owed INTEGER, in_result INTEGER NOT NULL
);
CREATE TEMP TABLE refused_line (line INTEGER PRIMARY KEY, reason TEXT NOT NULL);
"""


class RunScope:
    """One run of a sync, over an open state. `today` is a day number since 1970."""

    def __init__(self, state: State, sync: int, policy: Policy, today: int) -> None:
        self.state, self.db = state, state.db
        self.sync, self.policy, self.today = sync, policy, today
        self.exit_held_back = False
        self._marks: set[Mark] = set()
        with state.errors_explained():
            self.db.execute(f"PRAGMA temp.cache_size=-{CACHE_KIB}")
            self.db.executescript(SCAN)

    def takes(self, mark: Mark) -> None:
        """Take note that a payload of the result has this mark."""
        self._marks.add(mark)

    def may_have(self, *marks: Mark) -> bool:
        """Whether any payload has one of these marks: what surely is not there need not be looked for.

        Where addresses are followed, marks change once all rows are there.
        """
        return self.policy.follows_addresses or not self._marks.isdisjoint(marks)

    def serves(self) -> str:
        """Whom this run serves: a whole_window run everybody, any other only the users of its rows.

        While a mass exit is held back nobody knows whether who is not in the result has left it; they wait.
        """
        everybody = self.policy.whole_window and not self.exit_held_back
        own = "true" if everybody else "o.identity IN (SELECT identity FROM temp.scan_user)"
        return f"{own} AND o.identity NOT IN (SELECT identity FROM temp.leaver)"

    def one(self, query: str, *values: Any) -> int:
        """The one number that a query gives."""
        return int(self.db.execute(query, values).fetchone()[0])


class Part:
    """A part of the outbox: what it is asked about is the run of its scope."""

    def __init__(self, run: RunScope) -> None:
        self._run = run
        self._state, self._db = run.state, run.db
        self._sync, self._policy, self._today = run.sync, run.policy, run.today
