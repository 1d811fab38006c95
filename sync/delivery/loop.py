"""The loop: takes users in their order, hands them out, takes the answers, and queues what is left of a turn.

Only the main thread touches the state: it claims users, hands them to the workers and records outcomes in groups. What
a worker does with a user is one turn (`turn.py`), or in bulk that of many users at once (`bulk.py`). The rules decide
when to stop.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from iterable_client import IterableClient
from sync.api.answers import Verdict
from sync.delivery.rules import StopRules
from sync.delivery.stop import GRACE, Stop
from sync.delivery.tally import Tally, count_payloads
from sync.delivery.turn import Way
from sync.delivery.work import Answer, Gate, Why, Work, all_with
from sync.delivery.workers import TICK, Left, Workers
from sync.rows.identity import log_field
from sync.state.exchange import Outcome, PayloadResult, PendingUser, Plan, UserOutcome
from sync.state.outbox import Outbox

logger = logging.getLogger("delivery")

MOST_CANARIES: Final = 20
"""The most users who are sent alone: by then, the key is known to be good, or the stop rules have stopped the run."""

MOST_SETTLING = 20_000
"""The most users who wait after an address change, at a few kilobytes each: more than three minutes' worth."""

QUOTA_PATIENCE: Final = 600.0
"""Seconds: a throttled user is queued again if the API accepted anything within this time."""

RECORD_GROUP = 100
RECORD_EVERY: Final = 0.2
"""Users and seconds: outcomes are recorded when either is reached."""

_NOT_SENT: Final = PayloadResult(Outcome.FAILED, "the run stopped before this was sent", sent=False)
_QUOTA: Final = _NOT_SENT._replace(reason="429: the quota stayed used up")
"""This is about the quota, not the user: it counts as if nothing had been sent."""


