"""What a worker gets and gives back: a piece of work, the gate before each request, answers, what is left."""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sync.api.answers import NAME_CODES, REJECTIONS, STOPPING, ApiResult, Verdict
from sync.delivery.rules import CallEnd, StopRules
from sync.delivery.stop import Stop
from sync.rows.payloads import names_in
from sync.state.exchange import DELIVERED, Outcome, PayloadResult, PendingUser, UserOutcome

_TURN_OVER: Final = PayloadResult(Outcome.FAILED, "not sent: several calls of this user failed in a row", sent=False)


class Work(NamedTuple):
    """Users who are handed to one worker: one alone, or in bulk up to a thousand.

    `canary`: one user alone before everybody else; `sampled`: one user sampled to confirm; `tried`: a call for the
    single user was answered; `at_most`: the most events in the single user's next request.
    """

    users: tuple[PendingUser, ...]
    canary: bool = False
    sampled: bool = False
    tried: bool = False
    at_most: int = 1000


class Answer(NamedTuple):
    """A call that ended (None: it was handed on before), and the outcomes that it decides.

    For `attempted` users, a request was made but has no outcome yet.
    """

    call: ApiResult | None
    outcomes: Sequence[UserOutcome] = ()
    attempted: Sequence[PendingUser] = ()


class Why(enum.Enum):
    """Why a turn goes no further for now."""

    DONE = "all of it has its outcome"
    HELD = "the run is suspicious: only sampled users go on"
    STOPPED = "the run stops"
    QUOTA = "the attempts ended in 429"
    SETTLING = "the address was changed a moment ago"


@dataclass(eq=False)
class Ended(Exception):  # noqa: N818 - that a turn ends is no error
    """The turn goes no further for now."""

    why: Why


class Gate:
    """The stop rules, shared by many threads: asked before every request, and informed of every call.

    `clock` is in seconds and never goes back.
    """

    def __init__(self, rules: StopRules, stop: Stop, clock: Callable[[], float]) -> None:
        self._rules, self._stop, self.clock = rules, stop, clock
        self._lock = threading.Lock()

    def ask(self, *, sampled: bool) -> float:
        """Let a request pass, and return the time; raises Ended if the run stops or is suspicious."""
        if self._stop.is_set():
            raise Ended(Why.STOPPED)
        if self._rules.suspicious and not sampled:
            raise Ended(Why.HELD)
        return self.clock()

    def tell(self, call: CallEnd) -> bool:
        """Tell the rules of a call, and stop the run if they say so; True: the turn of its user is over."""
        with self._lock:
            is_over = self._rules.ended(call)
            if self._rules.reason:
                self._stop.set(self._rules.reason)
        return is_over


class Turn:
    """What one worker knows about its work: what is left of it, the gate, and where answers go."""

    def __init__(self, work: Work, gate: Gate, hand_on: Callable[[Answer], object]) -> None:
        self.left = deque([work])
        """What has no outcome yet; the first piece is the current one."""
        self.is_over = False
        """So many calls of the current user failed that nothing more is sent for this user."""
        self.hand_on = hand_on
        self._gate, self._asked_at = gate, 0.0

    @property
    def user(self) -> PendingUser:
        """The current user."""
        return self.left[0].users[0]

    def ask(self) -> None:
        """Ask for the next request; raises Ended when there is to be none."""
        self._asked_at = self._gate.ask(sampled=self.left[0].sampled)

    def tell(self, call: ApiResult, users: Sequence[PendingUser] = (), said: tuple[Verdict, str] | None = None) -> None:
        """Report a call to the rules; raises Ended if it was about the quota, or was given up because the run stops.

        In bulk, it held these `users`; `said` is what the answer says about them, and why.
        """
        work, users = self.left[0], users or self.left[0].users
        verdict, reason = said or (call.verdict, call.reason)
        user = users[0].identity if len(users) == 1 else None
        failed_before = all(user.failed_before for user in users)
        times = self._asked_at, self._gate.clock()
        end = CallEnd(verdict, reason, *times, user, failed_before, work.canary, work.sampled)
        self.is_over = self._gate.tell(end)
        if len(work.users) == 1:
            self.left[0] = work._replace(tried=True)
        if verdict in {Verdict.THROTTLED, Verdict.INTERRUPTED}:
            self.hand_on(Answer(call, attempted=users if call.attempts else ()))
            raise Ended(Why.QUOTA if verdict is Verdict.THROTTLED else Why.STOPPED)

    def settled(
        self, call: ApiResult | None, outcomes: Sequence[UserOutcome], left: Sequence[PendingUser] = ()
    ) -> None:
        """Hand on outcomes of the current users; `left` is what remains. Raises Ended if nothing more is to be sent."""
        work = self.left.popleft()
        if left:
            self.left.appendleft(work._replace(users=tuple(left)))
        self.hand_on(Answer(call, outcomes))
        if not self.left:
            raise Ended(Why.DONE)

    def answered(self, call: ApiResult) -> None:
        """Handle the answer to the single user's profile or next event; raises Ended unless another event follows."""
        self.tell(call)
        outcome, left = after(self.user, [outcome_of(call)], self.is_over)
        self.settled(call, [outcome], left)


def outcome_of(call: ApiResult) -> PayloadResult:
    """The outcome of a payload that was sent alone in this call, which got an answer or used up its attempts."""
    if call.verdict is Verdict.ACCEPTED:
        return DELIVERED
    if call.verdict in REJECTIONS or call.verdict is Verdict.TOO_LARGE:
        return PayloadResult(Outcome.REJECTED, call.reason, over_a_name=call.code in NAME_CODES)
    turned_away = call.verdict is Verdict.CREDENTIALS_REFUSED and not call.retried
    sent, alone = call.attempts > 0, call.verdict not in STOPPING
    return PayloadResult(Outcome.FAILED, call.reason, sent=sent, alone=alone, turned_away=turned_away)


def all_with(user: PendingUser, result: PayloadResult) -> UserOutcome:
    """Give everything that is left of this user one result. What comes after a refusal or failure was not sent."""
    profile = result if user.profile is not None else None
    move = result if user.move is not None else None
    user = user._replace(more=user.more and result.outcome is Outcome.REJECTED)
    return UserOutcome(user, profile, (result,) * len(user.events), derived=bool(profile or move), move=move)


def after(user: PendingUser, results: Sequence[PayloadResult], is_over: bool) -> tuple[UserOutcome, list[PendingUser]]:
    """What follows from the results of a user's profile, or else of the next events, and the user with what is left.

    Events follow an accepted profile, and each other, unless the turn is over.
    """
    if user.profile is not None:
        return _after_profile(user, *results)
    left = user.events[len(results) :]
    if is_over:
        return UserOutcome(user._replace(more=False), None, (*results, *[_TURN_OVER] * len(left))), []
    if not left:
        return UserOutcome(user, None, tuple(results)), []
    done = user._replace(events=user.events[: len(results)], more=False)
    return UserOutcome(done, None, tuple(results)), [user._replace(events=left)]


def _after_profile(user: PendingUser, result: PayloadResult) -> tuple[UserOutcome, list[PendingUser]]:
    if result.over_a_name:
        result = result._replace(reason=f"{result.reason}, {names_in(user.profile or '{}')}")
    if result.outcome is not Outcome.DELIVERED:
        return all_with(user, result), []
    left = [user._replace(profile=None)] if user.events else []
    return UserOutcome(user._replace(events=(), more=False), result, ()), left
