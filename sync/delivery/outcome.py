"""From answers to outcomes: what a call means for its payloads, and what is still to be sent of a user after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sync.api.answers import NAME_CODES, REJECTIONS, STOPPING, ApiResult, Verdict
from sync.delivery.rules import Advice
from sync.delivery.watch import Piece
from sync.state.owed import DELIVERED, Outcome, OwedUser, PayloadResult, UserOutcome

NOT_SENT = PayloadResult(Outcome.FAILED, "the run was stopped before it", sent=False)
TURN_OVER = PayloadResult(Outcome.FAILED, "not sent: several calls of this user failed in a row", sent=False)


@dataclass
class Reply:
    """What a sender did with one piece.

    `outcomes` is what has its outcome; `throttled` waits for the quota, `held` until the run is no longer suspicious;
    `halves` of a batch that failed whole are next, before all others; `pieces` are what follows otherwise, and
    `settling` what follows when Iterable has had time to settle a move. Of `attempted` users a request was made without
    an outcome. `calls` are the requests. `follows` is what the same worker sends next of a lone user, so that a user's
    requests follow one another.
    """

    outcomes: list[UserOutcome] = field(default_factory=list)
    throttled: list[Piece] = field(default_factory=list)
    held: list[Piece] = field(default_factory=list)
    halves: list[Piece] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    settling: list[Piece] = field(default_factory=list)
    attempted: list[OwedUser] = field(default_factory=list)
    calls: list[ApiResult] = field(default_factory=list)
    follows: Piece | None = None

    def take_following(self, piece: Piece) -> Piece | None:
        """Set apart what follows of the lone user of `piece`."""
        if len(piece.users) == 1 and len(self.pieces) == 1:
            self.follows = self.pieces.pop()
        return self.follows

    def settle_profile(self, user: OwedUser, result: PayloadResult) -> OwedUser | None:
        """Give a user's profile its result; returns the user when events are to follow."""
        if result.outcome is not Outcome.DELIVERED:
            self.outcomes.append(with_profile_result(user, result))
            return None
        if not user.events:
            self.outcomes.append(UserOutcome(user, result, ()))
            return None
        self.outcomes.append(UserOutcome(user.profile_alone(), result, (), followed=True))
        return user.events_alone()

    def settle_move(self, piece: Piece, user: OwedUser, result: PayloadResult, *, at_once: bool) -> None:
        """Give a user's move its result; the profile and the events follow, `at_once` or when the move is settled."""
        if result.outcome is not Outcome.DELIVERED:
            profile = result if result.outcome is Outcome.REJECTED else result._replace(sent=False)
            self.outcomes.append(with_profile_result(user, profile)._replace(move=result))
            return
        self.outcomes.append(UserOutcome(user._replace(profile=None, events=(), more=False), None, (), move=result))
        rest = piece._replace(users=(user._replace(move=None),), canary=piece.canary and at_once, tried=True)
        (self.pieces if at_once else self.settling).append(rest)

    def settle_events(self, piece: Piece, user: OwedUser, results: Sequence[PayloadResult], advice: Advice) -> None:
        """Give the first events of a lone user their results; the others follow, unless the user's turn is over."""
        left = user.events[len(results) :]
        if advice is Advice.END_TURN:
            self.outcomes.append(UserOutcome(user._replace(more=False), None, (*results, *[TURN_OVER] * len(left))))
            return
        done = user._replace(events=user.events[: len(results)], more=user.more and not left)
        self.outcomes.append(UserOutcome(done, None, tuple(results)))
        if left:
            self.pieces.append(piece._replace(users=(user._replace(events=left),), tried=True))


def outcome_of(result: ApiResult, *, alone: bool = True) -> PayloadResult:
    """The outcome of a payload that was sent in this call, which was not throttled.

    `alone`: the request held one user only, so that a failure is this user's.
    """
    if result.verdict is Verdict.ACCEPTED:
        return DELIVERED
    if result.verdict in REJECTIONS or result.verdict is Verdict.TOO_LARGE:
        return PayloadResult(Outcome.REJECTED, result.reason, over_a_name=result.code in NAME_CODES)
    nobodys_own = result.verdict is Verdict.INTERRUPTED or result.verdict in STOPPING
    return PayloadResult(
        Outcome.FAILED,
        result.reason,
        sent=result.attempts > 0,
        alone=alone and not nobodys_own,
        turned_away=result.verdict is Verdict.CREDENTIALS_REFUSED and not result.retried,
    )


def with_profile_result(user: OwedUser, result: PayloadResult) -> UserOutcome:
    """A user whose profile was not accepted: the events have its outcome, and no further ones are sent."""
    profile = result if user.profile is not None else None
    move = result if user.move is not None else None
    return UserOutcome(user._replace(more=False), profile, (result,) * len(user.events), derived=True, move=move)
