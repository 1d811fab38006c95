"""The stop rules between many threads: one lock around them, and a stop of the run as soon as they ask for it."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sync.api.answers import ApiResult, Verdict
from sync.delivery.rules import Advice, CallEnd, StopRules
from sync.delivery.stop import Stop
from sync.state.owed import OwedUser


class Piece(NamedTuple):
    """Users who are sent together: one alone, or in bulk up to a thousand.

    `canary`: one user alone before everybody else; `drawn`: one user drawn at random, to make sure that it is the API
    that fails; `at_most`: how many events of a lone user go into the next request (0: as many as it holds); `tried`:
    calls of the user ended before.
    """

    users: tuple[OwedUser, ...]
    canary: bool = False
    drawn: bool = False
    at_most: int = 0
    tried: bool = False


class Gate(enum.Enum):
    """Whether the next request of a piece may go out."""

    OPEN = "open"
    HELD = "held"  # the run is suspicious: only those who were drawn go on
    STOPPED = "stopped"


class Watch:
    """Asked before every call and told after it. Safe to share between threads; `clock` never goes back."""

    def __init__(self, rules: StopRules, stop: Stop, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules, self._stop, self._clock = rules, stop, clock
        self._lock = threading.Lock()

    def gate(self, piece: Piece) -> Gate:
        """Whether a request of this piece may be sent now."""
        if self._stop.is_set():
            return Gate.STOPPED
        return Gate.HELD if self._rules.suspicious and not piece.drawn else Gate.OPEN

    def now(self) -> float:
        """The moment at which a call begins, for `ended`."""
        return self._clock()

    def ended(
        self,
        piece: Piece,
        result: ApiResult,
        began: float,
        verdict: Verdict | None = None,
        reason: str | None = None,
    ) -> Advice:
        """Tell the rules of a call of this piece, and stop the run if they say so.

        `verdict` and `reason` are what a bulk answer says of its items, where that is another than the call's own.
        """
        users = piece.users
        call = CallEnd(
            verdict or result.verdict,
            result.reason if reason is None else reason,
            began,
            self._clock(),
            user=users[0].identity if len(users) == 1 else None,
            known_failer=all(user.failed_before for user in users),
            canary=piece.canary,
            drawn=piece.drawn,
        )
        with self._lock:
            advice = self._rules.ended(call)
            self._heed()
        return advice

    def turns_are_over(self, users: Iterable[OwedUser]) -> None:
        """Nothing more of these users is sent in this run."""
        with self._lock:
            for user in users:
                self._rules.turn_is_over(user.identity)

    def make_sure(self, users: Iterable[OwedUser]) -> None:
        """These users were drawn, and are tried now."""
        with self._lock:
            self._rules.make_sure(frozenset(user.identity for user in users))

    def give_up(self) -> None:
        """Nobody is left to draw."""
        with self._lock:
            self._rules.give_up()
            self._heed()

    @property
    def still_to_draw(self) -> int:
        """How many users more are drawn, if there are so many, before it counts as made sure."""
        return self._rules.still_to_draw

    @property
    def stopped_by_rule(self) -> bool:
        """Whether the run was stopped because calls failed in a row, and not for another reason."""
        return self._rules.by_the_row

    @property
    def suspicious(self) -> bool:
        """Whether it has to be made sure that it is the API that fails."""
        return self._rules.suspicious

    @property
    def making_sure(self) -> bool:
        """Whether somebody who was drawn is still being tried."""
        return self._rules.making_sure

    def _heed(self) -> None:
        if self._rules.reason:
            self._stop.set(self._rules.reason)
