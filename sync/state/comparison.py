"""The rows of a result compared with the state: what is owed, unchanged, or rejected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from sync.rows.columns import Values
from sync.rows.payloads import Event, Payload, RejectedEvent, RowPayloads, to_address, under_id
from sync.rows.reading import Reading
from sync.rows.rejection import Rejection
from sync.state.owed import Mark
from sync.state.scope import GROUP, Part, RunScope
from sync.state.unchanged import Collected, Unchanged

_Known = Mapping[Any, tuple[bytes | None, bytes | None, int]]
"""Key -> digests delivered and rejected, and whether the rejection is tried again in every run."""


class _Addresses(NamedTuple):
    """The addresses that the state has of one user id."""

    known: tuple[str, ...] = ()
    first: str = ""


class Comparison(Part):
    """Takes the rows of one result, a group at a time, and marks each payload with what the state says of it."""

    def __init__(self, run: RunScope, unchanged: Unchanged) -> None:
        super().__init__(run)
        self._unchanged = unchanged

    def take(self, rows: Iterable[Values], reading: Reading) -> Iterator[Values]:
        """Take the rows of the result as they are asked for, and hand each on; a group at a time is in memory."""
        waiting = iter(rows)
        count = 0
        while group := list(islice(waiting, GROUP)):
            with self._state.snapshot():  # the database holds its result for us meanwhile, and not for long
                fingerprints = list(map(reading.fingerprint, group))
                if collected := self._unchanged.sort_out(count + 1, group, fingerprints):
                    self._collect(collected, reading)
            count += len(group)
            yield from group
        self._merge_users()
        self._merge_events()

    def _collect(self, rows: Sequence[Collected], reading: Reading) -> None:
        made = {row.line: reading.payloads(row.values, row.fingerprint) for row in rows if row.delivered is None}
        users = self._known("profile", "identity", "again", [row.identity for row in made.values()])
        addresses = self._addresses(made.values())
        ids = {line: _ids(row, addresses.get(row.person, _Addresses())) for line, row in made.items() if row.event}
        events = self._known("event", "id", "0", [key for keys in ids.values() for key in keys])
        user_rows: list[tuple[Any, ...]] = []
        event_rows: list[tuple[Any, ...]] = []
        for row in rows:
            if row.delivered or row.user_before or row.event_before:
                self._take_known(row, user_rows, event_rows)
            if not (payloads := made.get(row.line)):
                continue
            user_rows.append(self._user_row(row, payloads, users))
            if payloads.event:
                known = addresses.get(payloads.person, _Addresses())
                event = _as_known(payloads.event, ids[row.line], events)
                event_rows.append(self._event_row(row, payloads, event, events, known))
        self._put_users(user_rows)
        self._put_events(event_rows)

    def _take_known(self, row: Collected, user_rows: list[tuple[Any, ...]], event_rows: list[tuple[Any, ...]]) -> None:
        """The entries of payloads that were delivered as their rows say: of this row, and of those before it."""
        it, before, same = row.fingerprint, row.user_before, row.event_before
        assert it is not None  # noqa: S101 - nothing is known of a row without
        self._run.takes(Mark.UNCHANGED)
        who = (it.person, it.identity) if self._policy.follows_addresses else (it.identity, None)
        person = it.person if self._policy.follows_addresses else None
        if before:
            payload = (Mark.UNCHANGED, before.delivered, None, None, None, None, before.fingerprint)
            user_rows.append((*who, before.moment, row.line, *payload))
        if same:
            unchanged = (Mark.UNCHANGED, same.delivered, None, None, None, same.fingerprint)
            event_rows.append((it.event_id, it.identity, person, it.moment, row.line, *unchanged))
        profile, event = row.delivered or (None, None)
        if profile:
            payload = (Mark.UNCHANGED, profile, None, None, None, None, it.profile or b"")
            user_rows.append((*who, it.moment, row.line, *payload))
        elif row.delivered and self._policy.follows_addresses:  # the newest row of a person names the address
            user_rows.append((*who, it.moment, row.line, Mark.NONE, None, None, None, None, None, None))
        if event:
            unchanged = (Mark.UNCHANGED, event, None, None, None, it.event or b"")
            event_rows.append((it.event_id, it.identity, person, it.moment, row.line, *unchanged))

    def _put_users(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """An entry for each row; see `_merge_users`."""
        table, key, columns = self._user_table()
        self._db.executemany(
            f"INSERT INTO temp.{table} ({key}, {', '.join(columns)}) VALUES (?{', ?' * len(columns)})", rows
        )

    def _user_table(self) -> tuple[str, str, tuple[str, ...]]:
        """Where the users of the rows are, what tells them apart there, and what a row says of them."""
        follows = self._policy.follows_addresses
        table, key, name = ("scan_person", "person", "identity") if follows else ("scan_user", "identity", "address")
        return table, key, (name, "moment", "line", "mark", "digest", "body", "reason", "lacks", "kept", "fingerprint")

    def _put_events(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """An entry for each row; see `_merge_events`."""
        self._db.executemany(
            "INSERT INTO temp.scan_event "
            "(id, identity, person, moment, line, mark, digest, body, reason, kept, fingerprint) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def _merge_users(self) -> None:
        """Leave one entry for each identity, or where addresses may change for each person: that of the newest row.

        It has the place of the first one. Of rows that are as new, the first is the newest; others that differ from it
        are counted. Done once all rows are there, as for events: who comes next in a result is as good as random among
        all identities.
        """
        table, key, columns = self._user_table()
        said = ", ".join(columns)
        self._run_all(
            f"CREATE INDEX temp.{table}_{key} ON {table} ({key}, moment DESC)",
            f"INSERT INTO temp.repeated_user SELECT MIN(position), {key}, (SELECT position FROM temp.{table} newest "
            f"WHERE newest.{key} = {table}.{key} ORDER BY moment DESC, position LIMIT 1) FROM temp.{table} "
            f"GROUP BY {key} HAVING COUNT(*) > 1",
            "INSERT OR IGNORE INTO temp.merged SELECT other.line, 'profile', one.identity FROM temp.repeated_user r "
            f"CROSS JOIN temp.{table} one ON one.position = r.newest CROSS JOIN temp.{table} other "
            f"ON other.{key} = r.key AND other.moment = one.moment AND other.digest <> one.digest",
            f"UPDATE temp.{table} SET ({said}) = (SELECT {said} FROM temp.{table} WHERE position = newest) "
            "FROM temp.repeated_user WHERE position = first AND first <> newest",
            f"DELETE FROM temp.{table} WHERE {key} IN (SELECT key FROM temp.repeated_user) "
            "AND position NOT IN (SELECT first FROM temp.repeated_user)",
        )
        if self._policy.follows_addresses:
            self._run_all(
                "CREATE INDEX temp.scan_person_identity ON scan_person (identity)",
                "CREATE INDEX temp.scan_user_identity ON scan_user (identity)",
            )

    def _merge_events(self) -> None:
        """Leave one entry for each event, that of the first row; those that differ from it are counted.

        Done once all rows are there: ids are as good as random, so that sorting them costs less than an index that
        grows with each row.
        """
        self._run_all(
            "CREATE INDEX temp.scan_event_id ON scan_event (id)",
            "INSERT INTO temp.repeated_event SELECT id, MIN(position) FROM temp.scan_event "
            "GROUP BY id HAVING COUNT(*) > 1",
            "INSERT OR IGNORE INTO temp.merged SELECT other.line, 'event', one.identity FROM temp.repeated_event r "
            "CROSS JOIN temp.scan_event one ON one.position = r.first CROSS JOIN temp.scan_event other "
            "ON other.id = r.id AND other.digest <> one.digest",
            "DELETE FROM temp.scan_event WHERE id IN (SELECT id FROM temp.repeated_event) "
            "AND position NOT IN (SELECT first FROM temp.repeated_event)",
        )

    def _run_all(self, *statements: str) -> None:
        with self._state.snapshot():
            for statement in statements:
                self._db.execute(statement)

    def _known(self, table: str, key: str, again: str, keys: Sequence[Any]) -> _Known:
        """What the state knows of these keys."""
        marks = ",".join("?" * len(keys))
        query = f"SELECT {key}, delivered, rejected, {again} FROM main.{table} WHERE sync = ? AND {key} IN ({marks})"
        return {row[0]: row[1:] for row in self._db.execute(query, (self._sync, *keys))}

    def _addresses(self, rows: Iterable[RowPayloads]) -> Mapping[str, _Addresses]:
        """The addresses on record of these persons."""
        if not (self._policy.follows_addresses or self._policy.address_ids):
            return {}
        persons = {row.person for row in rows}
        marks = ",".join("?" * len(persons))
        query = f"SELECT person, address, perhaps, first FROM name_of_id WHERE sync = ? AND person IN ({marks})"
        return {
            person: _Addresses(tuple(name for name in (address, *(perhaps or "").split("\n")) if name), first)
            for person, address, perhaps, first in self._db.execute(query, (self._sync, *persons))
        }

    def _mark(self, digest: bytes, rejected: bool, known: tuple[bytes | None, bytes | None, int] | None) -> Mark:
        delivered_before, rejected_before, again = known or (None, None, 0)
        if rejected:
            return Mark.KNOWN_REJECTED if digest == rejected_before else Mark.NEWLY_REJECTED
        if self._policy.full:
            return Mark.OWED
        if digest == delivered_before:
            return Mark.UNCHANGED
        for_good = digest == rejected_before and not again and not self._policy.retry_rejected
        return Mark.KNOWN_REJECTED if for_good else Mark.OWED

    def _user_row(self, collected: Collected, row: RowPayloads, users: _Known) -> tuple[Any, ...]:
        profile = row.profile
        names = (row.person, row.identity) if self._policy.follows_addresses else (row.identity, row.address or None)
        if profile is None:
            return *names, row.moment, collected.line, Mark.NONE, None, None, None, None, None, None
        mark = self._mark(profile.digest, isinstance(profile, Rejection), users.get(row.identity))
        self._run.takes(mark)
        body = profile.body if isinstance(profile, Payload) and mark is Mark.OWED else None
        reason = profile.reason if isinstance(profile, Rejection) else None
        it = collected.fingerprint
        fingerprint = it.profile if it and not row.lacks else None  # whom a name lacks is told in every run
        kept = self._kept(profile, mark)
        payload = (mark, profile.digest, body, reason, row.lacks or None, kept, fingerprint)
        return *names, row.moment, collected.line, *payload

    def _event_row(
        self, collected: Collected, row: RowPayloads, event: Any, events: _Known, known: _Addresses
    ) -> tuple[Any, ...]:
        key = bytes.fromhex(event.id)
        rejected = not isinstance(event, Event)
        mark = self._mark(event.digest, rejected, events.get(key))
        moves_along = mark is Mark.OWED and self._is_delivered_by(known.known, row.identity, event, events.get(key))
        if moves_along:
            mark = Mark.UNCHANGED
        self._run.takes(mark)
        body = event.body if not rejected and mark is Mark.OWED else None
        reason = event.reason if rejected else None
        person = row.person if self._policy.follows_addresses else None
        kept = event.body if moves_along else self._kept(event, mark)
        fingerprint = collected.fingerprint.event if collected.fingerprint else None
        payload = (mark, event.digest, body, reason, kept, fingerprint)
        return key, row.identity, person, row.moment, collected.line, *payload

    def _kept(self, payload: Any, mark: Mark) -> str | None:
        """The body of what is unchanged, where it is asked for."""
        return payload.body if self._policy.keep_bodies and mark is Mark.UNCHANGED else None

    def _is_delivered_by(self, addresses: Sequence[str], identity: str, event: Event, known: Any) -> bool:
        """Whether the same event was delivered under an address that the user had: it moves with the user."""
        if known is None or known[0] is None or self._policy.full or not self._policy.follows_addresses:
            return False
        return any(to_address(event.body, identity, old).digest == known[0] for old in addresses if old != identity)


def _ids(row: RowPayloads, known: _Addresses) -> list[bytes]:
    """The ids under which the row's event may be on record, its own first."""
    assert row.event is not None  # noqa: S101 - asked for rows with events alone
    if row.event_id_of is None:
        return [bytes.fromhex(row.event.id)]
    names = [name for name in dict.fromkeys((row.address, known.first)) if name]
    return [bytes.fromhex(text) for text in (row.event.id, *map(row.event_id_of, names))]


def _as_known(event: Event | RejectedEvent, ids: Sequence[bytes], known: _Known) -> Event | RejectedEvent:
    """The event under the id by which Iterable knows it."""
    for key in ids[1:]:
        if key in known:
            return under_id(event, key.hex())
    return event
