"""What one run owes: rows in, owed users out, outcomes back into the state.

In doubt, owed. Before anything is sent of a user, the state forgets what Iterable held of them (`claim`); it learns
the new payload only from Iterable's answer (`record`). So an answer that was never recorded means: send again, even
if the row went back to its old value meanwhile. What is owed stays in the state until it is delivered or rejected,
also when its row has left the result.

The rows of a run are collected in temporary tables of SQLite (a file that the system removes by itself), so a
million of them need no more memory than a thousand, and one commit turns them into debts.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sync.rows.payloads import UNKNOWN_MOMENT, Event, Payload, Rejection, RowPayloads, leave_body, with_segment_false
from sync.state.file import CACHE_KIB, State

GROUP = 500
FORGET_AFTER = 90
"""Days: what was in no result for so long may be forgotten."""

SEEN_EXACT = 7
"""Days: `seen` is only written when it is older, so that a run in which nothing changed writes next to nothing."""

SMALL_SEGMENT = 10
"""Members: a smaller segment may empty itself without being asked about."""

EVENTS_AT_ONCE = 500
"""Events of one user that are in memory at a time."""

SCAN = """
CREATE TEMP TABLE scan_user (
    position INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, moment INTEGER NOT NULL, line INTEGER NOT NULL,
    mark INTEGER NOT NULL, digest BLOB, body TEXT, reason TEXT
);
CREATE TEMP TABLE scan_event (
    id BLOB PRIMARY KEY, identity TEXT NOT NULL, moment INTEGER NOT NULL, line INTEGER NOT NULL,
    mark INTEGER NOT NULL, digest BLOB NOT NULL, body TEXT, reason TEXT
) WITHOUT ROWID;
CREATE TEMP TABLE leaver (place INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE);
CREATE TEMP TABLE refused_line (line INTEGER PRIMARY KEY, reason TEXT NOT NULL);
"""

SHADOWS = """
CREATE TEMP TABLE owed_user AS SELECT * FROM main.owed_user WHERE destination = {0};
CREATE UNIQUE INDEX temp.owed_user_of ON owed_user (destination, identity);
CREATE UNIQUE INDEX temp.owed_user_at ON owed_user (place);
CREATE TEMP TABLE owed_event AS SELECT * FROM main.owed_event WHERE destination = {0};
CREATE UNIQUE INDEX temp.owed_event_id ON owed_event (destination, id);
CREATE INDEX temp.owed_event_user ON owed_event (destination, identity, moment);
"""
"""Tables of the same names that hide the state's own from a run that may not write them."""


class Mark(enum.IntEnum):
    """What the state says of one payload of the result."""

    NONE = 0  # there is no such payload: the mapping asks for none
    UNCHANGED = 1
    OWED = 2
    KNOWN_REJECTED = 3
    NEWLY_REJECTED = 4


class OwedEvent(NamedTuple):
    """An event that Iterable does not have."""

    id: bytes
    digest: bytes
    body: str
    moment: int = 0


@dataclass(frozen=True, slots=True)
class OwedUser:
    """A user with what is owed: the profile, if any, then the events, oldest first.

    `more` says that further events wait until these are recorded; `leaves` that the profile is there to take the user
    out of the segment; `in_result` is False for every profile that carries the segment field as false.
    """

    identity: str
    profile: str | None
    digest: bytes | None
    events: tuple[OwedEvent, ...]
    leaves: bool = False
    more: bool = False
    in_result: bool = True


class Outcome(enum.Enum):
    """What became of a payload."""

    DELIVERED = "delivered"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    FAILED = "failed"


class PayloadResult(NamedTuple):
    """An outcome with its reason. `sent` is False when surely no request was made, so that nothing is in doubt."""

    outcome: Outcome
    reason: str = ""
    sent: bool = True


@dataclass(frozen=True, slots=True)
class UserOutcome:
    """What became of one owed user: None for a profile that was not owed; events in the user's order.

    `derived` events were not sent: they have the profile's outcome.
    """

    user: OwedUser
    profile: PayloadResult | None
    events: tuple[PayloadResult, ...]
    derived: bool = False


