"""Outcomes back: what became of each payload that was claimed, noted in the backlog and then settled (settle.sql)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sync.rows.mapping import PROFILE
from sync.state.exchange import Outcome, PayloadResult, PendingUser, Policy, UserOutcome, places_of
from sync.state.file import State
from sync.state.run_scope import RunScope
from sync.state.schema import script
from sync.state.syncs import add_delivered

_ANSWERED = "UPDATE pending SET state = ?, reason = ? WHERE place = ? AND state IN (1, 2)"
_NOT_SENT = "UPDATE pending SET state = 0 WHERE place = ? AND state = 1"
_ATTEMPTED = "UPDATE pending SET state = 2 WHERE place = ? AND state = 1"

_PENDING, _UNCONFIRMED, _DELIVERED, _REJECTED, _ASIDE = 0, 2, 3, 4, 5


class Outcomes(RunScope):
    """Records what became of users, in groups."""

    def __init__(self, state: State, sync: int, policy: Policy, now: float) -> None:
        super().__init__(state, sync, policy, now)
        self._attempted: set[int] = set()
        self._undelivered = dict(policy.fields)
        self._has_failers = bool(self.one("SELECT EXISTS (SELECT 1 FROM failer WHERE sync = :sync)"))

    def stay_in_doubt(self, user: PendingUser) -> None:
        """An attempt was made for this user, and another will follow: until there is an answer, it is unconfirmed."""
        self._attempted.update(places_of(user))

    def record(self, outcomes: Sequence[UserOutcome]) -> None:
        """Put these outcomes on record in one commit; what failed stays pending."""
        with self._state.transaction():
            self._db.executemany(_ATTEMPTED, [(place,) for place in self._attempted])
            answered: list[tuple[int, str | None, int]] = []
            for outcome in outcomes:
                answered += self._outcome_of(outcome)
                self._note_failure(outcome)
            taken = self._db.executemany(_ANSWERED, answered).rowcount
            self._note_fields(outcomes)
            if answered and taken != len(answered):
                raise RuntimeError(f"{len(answered) - taken} outcomes are of payloads that were not claimed")
        self._attempted.clear()

    def _note_fields(self, outcomes: Sequence[UserOutcome]) -> None:
        """The first delivery fixes the types of all fields that this run maps."""
        for name in tuple(self._undelivered):
            if any(_is_delivered(outcome, name) for outcome in outcomes):
                add_delivered(self._state, self._sync, name, self._undelivered.pop(name))

    def _outcome_of(self, outcome: UserOutcome) -> Iterator[tuple[int, str | None, int]]:
        """The state, reason and place of each of the user's payloads that was sent."""
        user, profile = outcome.user, outcome.profile
        if outcome.move:
            self._note_move(user, outcome.move)
        if profile is not None:
            yield from self._answer(user.place, profile)
            if profile.outcome is Outcome.REJECTED:
                self._reject(user, profile)
        derived = outcome.derived and profile is not None and profile.outcome is Outcome.REJECTED
        for event, result in zip(outcome.user.events, outcome.events, strict=True):
            if not derived:
                unsent = result._replace(sent=False) if outcome.derived else result
                yield from self._answer(event.place, unsent)
                if result.outcome is Outcome.REJECTED:
                    self._refuse(event.place, result.reason)

    def _answer(self, place: int, result: PayloadResult) -> Iterator[tuple[int, str | None, int]]:
        if result.outcome is Outcome.DELIVERED:
            yield _DELIVERED, None, place
        elif result.outcome is Outcome.REJECTED:
            yield _PENDING if result.over_a_name else _REJECTED, result.reason, place
        elif result.sent and not result.turned_away:
            yield _UNCONFIRMED, None, place
        else:
            self._db.execute(_NOT_SENT, (place,))

    def _reject(self, user: PendingUser, result: PayloadResult) -> None:
        """The events of a rejected profile are set aside with it or, after a name conflict, tried again with it.

        An attempt before the rejection may have put the user into the segment, and nobody knows what Iterable has.
        """
        self.do(
            "UPDATE known SET fingerprint = NULL WHERE sync = :sync "
            "AND key = (SELECT person FROM pending WHERE place = :place)",
            place=user.place,
        )
        self.do(
            "INSERT OR IGNORE INTO member (sync, field, person) SELECT sync, :field, person FROM pending "
            "WHERE place = :place AND state = 2 AND inside = 1 AND :field <> ''",
            place=user.place,
        )
        self.do(
            "UPDATE pending SET state = :state, reason = :reason WHERE sync = :sync AND state < 3 AND place > :place "
            "AND place <= (SELECT last FROM temp.turn WHERE first = :place)",
            place=user.place,
            state=_PENDING if result.over_a_name else _ASIDE,
            reason=result.reason,
        )
        if not user.refused_before:
            self._refuse(user.place, result.reason)

    def _refuse(self, place: int, reason: str) -> None:
        """Remember which row of the result was rejected."""
        self.do(
            "UPDATE temp.scan SET mark = 4, reason = :reason WHERE line IS NOT NULL "
            "AND key = (SELECT key FROM pending WHERE place = :place)",
            place=place,
            reason=reason,
        )

    def _note_move(self, user: PendingUser, result: PayloadResult) -> None:
        """A user whose address was changed, or did not have to be, is known by the new one, but has no profile yet."""
        assert user.move is not None  # noqa: S101 - it has an outcome
        person = user.move.person
        if result.outcome is Outcome.DELIVERED:
            self.do("UPDATE name SET state = 2 WHERE sync = :sync AND person = :person AND state < 2", person=person)
            self.do(
                "INSERT INTO name VALUES (:sync, :person, :address, 0, :today) ON CONFLICT DO UPDATE SET state = 0",
                person=person,
                address=user.identity,
            )
            self.do("UPDATE known SET fingerprint = NULL WHERE sync = :sync AND key = :person", person=person)
        elif result.outcome is Outcome.REJECTED:
            self.do("DELETE FROM name WHERE sync = :sync AND person = :person AND state = 1", person=person)

    def _note_failure(self, outcome: UserOutcome) -> None:
        """A user whose call failed is a repeat failure until something is delivered: the later of the two counts."""
        counted = [result for result in outcome.results if result.failed or result.outcome is Outcome.DELIVERED]
        if not counted or not (counted[-1].failed or self._has_failers):
            return
        person = "(SELECT person FROM pending WHERE place = :place)"
        if counted[-1].failed:
            self._has_failers = True
            self.do(f"INSERT OR REPLACE INTO failer VALUES (:sync, {person}, :today)", place=outcome.user.place)
        else:
            self.do(f"DELETE FROM failer WHERE sync = :sync AND person = {person}", place=outcome.user.place)

    def refused_lines(self) -> Iterator[tuple[int, str]]:
        """Which rows of the result were newly rejected and why, in the order of the result, counted from 1."""
        last = 0
        for line, reason in self.do(
            "SELECT line, reason FROM temp.scan WHERE mark = 4 AND reason IS NOT NULL AND line IS NOT NULL "
            "ORDER BY line, moment"
        ):
            if line != last:
                yield line, reason
            last = line


def _is_delivered(outcome: UserOutcome, name: str) -> bool:
    """Whether a profile with fields was delivered, or an event."""
    if name == PROFILE:
        return outcome.profile is not None and outcome.profile.outcome is Outcome.DELIVERED and not outcome.user.leaves
    return any(result.outcome is Outcome.DELIVERED for result in outcome.events)


def settle(state: State, sync: int, today: int) -> None:
    """Put on record what became of all that was claimed of this sync. `today` is a day number since 1970.

    The run does so at its end, or else the next run at its start; there is no other recovery. Addresses and ids come in
    random order, so putting each answer into its place at once would write a page of the file for nearly every one.
    Settled together, they are sorted, and written one after the other.
    """
    here = {"sync": sync, "today": today}
    claimed = "SELECT EXISTS (SELECT 1 FROM pending WHERE sync = :sync AND state BETWEEN 1 AND 4)"
    if state.execute(claimed, here).fetchone()[0]:
        with state.transaction():
            for statement in script("settle")[""]:
                state.execute(statement, here)
