"""Outcomes back: what was answered is put on record; what failed stays owed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from sync.rows.mapping import PROFILE
from sync.state.delivered import Delivered
from sync.state.doubt import Doubt
from sync.state.known_names import KnownNames
from sync.state.owed import Outcome, OwedUser, UserOutcome
from sync.state.scope import Part, RunScope
from sync.state.syncs import add_delivered

_PROFILE_DELIVERED = (
    "UPDATE main.profile SET delivered = ?, rejected = NULL, reason = NULL, again = 0, in_segment = ?, seen = ?, "
    "moment = NULL, fingerprint = NULL WHERE sync = ? AND identity = ?"
)
_OWN = "place = ? AND sync = ? AND identity = ?"  # a place that is free again may be another sync's
_PROFILE_PAID = f"UPDATE owed_user SET body = NULL, digest = NULL, in_doubt = 0 WHERE {_OWN}"
_EVENT_ANSWERED = (
    "INSERT INTO main.event (sync, id, delivered, rejected, reason, seen) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET delivered = excluded.delivered, rejected = excluded.rejected, "
    "reason = excluded.reason, seen = excluded.seen, fingerprint = NULL"
)
_EVENT_PAID = "DELETE FROM owed_event WHERE place = ? AND id = ?"
_FAILS_NO_MORE = "DELETE FROM failer WHERE sync = ? AND identity = ?"


class Outcomes(Part):
    """Records what became of owed users, in groups."""

    def __init__(self, run: RunScope, doubt: Doubt, delivered: Delivered) -> None:
        super().__init__(run)
        self._doubt, self._delivered = doubt, delivered
        self._names = KnownNames(run, doubt)
        self._undelivered = dict(run.policy.fields)
        self._has_failers = bool(run.one("SELECT EXISTS (SELECT 1 FROM failer WHERE sync = ?)", run.sync))

    def record(self, outcomes: Sequence[UserOutcome]) -> None:
        """Put these outcomes on record in one commit; what failed stays owed."""
        with self._state.transaction():
            for delivered, some in groupby(outcomes, attrgetter("is_delivered")):
                if delivered:
                    self._record_delivered(list(some))
                    continue
                for outcome in some:
                    self._record_move(outcome)
                    self._record_profile(outcome)
                    self._record_events(outcome)
                    self._record_failer(outcome)
                    self._doubt.forget(outcome)
            self._db.executemany(
                f"DELETE FROM owed_user WHERE {_OWN} AND body IS NULL AND NOT EXISTS (SELECT 1 FROM temp.due d "
                "CROSS JOIN owed_event e ON e.place = d.place AND e.sync = owed_user.sync AND e.aside = 0 "
                "WHERE d.identity = owed_user.identity)",
                [self._own(outcome.user) for outcome in outcomes if not outcome.followed],
            )
            self._note_fields(outcomes)

    def _note_fields(self, outcomes: Sequence[UserOutcome]) -> None:
        """What is delivered first fixes the types of all fields that this run maps."""
        for name in tuple(self._undelivered):
            if any(_is_delivered(outcome, name) for outcome in outcomes):
                add_delivered(self._state, self._sync, name, self._undelivered.pop(name))

    def _own(self, user: OwedUser) -> tuple[int | None, int, str]:
        """Where in the spool the user is."""
        return user.place, self._sync, user.identity

    def _record_delivered(self, outcomes: Sequence[UserOutcome]) -> None:
        """What most outcomes are, a statement for all of them at once."""
        here, inside = self._sync, bool(self._policy.segment_field)
        users = [outcome.user for outcome in outcomes if outcome.profile]
        self._db.executemany(
            _PROFILE_DELIVERED,
            [(user.digest, False, self._today, here, user.identity) for user in users if user.leaves],
        )
        self._delivered.put_profiles(
            (user.identity, user.digest, user.fingerprint or None, inside and user.in_result, user.moment)
            for user in users
            if not user.leaves
        )
        self._db.executemany(_PROFILE_PAID, [self._own(user) for user in users])
        self._names.delivered(user.identity for user in users)
        events = [event for outcome in outcomes for event in outcome.user.events]
        self._delivered.put_events((event.id, event.digest, event.fingerprint or None) for event in events)
        self._db.executemany(_EVENT_PAID, [(event.place, event.id) for event in events])
        if self._has_failers:
            self._db.executemany(_FAILS_NO_MORE, [(here, outcome.user.identity) for outcome in outcomes])
        for outcome in outcomes:
            self._doubt.forget(outcome)

    def _record_move(self, outcome: UserOutcome) -> None:
        result, move = outcome.move, outcome.user.move
        if result is None or move is None:
            return
        if result.outcome is Outcome.DELIVERED:
            self._names.moved(move, outcome.user.identity)
        elif result.outcome is Outcome.REJECTED or not result.sent:
            self._doubt.restore_move(move, happened_never=result.sent)

    def _record_profile(self, outcome: UserOutcome) -> None:
        result, user = outcome.profile, outcome.user
        if result is None:
            return
        if result.outcome is Outcome.FAILED:
            if not result.sent or (result.turned_away and self._doubt.is_new(user.identity)):
                self._doubt.restore_profile(user)
            return
        self._doubt.put_on_record(user)
        key = (self._sync, user.identity)
        if result.outcome is Outcome.DELIVERED:
            inside = bool(self._policy.segment_field) and user.in_result
            self._db.execute(_PROFILE_DELIVERED, (user.digest, inside, self._today, *key))
            self._names.delivered([user.identity])
        else:
            before = 3 if user.leaves else self._doubt.segment_before(user.identity)
            self._db.execute(
                "UPDATE main.profile SET rejected = ?, reason = ?, again = ?, in_segment = COALESCE(?, in_segment) "
                "WHERE sync = ? AND identity = ?",
                (user.digest, result.reason, result.over_a_name, before, *key),
            )
            self._db.execute(f"UPDATE owed_user SET aside = 1 WHERE {_OWN}", self._own(user))
            self._db.execute(
                "UPDATE owed_event SET aside = 2 WHERE place IN (SELECT place FROM temp.due WHERE identity = ?) "
                "AND sync = ? AND aside = 0",
                (user.identity, self._sync),
            )
            if not user.refused_before:
                self._refuse("scan_user", "identity", user.identity, result.reason)
            return
        self._db.execute(_PROFILE_PAID, self._own(user))

    def _record_events(self, outcome: UserOutcome) -> None:
        for event, result in zip(outcome.user.events, outcome.events, strict=True):
            if outcome.derived or not result.sent:
                self._doubt.restore("event", "id", event.id)
            if result.outcome is Outcome.FAILED or outcome.derived:
                continue
            delivered, rejected = (event.digest, None) if result.outcome is Outcome.DELIVERED else (None, event.digest)
            answered = (self._sync, event.id, delivered, rejected, result.reason or None, self._today)
            self._db.execute(_EVENT_ANSWERED, answered)
            if rejected:
                self._db.execute("UPDATE owed_event SET aside = 1 WHERE place = ? AND id = ?", (event.place, event.id))
                self._refuse("scan_event", "id", event.id, result.reason)
            else:
                self._db.execute(_EVENT_PAID, (event.place, event.id))

    def _record_failer(self, outcome: UserOutcome) -> None:
        """Whose call failed is a known failer, until something of theirs is delivered: the later of the two counts."""
        failer = None
        for result in outcome.results:
            if result.outcome is Outcome.DELIVERED:
                failer = False
            elif result.failed:
                failer = True
        key = (self._sync, outcome.user.identity)
        if failer:
            self._has_failers = True
            self._db.execute("INSERT OR REPLACE INTO failer VALUES (?, ?, ?)", (*key, self._today))
        elif failer is False:
            self._db.execute(_FAILS_NO_MORE, key)

    def stops_in_a_row(self) -> int:
        """How many runs in a row, the last ones, the stop rule for failing calls has stopped."""
        return self._run.one("SELECT stops_in_a_row FROM sync WHERE id = ?", self._sync)

    def record_end(self, *, stopped_by_rule: bool) -> None:
        """Count one more run in a row that the rule stopped, or begin anew."""
        with self._state.transaction():
            self._db.execute(
                "UPDATE sync SET stops_in_a_row = CASE WHEN ? THEN stops_in_a_row + 1 ELSE 0 END WHERE id = ?",
                (stopped_by_rule, self._sync),
            )

    def _refuse(self, table: str, key: str, value: Any, reason: str) -> None:
        """Remember which line of the CSV export was refused."""
        self._db.execute(
            f"INSERT OR IGNORE INTO temp.refused_line SELECT line, ? FROM temp.{table} WHERE {key} = ?",
            (reason, value),
        )

    def refused_lines(self) -> Iterator[tuple[int, str]]:
        """Which rows of the result were newly rejected and why, in the order of the result, counted from 1."""
        with self._state.errors_explained():
            yield from self._db.execute("SELECT line, reason FROM temp.refused_line ORDER BY line")


def _is_delivered(outcome: UserOutcome, name: str) -> bool:
    """Whether a profile with fields was delivered, or an event."""
    if name == PROFILE:
        return outcome.profile is not None and outcome.profile.outcome is Outcome.DELIVERED and not outcome.user.leaves
    return any(result.outcome is Outcome.DELIVERED for result in outcome.events)
