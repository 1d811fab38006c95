"""The dispatcher: owed users to the workers, many in flight, outcomes to the state from one writer.

The main thread alone touches the state: it claims owed users, hands them in pieces to the workers and records their
outcomes in groups. What makes the requests of a piece is a `Sender`: one user after another in `single.py`, whole
batches in `bulk.py`. When to stop is for the rules to say.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence

from sync.api.answers import Verdict
from sync.delivery.drawing import draw
from sync.delivery.moves import NOT_FREE
from sync.delivery.outcome import NOT_SENT, TURN_OVER, Reply, with_profile_result
from sync.delivery.rules import DRAWN
from sync.delivery.settling import Settling
from sync.delivery.stop import GRACE, Stop
from sync.delivery.tally import Tally
from sync.delivery.waiting import Waiting
from sync.delivery.watch import Piece, Watch
from sync.delivery.workers import TICK, Sender, Workers
from sync.rows.identity import log_field
from sync.state.outbox import Outbox
from sync.state.owed import Outcome, OwedUser, PayloadResult, Plan, UserOutcome

logger = logging.getLogger("delivery")

MOST_CANARIES = 20
"""Users who go alone at most: by then the key is known to be good, or the stop rules have spoken."""

QUOTA_PATIENCE = 600.0
"""Seconds: as long as the API accepted anything within them, a throttled user is queued again."""

RECORD_GROUP = 100
RECORD_EVERY = 0.2
"""Users and seconds: outcomes are recorded when either is reached."""

NO_ANSWER = PayloadResult(Outcome.FAILED, "no answer before the run ended", alone=False)
QUOTA = PayloadResult(Outcome.FAILED, "429: the quota did not open again", sent=False)
"""Said of the quota, not of the user: as if nothing had been sent."""


class Dispatcher:
    """Delivers one run's debts. `progress(n)` is told of each group of n users that is done with."""

    def __init__(
        self,
        sender: Sender,
        outbox: Outbox,
        stop: Stop,
        watch: Watch,
        *,
        workers: int,
        settle_seconds: float = 0.0,
        progress: Callable[[int], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._sender, self._outbox, self._stop, self._watch = sender, outbox, stop, watch
        self._most_workers, self._progress, self._clock = workers, progress, clock
        self._rng = random.Random() if rng is None else rng  # noqa: S311 - a sample, not a secret
        self._workers = Workers(sender, stop, 0)
        self._waiting = Waiting()
        self._settling = Settling(settle_seconds, clock, outbox.names_to_be_freed())
        self._continuing: list[OwedUser] = []
        self._canary_results: list[PayloadResult] = []
        self._in_flight: dict[str, OwedUser] = {}
        self._throttled: set[str] = set()
        self._cut_short: set[str] = set()
        self._accepted_of: set[str] = set()
        self._all_claimed = self._stopping = False
        self._unrecorded: list[UserOutcome] = []
        self._recorded_at = self._accepted_at = clock()
        self.tally = Tally()

    def run(self, plan: Plan) -> Tally:
        """Deliver all that `plan` counts; what was not reached is failed, which is to say still owed."""
        self.tally.begin(plan)
        self._accepted_at = self._clock()
        owing = plan.owed_users + plan.leavers
        if owing:
            self._workers = Workers(self._sender, self._stop, min(self._most_workers, owing))
            self._workers.start()
            try:
                self._canaries()
                self._serve(plan)
                self._record()
            except BaseException as error:  # such as a state that cannot be written: nobody sends on
                self._stop.set(str(error))
                raise
            finally:
                self.tally.fail_unsent(plan)
                self._workers.end()
        self.tally.stopped_because = self._stop.reason or self.tally.nothing_accepted()
        return self.tally

    # -- the order of service

    def _canaries(self) -> None:
        """One user alone until one is accepted: new fields are created once, and a wrong key costs one request."""
        for _ in range(MOST_CANARIES):
            if self._stop.is_set() or not (users := self._outbox.claim(1, 1)):
                return
            self._canary_results.clear()
            self._serve_alone(Piece(tuple(users), canary=True))
            accepted = [result.outcome is Outcome.DELIVERED for result in self._canary_results]
            if (accepted and all(accepted)) or self._watch.suspicious:
                return

    def _serve_alone(self, canary: Piece) -> None:
        """Serve this user until all is said, or nothing is to be done but to wait."""
        if self._settling.must_wait(canary):
            return
        self._hand_out(canary)
        while self._in_flight and not self._is_too_late():
            if self._stop.is_set():
                self._drop_waiting()
            elif not self._workers.at_work and (self._watch.suspicious or not self._waiting):
                return
            elif piece := self._waiting.next():
                self._hand_out(piece)
            self._take_replies()

    def _serve(self, plan: Plan) -> None:
        """Keep the workers busy until everybody is served or the run stops; then wait for what is on the wire."""
        while not self._is_too_late():
            if self._stop.is_set():
                self._drop_waiting()
            elif self._watch.suspicious:
                self._make_sure(plan)
            else:
                self._keep_busy()
            if self._workers.at_work:
                self._take_replies()
            elif self._stop.is_set() or (self._all_claimed and not self._waiting and not self._continuing):
                if self._stop.is_set() or not self._settling:
                    return
                self._wait_to_settle()
            elif self._settling.is_full:
                self._stop.wait(min(TICK, self._settling.seconds_left()))
        self._give_up_on_hanging()

    def _keep_busy(self) -> None:
        """Hand out pieces while there is room; claim more when nobody waits but for the quota, and not too many."""
        while self._workers.have_room and not self._stop.is_set() and not self._watch.suspicious:
            most = self._most_workers * self._sender.batch_size * 3 + len(self._settling)
            if self._waiting.only_throttled and len(self._in_flight) < most and not self._settling.is_full:
                self._claim_more()
            for settled in self._settling.due():
                self._waiting.add_last(settled)
            piece = self._waiting.next()
            if piece is None:
                return
            if not self._settling.must_wait(piece):
                self._hand_out(piece)

    def _wait_to_settle(self) -> None:
        """Nobody is left but users whose names are not settled yet: wait for the next, or for a signal."""
        in_vain = self._settling.in_vain()
        for piece in in_vain:
            self._settle(piece, with_profile_result(piece.users[0], NOT_FREE))
            self._finish(piece.users)
        if not in_vain:
            self._stop.wait(min(TICK, self._settling.seconds_left()))

    def _claim_more(self) -> None:
        """Claim the next group: further events of those whose first ones are done, then users whose turn comes."""
        size, events = self._sender.batch_size, self._sender.events_in_batch
        group = max(self._most_workers, size)
        budget = max(events, events * group // size)
        if self._continuing:
            some, self._continuing = self._continuing[:group], self._continuing[group:]
            self._waiting.add(self._outbox.claim_rest(some, max(events, events * len(some) // size)), size)
        elif not self._all_claimed:
            users = self._outbox.claim(group, budget)
            self._all_claimed = not users
            self._waiting.add(users, size)

    def _hand_out(self, piece: Piece) -> None:
        self._in_flight.update((user.identity, user) for user in piece.users)
        self._workers.hand_out(piece)

    # -- making sure that it is the API that fails

    def _make_sure(self, plan: Plan) -> None:
        """Try users drawn from those not yet tried; when none gets anything, or nobody is left to draw, give up."""
        if self._watch.making_sure:
            return
        drawn = draw(self._watch.still_to_draw, self._waiting, self._outbox, self._rng)
        if drawn:
            self._watch.make_sure(drawn)
            for user in drawn:
                self._hand_out(Piece((user,), drawn=True))
        elif not self._workers.at_work:
            if self._is_worth_stopping(plan):
                self._watch.give_up()
            else:
                self._all_claimed = True

    def _is_worth_stopping(self, plan: Plan) -> bool:
        """Whether anything is left to send, or was left out because the calls of the only users there were failed."""
        only_these = bool(self._cut_short) and self._accepted_of <= self._cut_short
        return any(self.tally.unsent(plan)) or (only_these and not self.tally.one_is_stubborn)

    # -- replies

    def _take_replies(self) -> None:
        """Handle the replies that are there, or the next within a tick, and record a group when it is time."""
        for piece, reply in self._workers.replies():
            self._handle(piece, reply)
        waited = self._clock() - self._recorded_at
        if len(self._unrecorded) >= RECORD_GROUP or (self._unrecorded and waited >= RECORD_EVERY):
            self._record()

    def _handle(self, piece: Piece, reply: Reply) -> None:
        """Count and keep what has its outcome; queue what is still to be sent of the piece."""
        self.tally.add_calls(reply.calls)
        if any(call.verdict is Verdict.ACCEPTED for call in reply.calls):
            self._accepted_at = self._clock()
        for user in reply.attempted:
            self._outbox.stay_in_doubt(user)
        for outcome in reply.outcomes:
            self._settle(piece, outcome)
        self._waiting.add_first(reply.halves, reply.pieces + reply.held)
        for moved in reply.settling:
            self._settling.add(moved)
        self._throttled.difference_update(user.identity for user in piece.users)
        for throttled in reply.throttled:
            self._wait_for_quota(throttled)
        follows = [reply.follows] if reply.follows else []
        waiting = self._throttled | {
            user.identity
            for part in (*reply.halves, *reply.pieces, *reply.held, *reply.settling, *follows)
            for user in part.users
        }
        self._finish(user for user in piece.users if user.identity not in waiting)

    def _settle(self, piece: Piece, outcome: UserOutcome) -> None:
        """Take note of the outcome of some of a user's payloads."""
        user = outcome.user
        self._unrecorded.append(outcome)
        if user.more:
            self._continuing.append(user._replace(profile=None, events=user.events[-1:]))
        if piece.canary:
            self._canary_results += outcome.of_payloads
        if not outcome.is_delivered:
            self._settle_one_by_one(outcome)
            return
        self.tally.add_delivered(outcome)
        if len(self._accepted_of) <= DRAWN:
            self._accepted_of.add(user.identity)

    def _settle_one_by_one(self, outcome: UserOutcome) -> None:
        """Take note of the outcome of each payload; not all of them were delivered."""
        user, results = outcome.user, outcome.of_payloads
        self.tally.add(outcome)
        self._settle_further_events(outcome, results)
        if TURN_OVER in results:
            self._cut_short.add(user.identity)
        elif any(result.outcome is Outcome.DELIVERED for result in results) and len(self._accepted_of) <= DRAWN:
            self._accepted_of.add(user.identity)
        if outcome.move:
            self._settling.move_ended(user, outcome.move)

    def _settle_further_events(self, outcome: UserOutcome, results: Sequence[PayloadResult]) -> None:
        """Events that are not in memory have the outcome of what kept them from being sent."""
        claimed = self._in_flight.get(outcome.user.identity)
        if not (claimed and claimed.more) or outcome.user.more or NOT_SENT in results[-1:]:
            return
        if outcome.derived or TURN_OVER in results:
            self.tally.add_further_events(outcome.user, results[-1], self._outbox.count_rest(claimed))

    def _finish(self, users: Iterable[OwedUser]) -> None:
        """Be done with users, for this run or, where further events of theirs wait, for now."""
        continuing = {user.identity for user in self._continuing}
        done = [user for user in users if self._in_flight.pop(user.identity, None) and user.identity not in continuing]
        self._watch.turns_are_over(done)
        self._progress(len(done))

    def _wait_for_quota(self, piece: Piece) -> None:
        """A 429 is about the quota: the users go back into the queue while the API accepts anything at all."""
        for user in piece.users:
            self._outbox.stay_in_doubt(user)
        self._throttled.update(user.identity for user in piece.users)
        if self._may_wait():
            self._waiting.add_last(piece._replace(tried=True))
            return
        for user in piece.users:
            self._settle(piece, with_profile_result(user, QUOTA))
        self._throttled.difference_update(user.identity for user in piece.users)

    def _may_wait(self) -> bool:
        """Whether the quota may open again; when others were served and only throttled users are left, they fail."""
        if self._stop.is_set():
            return False
        if self._clock() - self._accepted_at <= QUOTA_PATIENCE:
            return True
        if not (self.tally.accepted and self._all_claimed and self._in_flight.keys() <= self._throttled):
            minutes = QUOTA_PATIENCE / 60
            self._stop.set(f"Iterable accepted nothing for {minutes:.0f} minutes and answered 429 to all")
        return False

    # -- the end

    def _is_too_late(self) -> bool:
        """Whether an interrupted run has waited long enough for what is on the wire."""
        deadline = self._stop.deadline
        return deadline is not None and time.monotonic() > deadline

    def _drop_waiting(self) -> None:
        """The run stops: whoever waits for a worker is not sent."""
        if not self._stopping:
            self._stopping = True
            logger.warning("Stopping: %s; only what is on the wire is waited for", self._stop.reason)
        self._continuing.clear()
        for piece in (*self._waiting.clear(), *self._settling.clear()):
            for user in piece.users:
                self._settle(piece, with_profile_result(user, NOT_SENT))
            self._finish(piece.users)

    def _give_up_on_hanging(self) -> None:
        """What has not answered by now is owed."""
        for user in self._in_flight.values():
            logger.warning("no answer within %.0f s of the signal; owed again %s", GRACE, log_field(user.identity))
            self.tally.add(with_profile_result(user, NO_ANSWER))
        self._in_flight.clear()

    def _record(self) -> None:
        if self._unrecorded:
            self._outbox.record(self._unrecorded)
            self._unrecorded.clear()
        self._recorded_at = self._clock()
