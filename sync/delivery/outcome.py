"""From answers to outcomes: what a call means for its payload, and what became of a user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sync.api.answers import REJECTIONS, ApiResponse, ApiResult, Verdict
from sync.state.owed import Outcome, OwedUser, PayloadResult, UserOutcome

NOT_SENT = ApiResult(ApiResponse(Verdict.INTERRUPTED, "the run was stopped before it"), 0)


class Result(NamedTuple):
    """What a sender did for one user.

    `outcome` covers what was answered for good, `rest` what has to be queued again because of the quota, `calls` the
    requests; `last` is what the run judges the API by.
    """

    outcome: UserOutcome
    rest: OwedUser | None
    last: Verdict
    reason: str
    calls: Sequence[ApiResult] = ()


class Sender(Protocol):
    """Makes the requests for a few users; called from many threads."""

    batch_size: int

    def send(self, users: Sequence[OwedUser]) -> list[Result]:
        """Return one result for each of `users`."""
        ...


def outcome_of(result: ApiResult) -> PayloadResult:
    """The outcome of one answered payload."""
    if result.verdict is Verdict.ACCEPTED:
        return PayloadResult(Outcome.DELIVERED)
    if result.verdict in REJECTIONS or result.verdict is Verdict.TOO_LARGE:
        return PayloadResult(Outcome.REJECTED, result.reason)
    return PayloadResult(Outcome.FAILED, result.reason, sent=result.attempts > 0)


def with_profile_outcome(user: OwedUser, told: PayloadResult) -> UserOutcome:
    """A user whose profile was not accepted: the events have its outcome."""
    return UserOutcome(user, told if user.profile is not None else None, (told,) * len(user.events), derived=True)
