"""What waits for a worker: pieces in the order in which they go out, and who of them may still be drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from sync.delivery.watch import Piece
from sync.state.owed import OwedUser


class Waiting:
    """Pieces that wait for a worker: halves of failed batches first, so that the sibling of a failed half is next."""

    def __init__(self) -> None:
        self._halves: deque[Piece] = deque()
        self._ready: deque[Piece] = deque()

    def __bool__(self) -> bool:
        return bool(self._halves or self._ready)

    @property
    def only_throttled(self) -> bool:
        """Whether nobody waits but those who were tried, and wait for the quota."""
        return not self._halves and all(piece.tried for piece in self._ready)

    def add(self, users: Sequence[OwedUser], size: int) -> None:
        """Queue users who were just claimed, in pieces of `size`; who is served apart is a piece of his own."""
        self._ready.extend(Piece((user,)) for user in users if user.apart)
        others = [user for user in users if not user.apart]
        self._ready.extend(Piece(tuple(others[start : start + size])) for start in range(0, len(others), size))

    def add_last(self, piece: Piece) -> None:
        """Queue a piece behind all others."""
        self._ready.append(piece)

    def add_first(self, halves: Iterable[Piece], others: Sequence[Piece]) -> None:
        """Queue what is left of a piece that was begun: the halves behind other halves, the `others` in front."""
        self._halves.extend(halves)
        self._ready.extendleft(reversed(others))

    def next(self) -> Piece | None:
        """Take the piece whose turn it is."""
        for pieces in (self._halves, self._ready):
            if pieces:
                return pieces.popleft()
        return None

    def clear(self) -> list[Piece]:
        """Take all pieces."""
        pieces = [*self._halves, *self._ready]
        self._halves.clear()
        self._ready.clear()
        return pieces

    def untried(self, *, failed_before: bool) -> list[OwedUser]:
        """Users of whom no request was answered yet: known failers, or the others; those to be moved have an order."""
        return [
            user
            for piece in (*self._halves, *self._ready)
            if not piece.tried
            for user in piece.users
            if user.failed_before == failed_before and not user.apart
        ]

    def take_out(self, users: Sequence[OwedUser]) -> None:
        """Take these users out of their pieces."""
        identities = {user.identity for user in users}
        for pieces in (self._halves, self._ready):
            left = [
                piece._replace(users=tuple(user for user in piece.users if user.identity not in identities))
                for piece in pieces
            ]
            pieces.clear()
            pieces.extend(piece for piece in left if piece.users)
