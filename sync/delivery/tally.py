"""What a run did, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sync.api.answers import ApiResult, Verdict
from sync.delivery.rules import why
from sync.state.exchange import Counts, Outcome, PayloadResult, PendingUser, Plan, UserOutcome


@dataclass
class Tally:
    """Payloads by outcome, requests, and retries by reason.

    `answered` is the last call's verdict. `failing` has up to two users whose calls failed, each with whether a call
    failed in an earlier run, too; `served` up to two for whom something was accepted. `failure` is why the last user
    failed, and `failed_with` the verdict of that user's call.
    """

    users: Counts = field(default_factory=Counts)
    events: Counts = field(default_factory=Counts)
    left_segment: int = 0
    moved: int = 0
    requests: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    answered: Verdict = Verdict.ACCEPTED
    served: set[str] = field(default_factory=set)
    failing: dict[str, bool] = field(default_factory=dict)
    failure: str = ""
    failed_with: Verdict = Verdict.ACCEPTED
    stopped_because: str | None = None

    def add_call(self, call: ApiResult) -> None:
        """Count the requests of this call, and what was tried again."""
        self.requests += call.attempts
        self.retries.update(call.retried)
        self.answered = call.verdict

    def add(self, outcome: UserOutcome) -> None:
        """Count the payloads of one user."""
        user, profile = outcome.user, outcome.profile
        moved = bool(outcome.move and outcome.move.moved)
        self.moved += moved
        if profile and user.leaves and profile.outcome is Outcome.DELIVERED:
            self.left_segment += 1
        elif profile:
            count_payloads(self.users, user, profile)
        for event in outcome.events:
            count_payloads(self.events, user, event)
        taken = moved or any(result.outcome is Outcome.DELIVERED for result in outcome.of_payloads)
        if taken and len(self.served) < 2:
            self.served.add(user.identity)
        for result in outcome.results:
            if result.outcome is Outcome.FAILED:
                self._note_failure(user, result)

    def _note_failure(self, user: PendingUser, result: PayloadResult) -> None:
        """Note why a user failed. One to whom nothing was sent, such as a waiting link of a chain, is not failing."""
        if not result.sent:
            self.failure = self.failure or result.reason
            return
        self.failure, self.failed_with = result.reason, self.answered
        if len(self.failing) < 2:
            self.failing[user.identity] = user.failed_before

    def is_one_alone(self) -> bool:
        """Whether there was only one user, who failed for the first time: nobody else shows that it is not the API."""
        return self.served <= self.failing.keys() and list(self.failing.values()) == [False]

    def nothing_accepted(self) -> str | None:
        """Why a run that came to its end counts as stopped: nothing was accepted, and more than one user failed.

        The numbers are those of the summary; a user with only events pending counts among the events.
        """
        if self.served or len(self.failing) < 2:
            return None
        failed = ((self.users.failed, "users"), (self.events.failed, "events"))
        told, *more = [f"{count:,} {kind}" for count, kind in failed if count]
        events = f" ({more[0]})" if more else ""
        return why(self.failed_with, f"nothing was accepted, and {told} failed{events}, the last with: {self.failure}")

    def fail_unsent(self, plan: Plan) -> None:
        """Whatever has no outcome at the end is failed, and so still pending: it waits, or the run was stopped."""
        profiles = plan.pending_profiles + plan.leavers - self.left_segment - (self.users.sent() - plan.users.sent())
        events = plan.pending_events - (self.events.sent() - plan.events.sent())
        self.users.failed += max(0, profiles)
        self.events.failed += max(0, events)
        if self.users.failed or self.events.failed:
            self.failure = self.failure or "not sent before the next run: the new address is another user's until then"


def count_payloads(counts: Counts, user: PendingUser, result: PayloadResult, count: int = 1) -> None:
    """Count payloads of this user with one result. A rejection over a name is tried in each run, but new only once."""
    counts.add(result.outcome, count)
    known = user.refused_before and result.over_a_name
    counts.newly_rejected += count * (result.outcome is Outcome.REJECTED and not known)
