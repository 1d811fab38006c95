"""What is owed, found by user: for one run, in temporary tables.

The file holds what is owed in the order of its delivery and keeps no index of users. Their names are as good as random
in that order, so that each user who is served would write another page of such an index to the disk. What a run needs
of it is sorted once, and goes with the run.
"""

from __future__ import annotations

from sync.state.scope import Part, RunScope

TABLES = """
CREATE TEMP TABLE owing (identity TEXT PRIMARY KEY, place INTEGER) WITHOUT ROWID;
CREATE TEMP TABLE due (
    identity TEXT NOT NULL, moment INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (identity, moment, place)
) WITHOUT ROWID;
"""
"""`owing`: who was owed something or had something set aside when the run began, and the place in owed_user, if any;
once the debts are put, also who is not in the result and came to a place by them.
`due`: the owed events of each user, oldest first; those that were paid or set aside since are still there."""


class Spool(Part):
    """The debts of one sync, by user."""

    def __init__(self, run: RunScope) -> None:
        super().__init__(run)
        with self._state.errors_explained():
            self._db.executescript(TABLES)
        with self._state.snapshot():
            self._db.execute(
                "INSERT INTO temp.owing SELECT identity, place FROM owed_user WHERE sync = ? ORDER BY identity",
                (self._sync,),
            )
            self._db.execute(
                "INSERT OR IGNORE INTO temp.owing SELECT DISTINCT identity, NULL FROM owed_event WHERE sync = ? "
                "ORDER BY identity",
                (self._sync,),
            )

    def index_events(self) -> None:
        """Find all events that are owed now; inside a transaction."""
        self._db.execute(
            "INSERT INTO temp.due SELECT identity, moment, place FROM owed_event WHERE sync = ? AND aside = 0 "
            "ORDER BY identity, moment, place",
            (self._sync,),
        )
