"""Events that were just delivered, in that order, until they are sorted in among all that were delivered ever.

Their ids are as good as random: to put each group into its place among a million others at once would write a page of
the file for nearly every event. So they are put on record one after the other, and sorted in together when the run has
delivered all, or, where it was killed, by the next one. Whoever reads what is known of events reads it after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sync.state.file import State
from sync.state.scope import Part, RunScope


class DeliveredEvents(Part):
    """Those of one sync; what a run before left is sorted in at once."""

    def __init__(self, run: RunScope) -> None:
        super().__init__(run)
        self.sort_in()

    def put(self, events: Sequence[tuple[Any, ...]]) -> None:
        """Put events on record, each with its id, digest, fingerprint and number; inside a transaction."""
        self._db.executemany(
            "INSERT INTO delivered_event (sync, seen, id, digest, fingerprint, number) "
            f"VALUES ({self._sync}, {self._today}, ?, ?, ?, ?)",
            events,
        )

    def sort_in(self) -> None:
        """Put them where the state looks for what it knows of an event."""
        sort_in(self._state, self._sync)


def sort_in(state: State, sync: int) -> None:
    """Put what runs of this sync delivered, and had no time to sort in, where the state looks for it."""
    with state.errors_explained():
        (some,) = state.db.execute("SELECT EXISTS (SELECT 1 FROM delivered_event WHERE sync = ?)", (sync,)).fetchone()
    if not some:
        return
    with state.transaction():
        state.db.execute(
            "INSERT INTO main.event (sync, id, delivered, seen, fingerprint, number) "
            "SELECT sync, id, digest, seen, fingerprint, number FROM delivered_event WHERE sync = ? ORDER BY id "
            "ON CONFLICT DO UPDATE SET delivered = excluded.delivered, rejected = NULL, reason = NULL, "
            "seen = excluded.seen, fingerprint = excluded.fingerprint, number = COALESCE(number, excluded.number)",
            (sync,),
        )
        state.db.execute("DELETE FROM delivered_event WHERE sync = ?", (sync,))