@dataclass
class Counts:
    """How many payloads had which outcome; `newly_rejected` are those that were not rejected before."""

    delivered: int = 0
    unchanged: int = 0
    rejected: int = 0
    failed: int = 0
    newly_rejected: int = 0

    def add(self, outcome: Outcome, count: int = 1) -> None:
        """Count `count` payloads with this outcome."""
        setattr(self, outcome.value, getattr(self, outcome.value) + count)

    def sent(self) -> int:
        """How many have an outcome that is not `unchanged`."""
        return self.delivered + self.rejected + self.failed


@dataclass
class Plan:
    """What the result of the query means: counted before anything is sent."""

    users: Counts = field(default_factory=Counts)
    events: Counts = field(default_factory=Counts)
    owed_users: int = 0
    owed_profiles: int = 0
    owed_events: int = 0
    leaving: int = 0
    segment_size: int = 0
    exit_held_back: bool = False
    segment_renamed_from: str = ""


@dataclass(frozen=True)
class Policy:
    """How a run reads the state.

    `whole_window`: the whole result of the usual window was read, so that a user's absence from it says something.
    """

    whole_window: bool = True
    full: bool = False
    retry_rejected: bool = False
    allow_mass_exit: bool = False
    segment_field: str = ""


class Outbox:
    """The debts of one run at one destination. `today` is a day number since 1970."""

    def __init__(self, state: State, destination: int, policy: Policy, today: int) -> None:
        self._state, self._db = state, state.db
        self._destination, self._policy, self._today = destination, policy, today
        self._after = self._after_leaver = -1
        self._renamed_from = ""
        self._exit_held_back = False
        self._prior: dict[str | bytes, tuple[bytes | None, int]] = {}
        with state.errors_explained():
            self._db.execute(f"PRAGMA temp.cache_size=-{CACHE_KIB}")
            self._db.executescript(SCAN)
            if not state.writable:
                self._db.executescript(SHADOWS.format(destination))

    # -- rows in ---------------------------------------------------------------------------------------------

    def load(self, rows: Iterable[RowPayloads]) -> int:
        """Take all rows of the result and return how many there were; a group at a time is in memory."""
        group: list[tuple[int, RowPayloads]] = []
        line = 0
        for line, row in enumerate(rows, start=1):
            group.append((line, row))
            if len(group) == GROUP:
                self._load_group(group)
                group.clear()
        self._load_group(group)
        return line

    def _load_group(self, group: Sequence[tuple[int, RowPayloads]]) -> None:
        with self._state.transaction():
            users = self._known("profile", "identity", [row.identity for _, row in group])
            events = self._known("event", "id", [bytes.fromhex(row.event.id) for _, row in group if row.event])
            self._db.executemany(
                "INSERT INTO temp.scan_user (identity, moment, line, mark, digest, body, reason) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (identity) DO UPDATE SET moment = excluded.moment, "
                "line = excluded.line, mark = excluded.mark, digest = excluded.digest, body = excluded.body, "
                "reason = excluded.reason WHERE excluded.moment > moment",
                [self._user_row(line, row, users.get(row.identity)) for line, row in group],
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO temp.scan_event VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [self._event_row(line, row, row.event, events) for line, row in group if row.event],
            )

    def _known(self, table: str, key: str, keys: Sequence[Any]) -> dict[Any, tuple[bytes | None, bytes | None]]:
        """What the state knows of these keys: key -> digests delivered and rejected."""
        marks = ",".join("?" * len(keys))
        query = f"SELECT {key}, delivered, rejected FROM main.{table} WHERE destination = ? AND {key} IN ({marks})"
        return {row[0]: (row[1], row[2]) for row in self._db.execute(query, (self._destination, *keys))}

    def _mark(self, digest: bytes, rejected: bool, known: tuple[bytes | None, bytes | None] | None) -> Mark:
        delivered_before, rejected_before = known or (None, None)
        if rejected:
            return Mark.KNOWN_REJECTED if digest == rejected_before else Mark.NEWLY_REJECTED
        if self._policy.full:
            return Mark.OWED
        if digest == delivered_before:
            return Mark.UNCHANGED
        return Mark.KNOWN_REJECTED if digest == rejected_before and not self._policy.retry_rejected else Mark.OWED

    def _user_row(self, line: int, row: RowPayloads, known: Any) -> tuple[Any, ...]:
        profile = row.profile
        if profile is None:
            return row.identity, row.moment, line, Mark.NONE, None, None, None
        mark = self._mark(profile.digest, isinstance(profile, Rejection), known)
        body = profile.body if isinstance(profile, Payload) and mark is Mark.OWED else None
        reason = profile.reason if isinstance(profile, Rejection) else None
        return row.identity, row.moment, line, mark, profile.digest, body, reason

    def _event_row(self, line: int, row: RowPayloads, event: Any, known: Mapping[Any, Any]) -> tuple[Any, ...]:
        key = bytes.fromhex(event.id)
        rejected = not isinstance(event, Event)
        mark = self._mark(event.digest, rejected, known.get(key))
        body = event.body if not rejected and mark is Mark.OWED else None
        reason = event.reason if rejected else None
        return key, row.identity, row.moment, line, mark, event.digest, body, reason

    # -- rows into debts -------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Turn the collected rows into debts, in one commit, and say what they mean."""
        plan = Plan()
        with self._state.transaction():
            self._derive_events()
            plan.segment_renamed_from = self._renamed_segment()
            self._find_leavers(plan)
            self._put_debts()
            self._count(plan)
            if self._state.writable:
                self._forget_refusals()
                self._remember()
        return plan

    def _derive_events(self) -> None:
        """An owed event of a rejected profile has the profile's outcome."""
        self._db.execute(
            "UPDATE temp.scan_event SET body = NULL, "
            "mark = (SELECT mark FROM temp.scan_user u WHERE u.identity = scan_event.identity) "
            "WHERE mark = ? AND identity IN (SELECT identity FROM temp.scan_user WHERE mark >= ?)",
            (Mark.OWED, Mark.KNOWN_REJECTED),
        )

    def _renamed_segment(self) -> str:
        """The old name when SEGMENT_FIELD changed; nobody is a member of the new field yet."""
        found = self._db.execute("SELECT segment_field FROM destination WHERE id = ?", (self._destination,)).fetchone()
        old: str = found[0] if found else ""
        if old == self._policy.segment_field:
            return ""
        self._renamed_from = old
        if old:
            self._db.execute(
                "UPDATE owed_user SET body = json_remove(body, ?) WHERE destination = ? AND body IS NOT NULL",
                (f'$.dataFields."{old}"', self._destination),
            )
        if self._state.writable:
            self._db.execute(
                "UPDATE main.profile SET in_segment = 0 WHERE destination = ? AND in_segment > 0", (self._destination,)
            )
            self._db.execute(
                "UPDATE destination SET segment_field = ? WHERE id = ?", (self._policy.segment_field, self._destination)
            )
        return old

    def _find_leavers(self, plan: Plan) -> None:
        """Those who were in the segment and are not in the result, unless they would empty it."""
        if not (self._policy.whole_window and self._policy.segment_field) or self._renamed_from:
            return
        plan.segment_size = self._one(
            "SELECT COUNT(*) FROM main.profile WHERE destination = ? AND in_segment > 0", self._destination
        )
        self._db.execute(
            "INSERT INTO temp.leaver (identity) SELECT identity FROM main.profile WHERE destination = ? AND "
            "in_segment > 0 AND identity NOT IN (SELECT identity FROM temp.scan_user) ORDER BY identity",
            (self._destination,),
        )
        plan.leaving = self._one("SELECT COUNT(*) FROM temp.leaver")
        many = plan.segment_size >= SMALL_SEGMENT and plan.leaving * 2 > plan.segment_size
        if many and not self._policy.allow_mass_exit:
            plan.exit_held_back = self._exit_held_back = True
            self._db.execute("DELETE FROM temp.leaver")

    def _put_debts(self) -> None:
        """Replace what was owed to the users of the result; what was owed to others stays, and comes first."""
        here = self._destination
        self._db.execute(
            "DELETE FROM owed_event WHERE destination = ? AND id IN (SELECT id FROM temp.scan_event)", (here,)
        )
        self._db.execute(
            "INSERT INTO owed_event (destination, id, identity, moment, digest, body) "
            "SELECT ?, id, identity, moment, digest, body FROM temp.scan_event WHERE mark = ?",
            (here, Mark.OWED),
        )
        self._db.execute(
            "DELETE FROM owed_user WHERE destination = ? AND identity IN (SELECT identity FROM temp.scan_user)", (here,)
        )
        self._db.execute(
            "INSERT INTO owed_user (place, destination, identity, digest, body) "
            "SELECT (SELECT COALESCE(MAX(place), 0) FROM owed_user) + position, ?, identity, digest, body "
            "FROM temp.scan_user u WHERE mark = ? OR (mark < 3 AND EXISTS (SELECT 1 FROM owed_event e "
            "WHERE e.destination = ? AND e.identity = u.identity)) ORDER BY position",
            (here, Mark.OWED, here),
        )
        self._db.execute(
            "INSERT INTO owed_user (place, destination, identity) "
            "SELECT (SELECT COALESCE(MAX(place), 0) FROM owed_user) + ROW_NUMBER() OVER (ORDER BY identity), ?, "
            "identity FROM (SELECT DISTINCT identity FROM owed_event o "
            "WHERE destination = ? AND NOT EXISTS (SELECT 1 FROM owed_user u WHERE u.destination = o.destination AND "
            "u.identity = o.identity) AND identity NOT IN (SELECT identity FROM temp.scan_user))",
            (here, here),
        )

    def _count(self, plan: Plan) -> None:
        """Everything but what is owed has its outcome now."""
        kinds: tuple[tuple[str, Counts], ...] = (("scan_user", plan.users), ("scan_event", plan.events))
        for table, counts in kinds:
            for mark, count in self._db.execute(f"SELECT mark, COUNT(*) FROM temp.{table} GROUP BY mark"):
                if mark == Mark.UNCHANGED:
                    counts.unchanged += count
                elif mark >= Mark.KNOWN_REJECTED:
                    counts.rejected += count
                    counts.newly_rejected += count if mark == Mark.NEWLY_REJECTED else 0
        scope, here = self._scope(), self._destination
        plan.owed_users, plan.owed_profiles = self._db.execute(
            f"SELECT COUNT(*), COUNT(body) FROM owed_user o WHERE destination = ? AND {scope}",
            (here,),
        ).fetchone()
        plan.owed_events = self._one(
            f"SELECT COUNT(*) FROM owed_event o WHERE destination = ? AND {scope} AND EXISTS "
            "(SELECT 1 FROM owed_user u WHERE u.destination = o.destination AND u.identity = o.identity)",
            here,
        )
        plan.leaving = self._one("SELECT COUNT(*) FROM temp.leaver") if not plan.exit_held_back else plan.leaving

    def new_rejections(self) -> Iterator[tuple[str, str]]:
        """Who was rejected before any request, and why: (identity, reason)."""
        with self._state.errors_explained():
            yield from self._db.execute(
                "SELECT identity, reason FROM temp.scan_user WHERE mark = 4 UNION ALL "
                "SELECT e.identity, e.reason FROM temp.scan_event e JOIN temp.scan_user u ON u.identity = e.identity "
                "WHERE e.mark = 4 AND e.reason IS NOT NULL AND u.mark < 3"
            )

    def _forget_refusals(self) -> None:
        """What `--retry-rejected` or `--full` owes stays owed when this run does not get to it."""
        if not (self._policy.full or self._policy.retry_rejected):
            return
        delivered = ", delivered = NULL" if self._policy.full else ""
        for table, key, scan in (("profile", "identity", "scan_user"), ("event", "id", "scan_event")):
            self._db.execute(
                f"UPDATE main.{table} SET rejected = NULL, reason = NULL{delivered} WHERE destination = ? "
                f"AND {key} IN (SELECT {key} FROM temp.{scan} WHERE mark = ?)",
                (self._destination, Mark.OWED),
            )

    def _remember(self) -> None:
        """Put new rejections on record, note who was seen, and forget who was not for 90 days."""
        here, today = self._destination, self._today
        self._db.execute(
            "INSERT INTO main.profile (destination, identity, rejected, reason, in_segment, seen) "
            "SELECT ?, identity, digest, reason, 0, ? FROM temp.scan_user WHERE mark = 4 ON CONFLICT DO UPDATE SET "
            "rejected = excluded.rejected, reason = excluded.reason",
            (here, today),
        )
        self._db.execute(
            "INSERT INTO main.event (destination, id, rejected, reason, seen) "
            "SELECT ?, id, digest, reason, ? FROM temp.scan_event WHERE mark = 4 AND reason IS NOT NULL "
            "ON CONFLICT DO UPDATE SET rejected = excluded.rejected, reason = excluded.reason",
            (here, today),
        )
        self._db.execute(
            "INSERT OR IGNORE INTO temp.refused_line SELECT line, reason FROM temp.scan_user WHERE mark = 4 UNION ALL "
            "SELECT line, reason FROM temp.scan_event WHERE mark = 4 AND reason IS NOT NULL"
        )
        for table, key, scan in (("profile", "identity", "scan_user"), ("event", "id", "scan_event")):
            self._db.execute(
                f"UPDATE main.{table} SET seen = ? WHERE destination = ? AND seen < ? "
                f"AND {key} IN (SELECT {key} FROM temp.{scan})",
                (today, here, today - SEEN_EXACT),
            )
        stale = (here, today - FORGET_AFTER)
        self._db.execute("DELETE FROM main.profile WHERE destination = ? AND seen < ? AND in_segment = 0", stale)
        self._db.execute("DELETE FROM main.event WHERE destination = ? AND seen < ?", stale)

    def _scope(self) -> str:
        """Whom this run serves: a whole_window run everybody, any other only the users of its rows.

        While a mass exit is held back nobody knows whether who is not in the result has left it; they wait.
        """
        everybody = self._policy.whole_window and not self._exit_held_back
        own = "true" if everybody else "o.identity IN (SELECT identity FROM temp.scan_user)"
        return f"{own} AND o.identity NOT IN (SELECT identity FROM temp.leaver)"

    def _one(self, query: str, *values: Any) -> int:
        return int(self._db.execute(query, values).fetchone()[0])

    # -- debts out -------------------------------------------------------------------------------------------

    def claim(self, count: int) -> list[OwedUser]:
        """The next `count` owed users at most; the state forgets what Iterable held of them before this returns."""
        with self._state.transaction():
            users = self._next_users(count)
            self._mark_in_doubt(users)
        return users

    def claim_leavers(self, count: int) -> list[OwedUser]:
        """As `claim`, for those who leave the segment: after a complete run, once everybody else was served."""
        with self._state.transaction():
            users = self._next_leavers(count)
            self._mark_in_doubt(users)
        return users

    def claim_rest(self, user: OwedUser) -> OwedUser:
        """The events of a user that come after those of `user`, whatever became of these."""
        with self._state.transaction():
            rest = self._rest_of(user)
            self._mark_in_doubt([rest])
        return rest

    def preview(self) -> Iterator[OwedUser]:
        """All owed users and leavers, without touching the state; `preview_rest` has the further events of one."""
        with self._state.errors_explained():
            for source in (self._next_users, self._next_leavers):
                while users := source(GROUP):
                    yield from users

    def preview_rest(self, user: OwedUser) -> Iterator[OwedUser]:
        """What `claim_rest` would give, time after time."""
        while user.more:
            with self._state.errors_explained():
                user = self._rest_of(user)
            yield user

    def _next_users(self, count: int) -> list[OwedUser]:
        """A user who is owed a profile and whose row has left the result gets it with the segment field false."""
        rows = self._db.execute(
            "SELECT place, identity, digest, body, "
            "EXISTS (SELECT 1 FROM temp.scan_user s WHERE s.identity = o.identity) "
            f"FROM owed_user o WHERE destination = ? AND place > ? AND {self._scope()} ORDER BY place LIMIT ?",
            (self._destination, self._after, count),
        ).fetchall()
        if rows:
            self._after = rows[-1][0]
        return self._with_events([self._user(*row[1:]) for row in rows])

    def _user(self, identity: str, digest: bytes | None, body: str | None, in_result: int) -> OwedUser:
        field = self._policy.segment_field
        if in_result or body is None or not field:
            return OwedUser(identity, body, digest, ())
        return OwedUser(identity, with_segment_false(body, field).body, None, (), in_result=False)

    def _next_leavers(self, count: int) -> list[OwedUser]:
        """A leaver who is still owed a profile gets that profile, with the segment field false."""
        rows = self._db.execute(
            "SELECT l.place, l.identity, o.body FROM temp.leaver l LEFT JOIN owed_user o "
            "ON o.destination = ? AND o.identity = l.identity WHERE l.place > ? ORDER BY l.place LIMIT ?",
            (self._destination, self._after_leaver, count),
        ).fetchall()
        if rows:
            self._after_leaver = rows[-1][0]
        field = self._policy.segment_field
        bodies = [
            (identity, with_segment_false(body, field) if body else leave_body(identity, field))
            for _, identity, body in rows
        ]
        return self._with_events(
            [OwedUser(identity, exit_.body, None, (), leaves=True, in_result=False) for identity, exit_ in bodies]
        )

    def _rest_of(self, user: OwedUser) -> OwedUser:
        last = user.events[-1]
        return self._with_events([OwedUser(user.identity, None, None, ())], (last.moment, last.id))[0]

    def _with_events(
        self, users: Sequence[OwedUser], after: tuple[int, bytes] = (UNKNOWN_MOMENT, b"")
    ) -> list[OwedUser]:
        """These users with their oldest owed events, of those `after` this moment and id."""
        marks = ",".join("?" * len(users))
        found: dict[str, list[OwedEvent]] = {}
        for identity, *event in self._db.execute(
            "SELECT identity, id, digest, body, moment FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY identity "
            f"ORDER BY moment, id) AS rank FROM owed_event WHERE destination = ? AND identity IN ({marks}) "
            "AND (moment, id) > (?, ?)) WHERE rank <= ? ORDER BY identity, rank",
            (self._destination, *(user.identity for user in users), *after, EVENTS_AT_ONCE + 1),
        ):
            found.setdefault(identity, []).append(OwedEvent(*event))
        return [
            replace(user, events=tuple(events[:EVENTS_AT_ONCE]), more=len(events) > EVENTS_AT_ONCE)
            for user in users
            for events in [found.get(user.identity, [])]
        ]

    def _mark_in_doubt(self, users: Sequence[OwedUser]) -> None:
        """Forget what Iterable held: from here to its answer, nobody knows. This run alone keeps it in mind."""
        perhaps = 2 if self._policy.segment_field else 0
        profiles = [user.identity for user in users if user.profile is not None]
        events = [event.id for user in users for event in user.events]
        self._remember_prior("profile", "identity", "in_segment", profiles)
        self._remember_prior("event", "id", "0", events)
        self._db.executemany(
            "INSERT INTO main.profile (destination, identity, in_segment, seen) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET delivered = NULL, "
            "in_segment = CASE in_segment WHEN 0 THEN excluded.in_segment ELSE in_segment END",
            [(self._destination, identity, perhaps, self._today) for identity in profiles],
        )
        self._db.executemany(
            "UPDATE main.event SET delivered = NULL WHERE destination = ? AND id = ?",
            [(self._destination, event) for event in events],
        )

    def _remember_prior(self, table: str, key: str, segment: str, keys: Sequence[Any]) -> None:
        """Keep in mind what is about to be forgotten, for those to whom no request is made after all."""
        self._prior.update(dict.fromkeys(keys, (None, 0)))
        for start in range(0, len(keys), GROUP):
            some = keys[start : start + GROUP]
            marks = ",".join("?" * len(some))
            for row in self._db.execute(
                f"SELECT {key}, delivered, {segment} FROM main.{table} WHERE destination = ? AND {key} IN ({marks})",
                (self._destination, *some),
            ):
                self._prior[row[0]] = row[1:]

    def _restore(self, table: str, key: str, value: Any) -> None:
        """Nothing was sent: Iterable holds what it held, if this run still has it in mind."""
        if value not in self._prior:
            return
        delivered, in_segment = self._prior[value]
        segment = f", in_segment = {in_segment}" if table == "profile" else ""
        self._db.execute(
            f"UPDATE main.{table} SET delivered = ?{segment} WHERE destination = ? AND {key} = ?",
            (delivered, self._destination, value),
        )

    # -- outcomes back ---------------------------------------------------------------------------------------

    def record(self, outcomes: Sequence[UserOutcome]) -> None:
        """Put these outcomes on record in one commit; what failed stays owed."""
        with self._state.transaction():
            for outcome in outcomes:
                self._record_profile(outcome)
                self._record_events(outcome)
                self._forget_prior(outcome)
            self._db.executemany(
                "DELETE FROM owed_user WHERE destination = :destination AND identity = :identity AND body IS NULL "
                "AND NOT EXISTS (SELECT 1 FROM owed_event WHERE destination = :destination AND identity = :identity)",
                [{"destination": self._destination, "identity": outcome.user.identity} for outcome in outcomes],
            )

    def _record_profile(self, outcome: UserOutcome) -> None:
        told, user = outcome.profile, outcome.user
        if told is None:
            return
        if told.outcome is Outcome.FAILED:
            if not told.sent:
                self._restore("profile", "identity", user.identity)
            return
        key = (self._destination, user.identity)
        if told.outcome is Outcome.DELIVERED:
            inside = int(bool(self._policy.segment_field) and user.in_result)
            self._db.execute(
                "UPDATE main.profile SET delivered = ?, rejected = NULL, reason = NULL, in_segment = ?, seen = ? "
                "WHERE destination = ? AND identity = ?",
                (user.digest, inside, self._today, *key),
            )
        else:
            before = 0 if user.leaves else self._prior.get(user.identity, (None, None))[1]
            self._db.execute(
                "UPDATE main.profile SET rejected = ?, reason = ?, in_segment = COALESCE(?, in_segment) "
                "WHERE destination = ? AND identity = ?",
                (user.digest, told.reason, before, *key),
            )
            self._db.execute("DELETE FROM owed_event WHERE destination = ? AND identity = ?", key)
            self._refuse("scan_user", "identity", user.identity, told.reason)
        self._db.execute("UPDATE owed_user SET body = NULL, digest = NULL WHERE destination = ? AND identity = ?", key)

    def _record_events(self, outcome: UserOutcome) -> None:
        for event, told in zip(outcome.user.events, outcome.events, strict=True):
            if outcome.derived or not told.sent:
                self._restore("event", "id", event.id)
            if told.outcome is Outcome.FAILED or outcome.derived:
                continue
            delivered, rejected = (event.digest, None) if told.outcome is Outcome.DELIVERED else (None, event.digest)
            self._db.execute(
                "INSERT INTO main.event (destination, id, delivered, rejected, reason, seen) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET delivered = excluded.delivered, rejected = excluded.rejected, "
                "reason = excluded.reason, seen = excluded.seen",
                (self._destination, event.id, delivered, rejected, told.reason or None, self._today),
            )
            self._db.execute("DELETE FROM owed_event WHERE destination = ? AND id = ?", (self._destination, event.id))
            if rejected:
                self._refuse("scan_event", "id", event.id, told.reason)

    def stay_in_doubt(self, user: OwedUser) -> None:
        """An attempt was made for this user, and another waits: what Iterable held before is not known any more."""
        self._prior.pop(user.identity, None)
        for event in user.events:
            self._prior.pop(event.id, None)

    def _forget_prior(self, outcome: UserOutcome) -> None:
        """What was in mind for these payloads has served."""
        if outcome.profile is not None:
            self._prior.pop(outcome.user.identity, None)
        for event in outcome.user.events:
            self._prior.pop(event.id, None)

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
