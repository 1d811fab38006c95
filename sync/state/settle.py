"""The end of a payload's life in a run: what became of all that was claimed is put on record (settle.sql)."""

from __future__ import annotations

from sync.state.file import State
from sync.state.schema import script


def settle(state: State, sync: int, today: int) -> None:
    """Put on record what became of all that was claimed of this sync. `today` is a day number since 1970.

    The run does so at its end, or else the next run at its start; there is no other recovery. Addresses and ids come in
    random order, so putting each answer into its place at once would write a page of the file for nearly every one.
    Settled together, they are sorted, and written one after the other.
    """
    here = {"sync": sync, "today": today}
    claimed = "SELECT EXISTS (SELECT 1 FROM pending WHERE sync = :sync AND state BETWEEN 1 AND 4)"
    if state.execute(claimed, here).fetchone()[0]:
        with state.transaction():
            for statement in script("settle")[""]:
                state.execute(statement, here)
