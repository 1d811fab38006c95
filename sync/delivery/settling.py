"""Users who wait for a name: until Iterable has settled their own move, or until another user's move frees it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from itertools import count

from sync.delivery.watch import Piece
from sync.state.owed import Outcome, OwedUser, PayloadResult

MOST_SETTLING = 20_000
"""Moved users who wait at once, of a few kilobytes each: more than are moved within three minutes."""


class Settling:
    """The pieces that wait. `seconds` is how long after a move the requests that depend on it wait.

    `to_be_freed` are the addresses that one user gives up in this run and another takes.
    """

    def __init__(self, seconds: float, clock: Callable[[], float], to_be_freed: Iterable[str] = ()) -> None:
        self._seconds, self._clock = seconds, clock
        self._held = set(to_be_freed)
        self._due: list[tuple[float, int, Piece]] = []
        self._for_name: dict[str, list[Piece]] = {}
        self._named = 0
        self._never_free: set[str] = set()
        self._number = count()

    def __len__(self) -> int:
        return len(self._due) + self._named

    @property
    def is_full(self) -> bool:
        """Whether so many wait that others have to wait for them; time alone frees these places."""
        return len(self._due) >= MOST_SETTLING

    def add(self, piece: Piece) -> None:
        """Keep a user who was just moved."""
        self._push(piece, self._seconds)

    def must_wait(self, piece: Piece) -> bool:
        """Whether this piece waits for a name that is not free yet; then it is kept."""
        name = piece.users[0].identity
        if name not in self._held:
            return False
        self._for_name.setdefault(name, []).append(piece)
        self._named += 1
        return True

    def move_ended(self, user: OwedUser, result: PayloadResult) -> None:
        """Take note of the end of a move: who waits for its old name waits no longer, or in vain."""
        for name in user.move.sources if user.move else ():
            if result.outcome is not Outcome.DELIVERED:
                self._never_free.add(name)
                continue
            self._held.discard(name)
            for piece in self._take(name):
                self._push(piece, self._seconds if result.moved else 0.0)

    def in_vain(self) -> list[Piece]:
        """Take the pieces that wait for a name that will not be free in this run; asked when all else is done."""
        names = self._never_free & self._for_name.keys() if self._due else set(self._for_name)
        return [piece for name in names for piece in self._take(name)]

    def due(self) -> list[Piece]:
        """Take the pieces that have waited long enough."""
        ready = []
        while self._due and self._due[0][0] <= self._clock():
            ready.append(heapq.heappop(self._due)[2])
        return ready

    def seconds_left(self) -> float:
        """How long until the next one is due."""
        return max(0.0, self._due[0][0] - self._clock()) if self._due else 0.0

    def clear(self) -> list[Piece]:
        """Take all pieces."""
        pieces = [entry[2] for entry in sorted(self._due, key=lambda entry: entry[:2])]
        pieces += [piece for name in list(self._for_name) for piece in self._take(name)]
        self._due.clear()
        return pieces

    def _take(self, name: str) -> list[Piece]:
        pieces = self._for_name.pop(name, [])
        self._named -= len(pieces)
        return pieces

    def _push(self, piece: Piece, seconds: float) -> None:
        heapq.heappush(self._due, (self._clock() + seconds, next(self._number), piece))
