"""When a run stops: told of every call as it ends, the rules answer "go on", "this user only" or "stop, and why".

Pure: no threads, no network, no state; the clock is handed in with each call. Nothing here knows how calls are made.

Some answers stop a run at once, because no other user can fare better: the key is refused by name, Iterable asks for a
long pause, a proxy or certificate of this machine does not work, the project refuses one canary after the other.

For all other failures one rule holds. A number of failed calls in a row, with nothing accepted since the first of them
was sent, makes the run suspicious. Then users drawn at random from those not yet tried are tried: if any of them gets
anything, the failures were about their own users; if none does, it is the API that fails, and the run stops. The
number in a row doubles with each run in a row that ended so; those who failed before come last and do not count while
there are others. So no set of users can lock the others out.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from sync.api.answers import FAILURES, REJECTIONS, STOPPING, Verdict

IN_A_ROW: Final = 5
"""Failed calls in a row that make a run suspicious, when the run before was not stopped by this rule."""

MOST_DOUBLINGS: Final = 7
"""After so many runs in a row that the rule stopped the number in a row grows no more: a long outage must not cost
thousands of requests every five minutes. Nobody is locked out by it, since those who failed come last next time."""

DRAWN: Final = 5
"""Users drawn at random to make sure."""

TURN: Final = 5
"""Failed calls in a row that end one user's turn."""

PROJECT_REFUSALS: Final = 3
"""Canaries in a row that the project refuses before the run stops."""


class CallEnd(NamedTuple):
    """One call that ended: a request for one user or for a batch, with all its retries.

    `sent_at` is when it began, before its first attempt, on the clock of `now`; `user` is None for a batch of several.
    `known_failer`: everybody in it failed before; `canary`, `drawn`: it went alone, or was drawn to make sure.
    """

    verdict: Verdict
    reason: str
    sent_at: float
    now: float
    user: str | None = None
    known_failer: bool = False
    canary: bool = False
    drawn: bool = False


class Advice(enum.Enum):
    """What the sender of a call does next."""

    GO_ON = "go on"
    END_TURN = "this user only"  # nothing more of this user is sent in this run
    STOP = "stop"


class StopRules:
    """The rules of one run. `stopped_before`: how many runs in a row, just before this one, the rule stopped."""

    def __init__(self, stopped_before: int = 0) -> None:
        self._in_a_row = IN_A_ROW * 2 ** min(stopped_before, MOST_DOUBLINGS)
        self._row = 0
        self._failures_of: dict[str, int] = {}
        self._accepted_at = float("-inf")
        self._others_tried = False
        self._refused_canaries = 0
        self._waiting_for: set[str] = set()
        self._last = Verdict.RETRYABLE, "no answer"
        self.suspicious = False
        """The row is full: nobody is sent but those who are drawn, until one of them gets something."""
        self.still_to_draw = DRAWN
        """How many users more are drawn, if there are so many, before it counts as made sure."""
        self.reason: str | None = None
        """Why the run stops."""
        self.by_the_row = False
        """It was the row, made sure of, that stopped the run."""

    @property
    def making_sure(self) -> bool:
        """Somebody who was drawn is still being tried."""
        return bool(self._waiting_for)

    def ended(self, call: CallEnd) -> Advice:
        """Take note of a call and say what follows from it."""
        if call.verdict is Verdict.INTERRUPTED:
            return Advice.STOP if self.reason else Advice.GO_ON
        if call.verdict in STOPPING:
            self._stop(why(call.verdict, call.reason))
        elif call.verdict is Verdict.ACCEPTED:
            self._accept(call)
        elif call.verdict in FAILURES:
            return self._fail(call)
        elif call.verdict is not Verdict.THROTTLED or call.drawn:
            self._answered(call)
        self._others_tried |= not call.known_failer
        return Advice.STOP if self.reason else Advice.GO_ON

    def _accept(self, call: CallEnd) -> None:
        self._accepted_at = call.now
        self._failures_of.pop(call.user or "", None)
        self._trust()

    def _answered(self, call: CallEnd) -> None:
        """A rejection, or to a drawn user a word about the quota: the API is there, and it understood the call."""
        self._failures_of.pop(call.user or "", None)
        self._trust()
        if call.canary and call.verdict in REJECTIONS:
            self._refused_canaries = self._refused_canaries + 1 if call.verdict is Verdict.REJECTED_BY_PROJECT else 0
            if self._refused_canaries == PROJECT_REFUSALS:
                self._stop(
                    f"the project refused {PROJECT_REFUSALS} users in a row for a reason of its own, the last with: "
                    f"{call.reason}"
                )

    def _trust(self) -> None:
        self._row = 0
        self.suspicious = False
        self.still_to_draw = DRAWN
        self._waiting_for.clear()

    def _fail(self, call: CallEnd) -> Advice:
        making_sure = call.drawn and self.suspicious
        failures = 0
        if call.user is not None:
            failures = self._failures_of[call.user] = self._failures_of.get(call.user, 0) + 1
        counts = not (call.known_failer and self._others_tried) and call.sent_at > self._accepted_at
        self._others_tried |= not call.known_failer
        self._last = call.verdict, call.reason
        self._refused_canaries = 0
        if counts:
            self._row += 1
            self.suspicious = self.suspicious or self._row >= self._in_a_row
        if making_sure:
            self._waiting_for.discard(call.user or "")
        if self.reason:
            return Advice.STOP
        return Advice.END_TURN if failures >= TURN or making_sure else Advice.GO_ON

    def turn_is_over(self, user: str) -> None:
        """Nothing more of this user is sent."""
        self._failures_of.pop(user, None)
        self._waiting_for.discard(user)

    def make_sure(self, users: frozenset[str]) -> None:
        """These users were drawn, and are tried now."""
        self._waiting_for |= users
        self.still_to_draw -= len(users)

    def give_up(self) -> None:
        """The row is full; nobody who was drawn got anything, or nobody is left to draw."""
        if self.suspicious and self.reason is None:
            self.by_the_row = True
            verdict, reason = self._last
            self._stop(why(verdict, f"{self._row} calls in a row failed, the last with: {reason}"))

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason


_WHY: Final = {
    Verdict.CREDENTIALS_REFUSED: (
        "Iterable refused the credentials: {}; check ITERABLE_API_KEY (its type and project) and that "
        "ITERABLE_API_BASE_URL is the region of that project"
    ),
    Verdict.FORBIDDEN: (
        "the calls are refused: {}; check ITERABLE_API_KEY and ITERABLE_API_BASE_URL, and what a firewall or proxy "
        "between here and Iterable says"
    ),
    Verdict.JWT_REFUSED: (
        "Iterable refused the JWT: {}; check that ITERABLE_JWT_SECRET belongs to ITERABLE_API_KEY, this machine's "
        "clock, and JWT_ISSUER"
    ),
    Verdict.WRONG_URL: "the answer does not come from Iterable's API: {}; check ITERABLE_API_BASE_URL",
    Verdict.RETRYABLE: "the API is down: {}",
    Verdict.UNREADABLE: "the answers are not understood: {}; see whether something stands between here and Iterable",
}


def why(verdict: Verdict, reason: str) -> str:
    """The sentence for a run that stops because of answers like this one: what they were, and what to check."""
    return _WHY.get(verdict, "{}").format(reason)
