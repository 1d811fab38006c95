"""What the state says at the end of a run, in numbers: what is owed and since when, and who is in the segment."""

from __future__ import annotations

from typing import NamedTuple

from sync.state.file import State
from sync.state.syncs import SyncName


class Figures(NamedTuple):
    """Of one sync. `oldest_debt` is the age in seconds of what has been owed for longest; 0 when nothing is owed."""

    owed_users: int
    owed_events: int
    segment_users: int
    oldest_debt: float


def note_debts(state: State, sync: SyncName, now: float) -> Figures | None:
    """Put on record since when users are owed something, and count; None for a sync of which nothing is known.

    `now` is in Unix seconds.
    """
    with state.transaction():
        found = state.db.execute(
            "SELECT id FROM sync WHERE name = ? AND destination = ?", (sync.name, sync.destination or sync.project)
        ).fetchone()
        if found is None:
            return None
        here = {"sync": found[0], "now": int(now)}
        state.db.execute(
            "INSERT OR IGNORE INTO debt (sync, identity, since) "
            "SELECT sync, identity, :now FROM owed_user WHERE sync = :sync AND aside = 0",
            here,
        )
        state.db.execute(
            "DELETE FROM debt WHERE sync = :sync AND NOT EXISTS (SELECT 1 FROM owed_user o "
            "WHERE o.sync = debt.sync AND o.identity = debt.identity AND o.aside = 0)",
            here,
        )
        owed_users, owed_events, members, since = state.db.execute(
            "SELECT (SELECT COUNT(*) FROM owed_user WHERE sync = :sync AND aside = 0 AND body IS NOT NULL), "
            "(SELECT COUNT(*) FROM owed_event WHERE sync = :sync AND aside = 0), "
            "(SELECT COUNT(*) FROM profile WHERE sync = :sync AND in_segment IN (1, 2)), "
            "(SELECT MIN(since) FROM debt WHERE sync = :sync)",
            here,
        ).fetchone()
    return Figures(owed_users, owed_events, members, max(0.0, now - since) if since is not None else 0.0)
