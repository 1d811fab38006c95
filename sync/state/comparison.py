"""The rows of a result compared with the state: what is owed, unchanged, or rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sync.rows.payloads import Event, Payload, RejectedEvent, Rejection, RowPayloads, under_address_id
from sync.state.owed import Mark
from sync.state.scope import GROUP, Part


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
        with self._state.transaction():
            users = self._known("profile", "identity", [row.identity for _, row in group])
            events = self._known("event", "id", [key for _, row in group if row.event for key in _keys(row.event)])
            self._db.executemany(
                "INSERT INTO temp.scan_user (identity, moment, line, mark, digest, body, reason) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (identity) DO UPDATE SET moment = excluded.moment, "
                "line = excluded.line, mark = excluded.mark, digest = excluded.digest, body = excluded.body, "
                "reason = excluded.reason WHERE excluded.moment > moment",
                [self._user_row(line, row, users.get(row.identity)) for line, row in group],
            )
            self._db.executemany(
                "INSERT INTO temp.scan_event (id, identity, moment, line, mark, digest, body, reason) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET merged = merged + 1, "
                "merged_line = COALESCE(merged_line, excluded.line) WHERE digest <> excluded.digest",
                [self._event_row(line, row, row.event, events) for line, row in group if row.event],
            )

    def _known(self, table: str, key: str, keys: Sequence[Any]) -> dict[Any, tuple[bytes | None, bytes | None]]:
        """What the state knows of these keys: key -> digests delivered and rejected."""
        marks = ",".join("?" * len(keys))
        query = f"SELECT {key}, delivered, rejected FROM main.{table} WHERE sync = ? AND {key} IN ({marks})"
        return {row[0]: (row[1], row[2]) for row in self._db.execute(query, (self._sync, *keys))}

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
        if event.address_id and bytes.fromhex(event.address_id) in known:
            event = under_address_id(event)
        key = bytes.fromhex(event.id)
        rejected = not isinstance(event, Event)
        mark = self._mark(event.digest, rejected, known.get(key))
        body = event.body if not rejected and mark is Mark.OWED else None
        reason = event.reason if rejected else None
        return key, row.identity, row.moment, line, mark, event.digest, body, reason


def _keys(event: Event | RejectedEvent) -> list[bytes]:
    """The ids under which the event may be on record."""
    return [bytes.fromhex(text) for text in (event.id, event.address_id) if text]