class Loop:
    """Delivers the pending users of one run. `progress(n)` is called when n more users are done.

    `workers` at most are busy at a time; `settle_seconds` is how long after an address change the user's other requests
    wait; `clock` is in seconds and never goes back.
    """

    def __init__(
        self,
        way: Way,
        client: IterableClient,
        outbox: Outbox,
        rules: StopRules,
        stop: Stop,
        *,
        workers: int,
        settle_seconds: float = 0.0,
        progress: Callable[[int], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._way, self._outbox, self._rules, self._stop = way, outbox, rules, stop
        self._most_workers, self._settle_seconds = workers, settle_seconds
        self._progress, self._clock = progress, clock
        self._rng = random.Random() if rng is None else rng  # noqa: S311 - a sample, not a secret
        self._workers = Workers(lambda turn: way.take_turn(turn, client), Gate(rules, stop, clock), stop)
        self._canaries, self._canary_accepted, self._all_claimed = MOST_CANARIES, False, False
        self._waiting: deque[Work] = deque()
        self._settling: deque[tuple[float, Work]] = deque()
        self._continuing: list[PendingUser] = []
        self._in_flight: dict[str, bool] = {}
        """Users who were handed out and are not done. True: the user waits for the quota."""
        self._unrecorded: list[UserOutcome] = []
        self._recorded_at = self._accepted_at = clock()
        self.tally = Tally()

    def run(self, plan: Plan) -> Tally:
        """Deliver everything that `plan` counts. Whatever has no outcome at the end is failed, and so still pending."""
        self.tally.users, self.tally.events = replace(plan.users), replace(plan.events)
        if pending := plan.pending_users + plan.leavers:
            self._workers.start(min(self._most_workers, pending))
            try:
                self._serve()
                self._record()
            except BaseException as error:  # such as a state that cannot be written: nothing more is sent
                self._stop.set(str(error))
                raise
            finally:
                self.tally.fail_unsent(plan)
                self._workers.end()
        self.tally.stopped_because = self._stop.reason or self.tally.nothing_accepted()
        return self.tally

    def _serve(self) -> None:
        """Keep the workers busy until everybody is served, or the run stops."""
        while not self._stop.is_set():
            if not self._rules.suspicious:
                self._hand_out()
            elif not self._workers.at_work:
                self._confirm()
            if self._workers.at_work:
                self._take_answers()
            elif self._settling:
                self._stop.wait(min(TICK, max(0.0, self._settling[0][0] - self._clock())))
            else:
                break
        if self._stop.is_set():
            self._wind_up()

    def _wind_up(self) -> None:
        """Wait for requests on their way; after a signal, only for the grace period. What is queued is not sent."""
        logger.warning("Stopping: %s; waiting only for requests that are on their way", self._stop.reason)
        self._fail(self._workers.withdraw(), _NOT_SENT)
        while self._workers.at_work and not self._stop.is_overdue():
            self._take_answers()
        self._fail([*self._waiting, *(work for _, work in self._settling)], _NOT_SENT)
        for identity in self._in_flight.keys() - {user.identity for user in self._continuing}:
            logger.warning("no answer within %.0f s of the signal; pending again %s", GRACE, log_field(identity))

    # -- out

    def _hand_out(self) -> None:
        """Give the workers what is next, while they have room; a canary goes alone."""
        while self._workers.have_room and not (self._canaries and self._workers.at_work):
            while self._settling and self._settling[0][0] <= self._clock():
                self._waiting.append(self._settling.popleft()[1])
            while self._may_claim() and self._claim():
                pass
            if not self._waiting:
                return
            self._give(self._waiting.popleft())

    def _give(self, work: Work) -> None:
        for user in work.users:
            self._in_flight.setdefault(user.identity, False)
        self._workers.give(work)

    def _may_claim(self) -> bool:
        """Whether users wait only for the quota, and not too many for that or after an address change."""
        all_throttled = all(self._in_flight.get(work.users[0].identity) for work in self._waiting)
        room = 3 * self._most_workers * self._way.users - (len(self._in_flight) - len(self._settling))
        return all_throttled and room > 0 and len(self._settling) < MOST_SETTLING

    def _claim(self) -> bool:
        """Claim more events of users whose first ones are done, or else the next users; False: all are claimed."""
        size, events = self._way.users, self._way.events
        group = max(self._most_workers, size)
        if self._canaries and not self._all_claimed:
            users = self._outbox.claim(1, 1)
        elif self._continuing:
            some, self._continuing = self._continuing[:group], self._continuing[group:]
            users = self._outbox.claim_rest(some, max(events, events * len(some) // size))
        else:
            users = [] if self._all_claimed else self._outbox.claim(group, events * group // size)
        if not users:
            self._all_claimed, self._canaries = True, 0
        self._queue(users)
        return bool(users or self._continuing)

    def _queue(self, users: Sequence[PendingUser]) -> None:
        """Queue users who were just claimed."""
        together, size, canary = [user for user in users if not user.apart], self._way.users, self._canaries > 0
        self._waiting.extend(Work((user,), canary) for user in users if user.apart)
        self._waiting.extend(Work(tuple(together[at : at + size]), canary) for at in range(0, len(together), size))

    def _confirm(self) -> None:
        """Try sampled users only. If none of them gets through, or nobody is left to sample, the run stops."""
        self._canaries = 0
        sampled = self._sample()
        self._rules.still_to_sample -= len(sampled)
        for user in sampled:
            self._give(Work((user,), sampled=True))
        waits = self._waiting or self._settling or self._continuing
        if not sampled and (waits or self._claim() or self.tally.is_one_alone()):
            self._rules.give_up()
            self._stop.set(str(self._rules.reason))

    def _sample(self) -> list[PendingUser]:
        """Take users at random from those not yet tried; repeat failures only if nobody else is left."""
        for before in (False, True):
            untried = [user for work in self._waiting if not work.tried for user in work.users]
            here = [user for user in untried if user.failed_before is before]
            total = len(here) + self._outbox.count_unclaimed(failed_before=before)
            ranks = self._rng.sample(range(total), min(self._rules.still_to_sample, total))
            sampled = [here[rank] for rank in ranks if rank < len(here)]
            taken = {user.identity for user in sampled}
            left = ((work, tuple(user for user in work.users if user.identity not in taken)) for work in self._waiting)
            self._waiting = deque(work._replace(users=users) for work, users in left if users)
            far = [rank - len(here) for rank in ranks if rank >= len(here)]
            sampled += self._outbox.claim_drawn(far, len(far), failed_before=before)
            if sampled:
                return sampled
        return []

    # -- back

    def _take_answers(self) -> None:
        """Take the workers' answers, or wait a tick for one, and record a group when it is time."""
        for work, said in self._workers.listen():
            if isinstance(said, Answer):
                self._take(said)
            else:
                self._take_back(work, said)
        if len(self._unrecorded) >= RECORD_GROUP or self._clock() - self._recorded_at >= RECORD_EVERY:
            self._record()

    def _take(self, answer: Answer) -> None:
        """Count and keep the outcomes. A user's events that are not in memory follow later, or are rejected, too."""
        if answer.call:
            self.tally.add_call(answer.call)
            if answer.call.verdict is Verdict.ACCEPTED:
                self._accepted_at = self._clock()
        for user in answer.attempted:
            self._outbox.stay_in_doubt(user)
        for outcome in answer.outcomes:
            self._unrecorded.append(outcome)
            self.tally.add(outcome)
            self._canary_accepted, user = outcome.is_delivered, outcome.user
            if user.more and outcome.derived:
                count_payloads(self.tally.events, user, outcome.results[-1], self._outbox.count_rest(user))
            elif user.more:
                self._continuing.append(user._replace(profile=None, events=user.events[-1:]))

    def _take_back(self, work: Work, left: Left) -> None:
        """Queue what is left of a piece of work, or fail it when its turn ended for good."""
        if left.why is Why.HELD:
            self._waiting.extendleft(reversed(left.works))
        elif left.why is Why.SETTLING:
            due = self._clock() + self._settle_seconds
            self._settling.extend((due, some._replace(canary=False, sampled=False)) for some in left.works)
        elif left.why is Why.QUOTA:
            self._wait_for_quota(left.works)
        else:
            self._fail(left.works, _NOT_SENT)
        if work.canary:
            accepted = left.why is Why.DONE and self._canary_accepted
            self._canaries = 0 if accepted else max(0, self._canaries - 1)
        kept = {user.identity for some in left.works for user in some.users}
        self._finish(user for user in work.users if user.identity not in kept)

    def _wait_for_quota(self, works: Sequence[Work]) -> None:
        """A 429 is about the quota: the users go back into the queue.

        If nothing was accepted for `QUOTA_PATIENCE`, the run stops; or these users fail, unsent, if others were
        delivered and only such users are left.
        """
        self._in_flight.update((user.identity, True) for work in works for user in work.users)
        if self._clock() - self._accepted_at > QUOTA_PATIENCE:
            if self.tally.served and self._all_claimed and all(self._in_flight.values()):
                self._fail(works, _QUOTA)
                return
            self._stop.set(f"Iterable accepted nothing for {QUOTA_PATIENCE / 60:.0f} minutes and answered 429 to all")
        self._waiting.extend(work._replace(canary=False, sampled=False) for work in works)

    def _fail(self, works: Iterable[Work], result: PayloadResult) -> None:
        """Give everything that is left of these users the same result."""
        users = [user for work in works for user in work.users]
        self._take(Answer(None, [all_with(user, result) for user in users]))
        self._finish(users)

    def _finish(self, users: Iterable[PendingUser]) -> None:
        """Mark users as done, unless more of their events are waiting."""
        done = {user.identity for user in users} - {user.identity for user in self._continuing}
        for identity in done:
            self._in_flight.pop(identity, None)
            self._rules.forget(identity)
        self._progress(len(done))

    def _record(self) -> None:
        if self._unrecorded:
            self._outbox.record(self._unrecorded)
            self._unrecorded.clear()
        self._recorded_at = self._clock()
