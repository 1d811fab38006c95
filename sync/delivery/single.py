"""One by one: users/update, then events/track for each event once the profile is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from iterable_client import IterableClient
from sync.api.answers import STOPPING, ApiResult, Verdict
from sync.api.endpoints import EVENTS_TRACK, USERS_UPDATE
from sync.api.messages import Message
from sync.delivery.outcome import NOT_SENT, Result, outcome_of, with_profile_outcome
from sync.delivery.stop import Stop
from sync.rows.identity import identity_fields
from sync.state.owed import Outcome, OwedUser, PayloadResult, UserOutcome


class SingleSender:
    """One user at a time: users/update, then events/track for each event once the profile is accepted."""

    batch_size = 1

    def __init__(self, client: IterableClient, stop: Stop) -> None:
        self._client, self._stop = client, stop

    def send(self, users: Sequence[OwedUser]) -> list[Result]:
        """Return one result for each of `users`."""
        return [self._send_one(user) for user in users]

    def _call(self, endpoint: str, message: Message) -> ApiResult:
        return NOT_SENT if self._stop.is_set() else self._client.send(endpoint, message)

    def _send_one(self, user: OwedUser) -> Result:
        identity = identity_fields(user.identity)
        calls: list[ApiResult] = []
        profile: PayloadResult | None = None
        if user.profile is not None:
            calls.append(self._call(USERS_UPDATE, Message(identity, user.profile.encode())))
            if calls[-1].verdict is Verdict.THROTTLED:
                return self._result(UserOutcome(replace(user, profile=None, events=()), None, ()), user, calls)
            profile = outcome_of(calls[-1])
            if profile.outcome is not Outcome.DELIVERED:
                return self._result(with_profile_outcome(user, profile), None, calls)
        told: list[PayloadResult] = []
        stops = False  # an answer that stops the run: nothing more of this user is sent either
        for event in user.events:
            stops = stops or (bool(calls) and calls[-1].verdict in STOPPING)
            calls.append(NOT_SENT if stops else self._call(EVENTS_TRACK, Message(identity, event.body.encode())))
            if calls[-1].verdict is Verdict.THROTTLED:
                break
            told.append(outcome_of(calls[-1]))
        done, waiting = user.events[: len(told)], user.events[len(told) :]
        rest = replace(user, profile=None, events=waiting) if waiting else None
        return self._result(UserOutcome(replace(user, events=done), profile, tuple(told)), rest, calls)

    @staticmethod
    def _result(outcome: UserOutcome, rest: OwedUser | None, calls: Sequence[ApiResult]) -> Result:
        """Judge the API by the worst of the user's calls: an event may fail after its profile was accepted."""
        failed = [call for call in reversed(calls) if call.verdict is not Verdict.ACCEPTED]
        stopping = [call for call in failed if call.verdict in STOPPING]
        last = next(iter([*stopping, *failed, *reversed(calls)]), None)
        if last is None:
            return Result(outcome, rest, Verdict.ACCEPTED, "")
        return Result(outcome, rest, last.verdict, last.reason, calls)
