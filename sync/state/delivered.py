"""What was just delivered, in that order, until it is sorted in among all that was delivered ever.

Addresses and the ids of events are as good as random: to put each group into its place among a million others at once
would write a page of the file for nearly every one. So deliveries are put on record one after the other, and sorted in
together when the run has served all, or, where it was killed, by the next one. The same goes for profiles in doubt,
which the spool flags meanwhile. Whoever reads what is known of profiles and events reads it after that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sync.state.file import State
from sync.state.scope import Part, RunScope

IN_DOUBT = (
    "ON CONFLICT DO UPDATE SET delivered = NULL, fingerprint = NULL, "
    "in_segment = CASE WHEN excluded.in_segment AND in_segment IN (0, 3) THEN 2 ELSE in_segment END"
)
"""How a profile that is on record comes to be in doubt; who was out of the segment may be in it then."""


class _Numbers:
    """Gives numbers one after the other, as `next_number()` of the database. See unchanged.py for what."""

    def __init__(self, state: State) -> None:
        self._db = state.db
        self._given = 0
        # Once for all: it could not be replaced while a statement is under way.
        self._db.create_function("next_number", 0, self._next)

    def _next(self) -> int:
        self._given += 1
        return self._given

    @contextmanager
    def of(self, sync: int) -> Iterator[None]:
        """A block in which they are those of this sync; it has no gaps, for each takes memory in every run."""
        (self._given,) = self._db.execute("SELECT numbers FROM sync WHERE id = ?", (sync,)).fetchone()
        yield
        self._db.execute("UPDATE sync SET numbers = ? WHERE id = ?", (self._given, sync))


class Delivered(Part):
    """The deliveries of one sync; what a run before left is sorted in at once."""

    def __init__(self, run: RunScope) -> None:
        super().__init__(run)
        self._numbers = _Numbers(self._state)
        self.sort_in()

    def put_profiles(self, profiles: Iterable[tuple[Any, ...]]) -> None:
        """Put profiles on record: identity, digest, fingerprint or None, in_segment, moment; inside a transaction."""
        self._put("profile", ("identity", "digest", "fingerprint", "in_segment", "moment"), profiles)
        if self._policy.follows_addresses:  # an address that moves takes along what is on record of it
            with self._numbers.of(self._sync):
                _merge_profiles(self._state, self._sync)

    def put_events(self, events: Iterable[tuple[Any, ...]]) -> None:
        """Put events on record: id, digest, fingerprint or None; inside a transaction."""
        self._put("event", ("id", "digest", "fingerprint"), events)

    def _put(self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
        self._db.executemany(
            f"INSERT INTO delivered_{table} (sync, seen, {', '.join(columns)}) "
            f"VALUES ({self._sync}, {self._today}{', ?' * len(columns)})",
            rows,
        )

    def sort_in(self) -> None:
        """Put all of it where the state looks for what it knows."""
        _sort_in(self._state, self._sync, self._today, self._numbers)


def sort_in(state: State, sync: int, today: int) -> None:
    """Put what runs of this sync delivered, or left in doubt, where the state looks for it.

    `today` is a day number since 1970.
    """
    _sort_in(state, sync, today, _Numbers(state))


_WAITING = (
    "SELECT EXISTS (SELECT 1 FROM delivered_profile WHERE sync = :sync) "
    "OR EXISTS (SELECT 1 FROM delivered_event WHERE sync = :sync) "
    "OR EXISTS (SELECT 1 FROM owed_user WHERE sync = :sync AND in_doubt > 0)"
)


def _sort_in(state: State, sync: int, today: int, numbers: _Numbers) -> None:
    with state.errors_explained():
        (waiting,) = state.db.execute(_WAITING, {"sync": sync}).fetchone()
    if not waiting:
        return
    with state.transaction():
        with numbers.of(sync):
            _merge_profiles(state, sync)
            _merge(state, sync, "event", "id", ())
        _put_doubts(state, sync, today)


def _merge_profiles(state: State, sync: int) -> None:
    _merge(state, sync, "profile", "identity", ("in_segment", "moment"), ", again = 0")


def _merge(state: State, sync: int, table: str, key: str, columns: Sequence[str], also: str = "") -> None:
    """Sort in one kind; what has a fingerprint and no number yet gets one."""
    kept = ("seen", "fingerprint", *columns)
    state.db.execute(
        f"INSERT INTO main.{table} (sync, {key}, delivered, {', '.join(kept)}, number) "
        f"SELECT d.sync, d.{key}, d.digest, {', '.join(f'd.{column}' for column in kept)}, "
        "CASE WHEN d.fingerprint IS NOT NULL AND known.number IS NULL THEN next_number() END "
        f"FROM delivered_{table} d LEFT JOIN main.{table} known ON known.sync = d.sync AND known.{key} = d.{key} "
        f"WHERE d.sync = ? ORDER BY d.{key}, d.place ON CONFLICT DO UPDATE SET delivered = excluded.delivered, "
        f"rejected = NULL, reason = NULL, {', '.join(f'{column} = excluded.{column}' for column in kept)}, "
        f"number = COALESCE(number, excluded.number){also}",
        (sync,),
    )
    state.db.execute(f"DELETE FROM delivered_{table} WHERE sync = ?", (sync,))


def _put_doubts(state: State, sync: int, today: int) -> None:
    """What was claimed and has no answer on record: Iterable may hold it, and its user may be in the segment."""
    state.db.execute(
        "INSERT INTO main.profile (sync, identity, in_segment, seen) SELECT sync, identity, "
        "CASE in_doubt WHEN 2 THEN 2 ELSE 0 END, ? FROM owed_user WHERE sync = ? AND in_doubt > 0 "
        f"ORDER BY identity {IN_DOUBT}",
        (today, sync),
    )
    state.db.execute("UPDATE owed_user SET in_doubt = 0 WHERE sync = ? AND in_doubt > 0", (sync,))
