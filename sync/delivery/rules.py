"""When a run stops. From every call that ends, the rules decide whether its user's turn, or the run, is over.

Pure: no threads, no network, no state; the clock is handed in with each call. Nothing here knows how calls are made.

Some answers stop a run at once, because every other user would get the same: the code BadApiKey, a request for a long
pause, a proxy or certificate of this machine that does not work, a project that refuses one canary after the other.

One rule covers all other failures; a 429 is none, since it is about the quota. A number of failed calls in a row, with
nothing accepted since the first of them was sent, makes the run suspicious. To confirm, users sampled at random from
those not yet tried are tried: if any of them gets through, the failures were about their own users; if none does, the
API is failing, and the run stops. The number of failures needed doubles with each consecutive run that was stopped like
this. Users who failed before are sent last, and do not count while others are left. So users who always fail cannot
lock the rest out.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from sync.api.answers import FAILURES, REJECTIONS, STOPPING, Verdict

IN_A_ROW: Final = 5
"""Failed calls in a row that make a run suspicious, when the run before was not stopped by this rule."""

MOST_DOUBLINGS: Final = 7
"""After this many runs in a row that the rule stopped, the number no longer grows: a long outage must not cost
thousands of requests every five minutes. This locks nobody out, because users who failed come last next time."""

SAMPLED: Final = 5
"""Users sampled to confirm."""

TURN: Final = 5
"""Failed calls in a row that end one user's turn."""

PROJECT_REFUSALS: Final = 3
"""Canaries in a row that the project refuses before the run stops."""


class CallEnd(NamedTuple):
    """One call that ended: a request for one user or for a batch, with all its retries.

    `sent_at` is when it began, before its first attempt, on the clock of `now`; `user` is None for a batch of several.
    `failed_before`: everybody in it failed in an earlier run; `canary`, `sampled`: its user went alone, or was sampled
    to confirm.
    """

    verdict: Verdict
    reason: str
    sent_at: float
    now: float
    user: str | None = None
    failed_before: bool = False
    canary: bool = False
    sampled: bool = False


class StopRules:
    """The rules of one run. `stopped_before`: how many runs in a row, just before this one, the rule stopped."""

    def __init__(self, stopped_before: int = 0) -> None:
        self._in_a_row = IN_A_ROW * 2 ** min(stopped_before, MOST_DOUBLINGS)
        self._row = 0
        self._failures_of: Counter[str | None] = Counter()
        self._accepted_at = float("-inf")
        self._others_tried = False
        self._refused_canaries = 0
        self._last = Verdict.RETRYABLE, "no answer"
        self.suspicious = False
        """Enough calls in a row failed: only sampled users are sent, until one of them gets through."""
        self.still_to_sample = SAMPLED
        """How many more users to sample, if there are that many, before the failure is confirmed."""
        self.reason: str | None = None
        """Why the run stops."""
        self.by_the_row = False
        """Whether confirmed failures in a row stopped the run."""

    def ended(self, call: CallEnd) -> bool:
        """Take note of a call; True: the turn of its user is over."""
        if call.verdict in FAILURES:
            return self._fail(call)
        if call.verdict is Verdict.INTERRUPTED:
            return False
        if call.verdict in STOPPING:
            self._stop(why(call.verdict, call.reason))
        elif call.verdict is Verdict.ACCEPTED:
            self._accepted_at = call.now
            self._trust(call)
        elif call.verdict is not Verdict.THROTTLED or call.sampled:
            self._answered(call)
        self._others_tried |= not call.failed_before
        return False

    def _answered(self, call: CallEnd) -> None:
        """A rejection, or a 429 for a sampled user: the API is there, and it understood the call."""
        self._trust(call)
        if call.canary and call.verdict in REJECTIONS:
            self._refused_canaries = self._refused_canaries + 1 if call.verdict is Verdict.REJECTED_BY_PROJECT else 0
            if self._refused_canaries == PROJECT_REFUSALS:
                refused = f"the project refused {PROJECT_REFUSALS} users in a row, the last with: {call.reason}"
                self._stop(f"{refused}; correct the project or the mapping, then run with --retry-rejected")

    def _trust(self, call: CallEnd) -> None:
        self.forget(call.user)
        self._row = 0
        self.suspicious = False
        self.still_to_sample = SAMPLED

    def _fail(self, call: CallEnd) -> bool:
        self._failures_of.update([call.user] if call.user else [])
        is_over = (call.sampled and self.suspicious) or self._failures_of[call.user] >= TURN
        self._last = call.verdict, call.reason
        self._refused_canaries = 0
        if not (call.failed_before and self._others_tried) and call.sent_at > self._accepted_at:
            self._row += 1
            self.suspicious = self.suspicious or self._row >= self._in_a_row
        self._others_tried |= not call.failed_before
        return is_over

    def forget(self, user: str | None) -> None:
        """Forget this user's failures: something was answered, or nothing more is sent."""
        self._failures_of.pop(user, None)

    def give_up(self) -> None:
        """Stop: enough calls in a row failed, and no sampled user got through, or nobody is left to sample."""
        if self.suspicious and self.reason is None:
            self.by_the_row = True
            verdict, reason = self._last
            self._stop(why(verdict, f"{self._row} calls in a row failed, the last with: {reason}"))

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason


_WHY: Final = {
    Verdict.CREDENTIALS_REFUSED: "Iterable refused the credentials: {}; check ITERABLE_API_KEY and the base URL",
    Verdict.FORBIDDEN: "the calls are refused: {}; check ITERABLE_API_KEY, the base URL, and any firewall or proxy",
    Verdict.JWT_REFUSED: "Iterable refused the JWT: {}; check ITERABLE_JWT_SECRET, JWT_ISSUER and this machine's clock",
    Verdict.WRONG_URL: "the answer does not come from Iterable's API: {}; check ITERABLE_API_BASE_URL",
    Verdict.RETRYABLE: "the API is down: {}",
    Verdict.UNREADABLE: "the answers are not understood: {}; check for a proxy or firewall in between",
}


def why(verdict: Verdict, reason: str) -> str:
    """The sentence for a run that stops because of answers like this one: what they were, and what to check."""
    return _WHY.get(verdict, "{}").format(reason)
