"""What the state says at the end of a run, in numbers: what is owed and since when, and who is in the segment."""

from __future__ import annotations

from typing import NamedTuple

from sync.state.file import State


class Figures(NamedTuple):
    """Of one sync. `oldest_debt` is the age in seconds of what has been owed for longest; 0 when nothing is owed."""

    owed_users: int
    owed_events: int
    segment_users: int
    oldest_debt: float


_MEMBERS = (
    "(SELECT COUNT(*) FROM profile WHERE sync = :sync AND in_segment IN (1, 2)) + (SELECT COUNT(*) FROM (SELECT "
    "identity FROM delivered_profile WHERE sync = :sync AND in_segment UNION ALL SELECT identity FROM owed_user "
    "WHERE sync = :sync AND in_doubt = 2) n WHERE NOT EXISTS (SELECT 1 FROM profile p WHERE p.sync = :sync "
    "AND p.identity = n.identity AND p.in_segment IN (1, 2)))"
)
"""Who is in the segment, or may be; also where a run was ended before it sorted in what it had delivered."""


def note_debts(state: State, sync: int, now: float, *, planned: bool) -> Figures:
    """Put on record since when users are owed something, and count.

    `now` is in Unix seconds; `planned` that the run knew who is owed what. Who is to be told that he has left the
    segment, and was not, is owed that.
    """
    with state.transaction():
        here = {"sync": sync, "now": int(now)}
        if planned:
            owing = (
                "SELECT identity FROM owed_user WHERE sync = :sync AND aside = 0 UNION SELECT l.identity "
                "FROM temp.leaver l JOIN profile p ON p.sync = :sync AND p.identity = l.identity "
                "AND p.in_segment IN (1, 2)"
            )
            state.db.execute(
                f"INSERT OR IGNORE INTO debt (sync, identity, since) SELECT :sync, identity, :now FROM ({owing})", here
            )
            state.db.execute(f"DELETE FROM debt WHERE sync = :sync AND identity NOT IN ({owing})", here)
        owed_users, owed_events, members, since = state.db.execute(
            "SELECT (SELECT COUNT(*) FROM owed_user WHERE sync = :sync AND aside = 0 AND body IS NOT NULL) + "
            "(SELECT COUNT(*) FROM debt WHERE sync = :sync "
            "AND identity NOT IN (SELECT identity FROM owed_user WHERE sync = :sync)), "
            "(SELECT COUNT(*) FROM owed_event WHERE sync = :sync AND aside = 0), "
            f"{_MEMBERS}, "
            "(SELECT MIN(since) FROM debt WHERE sync = :sync)",
            here,
        ).fetchone()
    return Figures(owed_users, owed_events, members, max(0.0, now - since) if since is not None else 0.0)
