"""The rows of a result compared with the state: what is owed, unchanged, or rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sync.rows.payloads import Event, Payload, RejectedEvent, RowPayloads, to_address, under_id
from sync.rows.rejection import Rejection
from sync.state.owed import Mark
from sync.state.scope import GROUP, Part

_Known = Mapping[Any, tuple[bytes | None, bytes | None, int]]
"""Key -> digests delivered and rejected, and whether the rejection is tried again in every run."""


class _Addresses(NamedTuple):
    """The addresses that the state has of one user id."""

    known: tuple[str, ...] = ()
    first: str = ""


class Comparison(Part):
    """Takes the rows of one result, a group at a time, and marks each payload with what the state says of it."""

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
        with self._state.snapshot():  # the database holds its result for us meanwhile, and not for long
            users = self._known("profile", "identity", "again", [row.identity for _, row in group])
            addresses = self._addresses([row for _, row in group])
            ids = {line: _ids(row, addresses.get(row.person, _Addresses())) for line, row in group if row.event}
            events = self._known("event", "id", "0", [key for keys in ids.values() for key in keys])
            self._put_users(group, users)
            self._db.executemany(
                "INSERT INTO temp.scan_event (id, identity, person, moment, line, mark, digest, body, reason, kept) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET merged = merged + 1, "
                "merged_line = COALESCE(merged_line, excluded.line) WHERE digest <> excluded.digest",
                [
                    self._event_row(
                        line,
                        row,
                        _as_known(row.event, ids[line], events),
                        events,
                        addresses.get(row.person, _Addresses()),
                    )
                    for line, row in group
                    if row.event
                ],
            )

    def _put_users(self, group: Sequence[tuple[int, RowPayloads]], known: _Known) -> None:
        """One entry for each identity, or where addresses may change for each person: that of the newest row."""
        if self._policy.follows_addresses:
            table, key, names = "scan_person", "person", ("identity",)
            rows = [(row.person, row.identity, *self._user_row(line, row, known)) for line, row in group]
        else:
            table, key, names = "scan_user", "identity", ("address",)
            rows = [(row.identity, row.address or None, *self._user_row(line, row, known)) for line, row in group]
        columns = (*names, "moment", "line", "mark", "digest", "body", "reason", "lacks", "kept")
        self._db.executemany(
            f"INSERT INTO temp.{table} ({key}, {', '.join(columns)}) VALUES (?{', ?' * len(columns)}) ON CONFLICT "
            f"({key}) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in columns)} "
            "WHERE excluded.moment > moment",
            rows,
        )

    def _known(self, table: str, key: str, again: str, keys: Sequence[Any]) -> _Known:
        """What the state knows of these keys."""
        marks = ",".join("?" * len(keys))
        query = f"SELECT {key}, delivered, rejected, {again} FROM main.{table} WHERE sync = ? AND {key} IN ({marks})"
        return {row[0]: row[1:] for row in self._db.execute(query, (self._sync, *keys))}

    def _addresses(self, rows: Sequence[RowPayloads]) -> Mapping[str, _Addresses]:
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

    def _user_row(self, line: int, row: RowPayloads, users: _Known) -> tuple[Any, ...]:
        profile = row.profile
        if profile is None:
            return row.moment, line, Mark.NONE, None, None, None, None, None
        mark = self._mark(profile.digest, isinstance(profile, Rejection), users.get(row.identity))
        body = profile.body if isinstance(profile, Payload) and mark is Mark.OWED else None
        reason = profile.reason if isinstance(profile, Rejection) else None
        return row.moment, line, mark, profile.digest, body, reason, row.lacks or None, self._kept(profile, mark)

    def _event_row(self, line: int, row: RowPayloads, event: Any, events: _Known, known: _Addresses) -> tuple[Any, ...]:
        key = bytes.fromhex(event.id)
        rejected = not isinstance(event, Event)
        mark = self._mark(event.digest, rejected, events.get(key))
        moves_along = mark is Mark.OWED and self._is_delivered_by(known.known, row.identity, event, events.get(key))
        if moves_along:
            mark = Mark.UNCHANGED
        body = event.body if not rejected and mark is Mark.OWED else None
        reason = event.reason if rejected else None
        person = row.person if self._policy.follows_addresses else None
        kept = event.body if moves_along else self._kept(event, mark)
        return key, row.identity, person, row.moment, line, mark, event.digest, body, reason, kept

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
