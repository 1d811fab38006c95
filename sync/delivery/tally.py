"""What a run did, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sync.api.answers import ApiResult, Verdict
from sync.delivery.rules import why
from sync.state.owed import Counts, Outcome, OwedUser, PayloadResult, Plan, UserOutcome


@dataclass
class Tally:
    """Payloads by outcome, requests, and retries by what each met.

    `accepted`: Iterable took something. `answered` is what the last call met. `failing` are users whose calls failed,
    two of them at most, each with whether a call failed in an earlier run, too. `failure` is why the last of all who
    failed did, and `failed_with` what that user's call met.
    """

    users: Counts = field(default_factory=Counts)
    events: Counts = field(default_factory=Counts)
    left_segment: int = 0
    moved: int = 0
    requests: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    accepted: bool = False
    answered: Verdict = Verdict.ACCEPTED
    failing: dict[str, bool] = field(default_factory=dict)
    failure: str = ""
    failed_with: Verdict = Verdict.ACCEPTED
    stopped_because: str | None = None

    def begin(self, plan: Plan) -> None:
        """Take over what had its outcome before anything was sent."""
        self.users, self.events = replace(plan.users), replace(plan.events)

    def add_calls(self, calls: Iterable[ApiResult]) -> None:
        """Count the requests of these calls, and what was tried again."""
        for call in calls:
            self.requests += call.attempts
            self.retries.update(call.retried)
            self.answered = call.verdict

    def add(self, outcome: UserOutcome) -> None:
        """Count the payloads of one user."""
        profile, user = outcome.profile, outcome.user
        if outcome.move:
            self.moved += outcome.move.moved
            self.accepted |= outcome.move.moved
        if profile and user.leaves and profile.outcome is Outcome.DELIVERED:
            self.left_segment += 1
            self.accepted = True
        elif profile:
            self._add_one(self.users, profile, known=user.refused_before)
        for event in outcome.events:
            self._add_one(self.events, event, known=user.refused_before)
        self._look_for_failure(outcome)

    def add_delivered(self, outcome: UserOutcome) -> None:
        """As `add`, for what was delivered whole."""
        self.accepted = True
        self.events.delivered += len(outcome.events)
        if outcome.profile and outcome.user.leaves:
            self.left_segment += 1
        elif outcome.profile:
            self.users.delivered += 1

    def _look_for_failure(self, outcome: UserOutcome) -> None:
        """Note why a user failed. To whom nothing was sent is not failing, such as a link of a chain that waits."""
        user = outcome.user
        for result in outcome.results:
            if result.outcome is Outcome.FAILED and result.sent:
                self.failure, self.failed_with = result.reason, self.answered
                if len(self.failing) < 2:
                    self.failing[user.identity] = user.failed_before
            elif result.outcome is Outcome.FAILED:
                self.failure = self.failure or result.reason

    @property
    def one_is_stubborn(self) -> bool:
        """Whether calls of one user alone failed, as in an earlier run: that says nothing about the API."""
        return list(self.failing.values()) == [True]

    def nothing_accepted(self) -> str | None:
        """Why a run that came to its end counts as stopped: nothing was accepted, and more than one user failed.

        The numbers are those of the summary; a user to whom only events were owed counts among these.
        """
        if self.accepted or len(self.failing) < 2:
            return None
        failed = ((self.users.failed, "users"), (self.events.failed, "events"))
        told, *more = [f"{count:,} {kind}" for count, kind in failed if count]
        events = f" ({more[0]})" if more else ""
        return why(self.failed_with, f"nothing was accepted, and {told} failed{events}, the last with: {self.failure}")

    def _add_one(self, counts: Counts, result: PayloadResult, *, known: bool) -> None:
        if result.outcome is Outcome.DELIVERED:
            counts.delivered += 1
            self.accepted = True
            return
        counts.add(result.outcome)
        counts.newly_rejected += _is_news(result, known=known)

    def add_further_events(self, user: OwedUser, result: PayloadResult, count: int) -> None:
        """Count events that are not in memory: they have the outcome of what went before."""
        self.events.add(result.outcome, count)
        self.events.newly_rejected += count * _is_news(result, known=user.refused_before)

    def unsent(self, plan: Plan) -> tuple[int, int]:
        """How many owed profiles and events have no outcome yet."""
        profiles = plan.owed_profiles + plan.leavers - self.left_segment - (self.users.sent() - plan.users.sent())
        events = plan.owed_events - (self.events.sent() - plan.events.sent())
        return max(0, profiles), max(0, events)

    def fail_unsent(self, plan: Plan) -> None:
        """Whatever has no outcome at the end is failed, which is to say still owed."""
        profiles, events = self.unsent(plan)
        self.users.failed += profiles
        self.events.failed += events


def _is_news(result: PayloadResult, *, known: bool) -> bool:
    """Whether this is a new rejection: one over a name, which is tried again every run, is news only once."""
    return result.outcome is Outcome.REJECTED and not (known and result.over_a_name)
