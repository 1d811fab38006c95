"""What the state says at the end of a run, in numbers: what is pending and since when, and who is in the segment."""

from __future__ import annotations

from typing import NamedTuple

from sync.state.file import State


class Figures(NamedTuple):
    """Of one sync. `oldest_pending` is the age in seconds of what has been pending for longest; 0 when nothing is.

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
