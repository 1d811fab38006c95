"""Delivery: owed users to Iterable, many in flight, outcomes to the state from one writer.

The main thread alone touches the state: it claims owed users, feeds them through a bounded queue to the workers and
records their outcomes in groups. The workers make requests and know nothing of the state. What makes a request is a
`Sender`: one user after another here, whole batches in `bulk.py`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from sync.api.answers import REJECTIONS, STOPPING, Verdict
from sync.delivery.outcome import NOT_SENT, Result, Sender, outcome_of, with_profile_outcome
from sync.delivery.stop import GRACE, Stop
from sync.delivery.tally import Tally
from sync.rows.identity import log_field
from sync.state.outbox import Outbox
from sync.state.owed import Counts, Outcome, OwedUser, PayloadResult, Plan, UserOutcome

logger = logging.getLogger("delivery")

DOWN_AFTER = 5
"""Users in a row whose calls all failed: the API is down."""

JWT_REFUSED_AFTER = 3
MOST_CANARIES = 20
"""Users who go alone at most: by then the key is known to be good, or the answers are of no use."""

PROJECT_REFUSALS = 3
"""Canaries in a row that the project refuses before the run stops."""

NOTHING_ACCEPTED_FOR = 600.0
"""Seconds: as long as the API accepted anything within them, a throttled user is queued again."""


FAILURES = frozenset({Verdict.RETRYABLE, Verdict.UNREADABLE, Verdict.JWT_REFUSED})
ALARMING = STOPPING | FAILURES
ANSWERED = REJECTIONS | {Verdict.ACCEPTED, Verdict.TOO_LARGE}

RECORD_GROUP = 100
RECORD_EVERY = 0.2
"""Users and seconds: outcomes are recorded when either is reached."""

TICK = 0.1


class Delivery:
    """Delivers one run's debts. `progress(n)` is told of each group of n users that is done with."""

    def __init__(
        self,
        sender: Sender,
        outbox: Outbox,
        stop: Stop,
        *,
        workers: int,
        progress: Callable[[int], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sender, self._outbox, self._stop = sender, outbox, stop
        self._workers, self._progress, self._clock = workers, progress, clock
        self._todo: queue.SimpleQueue[tuple[OwedUser, ...] | None] = queue.SimpleQueue()
        # Not a SimpleQueue: its get(timeout) waits for ever when a signal comes as the timeout ends (CPython 3.11).
        self._done: queue.Queue[list[Result]] = queue.Queue()
        self._in_flight: dict[str, OwedUser] = {}
        self._unrecorded: list[UserOutcome] = []
        self._recorded_at = self._accepted_at = clock()
        self._failures: Counter[Verdict] = Counter()
        self._last: Result | None = None
        self.tally = Tally()

    def run(self, plan: Plan) -> Tally:
        """Deliver all that `plan` counts; what was not reached is failed, which is to say still owed."""
        self.tally.users, self.tally.events = replace(plan.users), replace(plan.events)
        expected = (plan.owed_profiles, plan.owed_events)
        self._accepted_at = self._clock()
        if plan.owed_users or plan.leaving:
            threads = self._start_workers(min(self._workers, plan.owed_users + plan.leaving))
            try:
                self._serve_all(plan, expected)
            except BaseException as error:  # such as a state that cannot be written: nobody sends on
                self._stop.set(str(error))
                self._fail_unreached(plan, expected)
                raise
            finally:
                for _ in threads:
                    self._todo.put(None)
        self.tally.stopped_because = self._stop.reason
        return self.tally

    def _serve_all(self, plan: Plan, expected: tuple[int, int]) -> None:
        self._canaries(self._outbox.claim)
        self._serve(self._outbox.claim)
        self._fail_unreached(plan, expected)
        if not plan.exit_held_back:
            if not plan.owed_users:
                self._canaries(self._outbox.claim_leavers)
            self._serve(self._outbox.claim_leavers)
        self._record()

    def _start_workers(self, count: int) -> list[threading.Thread]:
        """Daemons: an answer that hangs must not keep an interrupted run from ending."""
        threads = [threading.Thread(target=self._work, daemon=True, name=f"worker-{n}") for n in range(count)]
        for thread in threads:
            thread.start()
        return threads

    def _work(self) -> None:
        while (job := self._todo.get()) is not None:
            try:
                results = self._not_sent(job) if self._stop.is_set() else self._sender.send(job)
                self._stop_at_once(results)
            except Exception as error:  # a bug must cost one job its outcome and not the run its end
                logger.exception(
                    "Unexpected error while sending %s and %d more", log_field(job[0].identity), len(job) - 1
                )
                self._stop.set(f"unexpected {type(error).__name__}: {error}; the log has the traceback")
                results = self._in_doubt(job)
            self._done.put(results)

    def _stop_at_once(self, results: Sequence[Result]) -> None:
        """Some answers stop the run before this worker takes the next job."""
        for result in results:
            if result.last in STOPPING:
                self._stop.set(_remedy(result))

    def _not_sent(self, job: Sequence[OwedUser]) -> list[Result]:
        told = outcome_of(NOT_SENT)
        return [Result(with_profile_outcome(user, told), None, NOT_SENT.verdict, told.reason) for user in job]

    def _in_doubt(self, job: Sequence[OwedUser]) -> list[Result]:
        """Nobody knows what of the job was sent: all of it is owed, and nothing counts as known."""
        told = PayloadResult(Outcome.FAILED, "an unexpected error; the log has the traceback")
        return [
            Result(
                UserOutcome(user, told if user.profile is not None else None, (told,) * len(user.events)),
                None,
                Verdict.INTERRUPTED,
                told.reason,
            )
            for user in job
        ]

    def _canaries(self, claim: Callable[[int], list[OwedUser]]) -> None:
        """One user alone until one is accepted: new fields are created once, and a wrong key costs one request."""
        refused = 0
        for _ in range(MOST_CANARIES):
            if self._stop.is_set() or not self._feed(claim(1)):
                return
            self._settle_all()
            if self._last is None or self._last.last is Verdict.ACCEPTED:
                return
            refused = refused + 1 if self._last.last is Verdict.REJECTED_BY_PROJECT else 0
            if refused == PROJECT_REFUSALS:
                why = f"the project refused {PROJECT_REFUSALS} users in a row for a reason of its own"
                self._stop.set(f"{why}, the last with: {self._last.reason}")
        if self._last and self._last.last is Verdict.UNREADABLE:
            self._stop.set(f"{MOST_CANARIES} users in a row got answers of no use, the last: {self._last.reason}")

    def _serve(self, claim: Callable[[int], list[OwedUser]]) -> None:
        """Keep the workers busy until `claim` gives nobody more, then wait for the last."""
        group = max(self._workers, self._sender.batch_size)
        enough = self._workers * self._sender.batch_size + group
        while not self._stop.is_set():
            if len(self._in_flight) + group > enough:
                self._take_one()
            elif not self._feed(claim(group)):
                break
        self._settle_all()

    def _feed(self, users: Sequence[OwedUser]) -> bool:
        size = self._sender.batch_size
        self._in_flight.update((user.identity, user) for user in users)
        for start in range(0, len(users), size):
            self._todo.put(tuple(users[start : start + size]))
        return bool(users)

    def _settle_all(self) -> None:
        """Wait until nobody is in flight, or until an interrupted run has waited long enough."""
        while self._in_flight:
            deadline = self._stop.deadline
            if deadline is not None and time.monotonic() > deadline:
                self._give_up_on_hanging()
                return
            self._take_one()
        self._record()

    def _take_one(self) -> None:
        """Handle one job's results if there are any within a tick, and record a group when it is time."""
        try:
            results = self._done.get(timeout=TICK)
        except queue.Empty:
            results = []
        if results:
            self._judge_api(results)
        self._feed([again for result in results if (again := self._handle(result))])
        waited = self._clock() - self._recorded_at
        if len(self._unrecorded) >= RECORD_GROUP or (self._unrecorded and waited >= RECORD_EVERY):
            self._record()

    def _handle(self, result: Result) -> OwedUser | None:
        """Count and keep one result; return what has to be sent of the user still."""
        self.tally.requests += sum(call.attempts for call in result.calls)
        for call in result.calls:
            self.tally.retries.update(call.retried)
        self._count(result.outcome)
        self._unrecorded.append(result.outcome)
        user = result.outcome.user
        if result.rest:
            self._outbox.stay_in_doubt(result.rest)
            if self._may_wait(result.rest):
                return result.rest
        if user.more and not self._stop.is_set():
            rest = self._outbox.claim_rest(user)
            if not result.outcome.derived:
                return rest
            derived = with_profile_outcome(rest, result.outcome.events[0])
            self._done.put([Result(derived, None, Verdict.INTERRUPTED, result.reason)])
            return None
        self._in_flight.pop(user.identity, None)
        self._progress(1)
        return None

    def _may_wait(self, user: OwedUser) -> bool:
        """A 429 is about the quota: the user goes back into the queue while the API accepts anything at all."""
        if not self._stop.is_set() and self._clock() - self._accepted_at <= NOTHING_ACCEPTED_FOR:
            return True
        self._stop.set(f"Iterable accepted nothing for {NOTHING_ACCEPTED_FOR / 60:.0f} minutes and answered 429 to all")
        self._fail(user, "429: the quota did not open again")
        return False

    def _judge_api(self, results: Sequence[Result]) -> None:
        """Stop the run when one job's results show that it cannot succeed."""
        calls = [call for result in results for call in result.calls]
        understood = any(call.understood for call in calls)
        if any(call.verdict is Verdict.ACCEPTED for call in calls):
            self._accepted_at = self._clock()
        result = next((result for result in results if result.last in ALARMING), results[0])
        self._last = result if result.calls or self._last is None else self._last
        if result.last in ANSWERED or (result.last is Verdict.UNREADABLE and understood):
            self._failures.clear()
        elif result.last in FAILURES:
            self._failures[result.last] += 1
            if self._failures[Verdict.JWT_REFUSED] >= JWT_REFUSED_AFTER:
                self._stop.set(_remedy(result))
            elif self._failures.total() >= DOWN_AFTER:
                self._stop.set(f"the API is down: {DOWN_AFTER} users in a row failed, the last with: {result.reason}")

    def _count(self, outcome: UserOutcome) -> None:
        told = outcome.profile
        if told and outcome.user.leaves and told.outcome is Outcome.DELIVERED:
            self.tally.left_segment += 1
        elif told:
            self._count_one(self.tally.users, told)
        for event in outcome.events:
            self._count_one(self.tally.events, event)

    @staticmethod
    def _count_one(counts: Counts, told: PayloadResult) -> None:
        counts.add(told.outcome)
        counts.newly_rejected += told.outcome is Outcome.REJECTED

    def _fail(self, user: OwedUser, reason: str) -> None:
        self._count(with_profile_outcome(user, PayloadResult(Outcome.FAILED, reason)))

    def _give_up_on_hanging(self) -> None:
        """What has not answered by now is owed."""
        for user in self._in_flight.values():
            logger.warning("no answer within %.0f s of the signal; owed again %s", GRACE, log_field(user.identity))
            self._fail(user, "no answer before the run ended")
        self._in_flight.clear()
        self._record()

    def _fail_unreached(self, plan: Plan, expected: tuple[int, int]) -> None:
        """A stopped run leaves owed payloads that nobody claimed: they are failed."""
        if not self._stop.is_set():
            return
        for counts, before, owed in zip(
            (self.tally.users, self.tally.events), (plan.users, plan.events), expected, strict=True
        ):
            reached = counts.sent() - before.sent()
            counts.failed += max(0, owed - reached)

    def _record(self) -> None:
        if self._unrecorded:
            self._outbox.record(self._unrecorded)
            self._unrecorded.clear()
        self._recorded_at = self._clock()


def _remedy(result: Result) -> str:
    """Why the run stops and what to do about it."""
    if result.last is Verdict.CREDENTIALS_REFUSED:
        return (
            f"Iterable refused the credentials: {result.reason}; check ITERABLE_API_KEY (its type and project) and "
            "that ITERABLE_API_BASE_URL is the region of that project"
        )
    if result.last is Verdict.JWT_REFUSED:
        return (
            f"Iterable refused the JWT of {JWT_REFUSED_AFTER} users: {result.reason}; check that ITERABLE_JWT_SECRET "
            "belongs to ITERABLE_API_KEY, this machine's clock, and JWT_ISSUER"
        )
    if result.last is Verdict.WRONG_URL:
        return f"the answer does not come from Iterable's API: {result.reason}; check ITERABLE_API_BASE_URL"
    return result.reason
