"""The rows of a result compared with the state: what is known of each payload, and which row of a user counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from sync.rows.fingerprint import Fingerprint
from sync.rows.identity import is_usable
from sync.rows.payloads import Event, Payload, Reading, RowPayloads, event_digest, event_rest, profile_rest, under_id
from sync.rows.source import Values
from sync.state.run_scope import Mark, RunScope

GROUP = 500
"""Rows that are in memory at a time."""

HALF: Final = 8
"""Bytes of a fingerprint that stand for the body; the rest stand for the raw values."""


class _Record(NamedTuple):
    """What the state knows of one payload."""

    key: str | bytes
    fingerprint: bytes | None
    rejected: bytes | None
    sent_as: bytes | None


_Known = dict[str | bytes, tuple[Any, ...]]
"""What the state knows of each payload, by its key: the values of a `_Record`, which is made of few of them."""

_KNOWN_USER: Final = "INSERT INTO temp.scan (line, person, key, rank, mark, address) VALUES (?, ?, ?, ?, ?, ?)"
_KNOWN_EVENT: Final = (
    f"INSERT INTO temp.scan (line, person, key, rank, moment, mark) VALUES (?, ?, ?, 0, ?, {Mark.UNCHANGED:d})"
)

_Made = tuple[int, Fingerprint, RowPayloads]
"""A row whose payloads were made, with its line."""


class Comparison(RunScope):
    """Takes the rows of one result, a group at a time, and marks each payload with what the state says of it."""

    def take(self, rows: Iterable[Values], reading: Reading) -> Iterator[Values]:
        """Take the rows of the result as they are asked for, and hand each on.

        At the end, one row is left for each key: the newest of a user, the first of an event.
        """
        waiting = iter(rows)
        count = 0
        while group := list(islice(waiting, GROUP)):
            with self._state.snapshot():  # meanwhile the database holds its result for us, so this must be short
                self._compare(count + 1, group, reading)
            count += len(group)
            yield from group
        with self._state.snapshot():
            self.run("run", "merge")

    def load(self, rows: Iterable[Values], reading: Reading) -> int:
        """Take all rows of the result without handing them on, and return how many there were."""
        return sum(1 for _ in self.take(rows, reading))

    def _compare(self, first_line: int, rows: Sequence[Values], reading: Reading) -> None:
        """A row that is the same as when it was delivered is recognised by its raw values; no body is made from it."""
        prints = list(map(reading.fingerprint, rows))
        known = self._known(key for it in prints for key in (it.names.person, it.event_id) if key is not None)
        makes_all, follows = self.policy.full or self.policy.keep_bodies, self.policy.follows_addresses
        users: list[tuple[Any, ...]] = []
        events: list[tuple[Any, ...]] = []
        made: list[_Made] = []
        for line, (values, it) in enumerate(zip(rows, prints, strict=True), first_line):
            if makes_all or not _is_known(it, known):
                made.append((line, it, reading.payloads(values, it)))
                continue
            person, mark = it.names.person, Mark.NONE if it.profile is None else Mark.UNCHANGED
            users.append((line, person, person, it.moment, mark, it.names.identity if follows else None))
            if it.event_id is not None:
                events.append((line, person, it.event_id, it.moment))
        self._db.executemany(_KNOWN_USER, users)
        self._db.executemany(_KNOWN_EVENT, events)
        if made:
            self._take_made(made, known)

    def _take_made(self, made: Sequence[_Made], known: _Known) -> None:
        formers: Sequence[Mapping[bytes, str]] = [{}] * len(made)
        if self.policy.address_ids:
            formers = self._formers([row for _, _, row in made])
            known |= self._known(former for ids in formers for former in ids)
        rows: list[tuple[Any, ...]] = []
        for (line, it, row), ids in zip(made, formers, strict=True):
            rows += self._user_rows(line, it, row, _record(known, row.person))
            if row.event:
                rows.append(self._event_row(line, it, row, known, ids))
        self._db.executemany(
            "INSERT INTO temp.scan (line, person, key, rank, moment, mark, fingerprint, address, reason, lacks, "
            "former, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def _known(self, keys: Iterable[str | bytes]) -> _Known:
        """What the state knows of these payloads."""
        wanted = list(dict.fromkeys(keys))
        query = (
            "SELECT key, fingerprint, rejected, sent_as FROM known WHERE sync = ? "
            f"AND key IN ({','.join('?' * len(wanted))})"
        )
        return {row[0]: row for row in self._db.execute(query, (self._sync, *wanted))}

    def _formers(self, rows: Sequence[RowPayloads]) -> list[dict[bytes, str]]:
        """The ids that each row's event would have if made with an address: the row's, or one on record."""
        persons = list(dict.fromkeys(row.person for row in rows))
        names: dict[str, list[str]] = {}
        query = f"SELECT person, address FROM name WHERE sync = ? AND person IN ({','.join('?' * len(persons))})"
        for person, address in self._db.execute(query, (self._sync, *persons)):
            names.setdefault(person, []).append(address)
        return [
            {
                bytes.fromhex(row.event_id_of(name)): name
                for name in (row.address, *names.get(row.person, ()))
                if name and name != row.person
            }
            if row.event_id_of
            else {}
            for row in rows
        ]

    def _user_rows(
        self, line: int, it: Fingerprint, row: RowPayloads, record: _Record | None
    ) -> Iterator[tuple[Any, ...]]:
        """The row's profile; or only that the user is present, if there is no usable address."""
        usable = is_usable(row.identity)
        address = (row.identity if self.policy.follows_addresses else row.address or None) if usable else None
        start = (line, row.person, row.person, row.moment, None)
        profile = row.profile
        if profile is None:
            yield *start, Mark.NONE, None, address, None, None, None, None
        elif isinstance(profile, Payload):
            mark = self._mark_of(profile.digest, record)
            raw = it.profile if it.profile and not row.lacks else b""  # lacking names are reported in every run
            rest = profile_rest(profile.body, row.identity, self.policy.segment_field) if self._keeps(mark) else None
            yield *start, mark, profile.digest[:HALF] + raw, address, None, row.lacks or None, None, rest
        else:
            mark = self._rejected(profile.digest, record)
            yield *start, mark, profile.digest[:HALF], address, profile.reason, row.lacks or None, None, None
        if not usable and row.other and self.policy.follows_addresses:
            yield line, row.other, row.other, None, None, Mark.PRESENT, None, None, None, None, None, None

    def _event_row(
        self, line: int, it: Fingerprint, row: RowPayloads, known: _Known, formers: Mapping[bytes, str]
    ) -> tuple[Any, ...]:
        """The row's event, under the id by which Iterable knows it."""
        assert row.event is not None  # noqa: S101 - asked for rows with events alone
        key, former, named = bytes.fromhex(row.event.id), None, row.person
        record = _record(known, key)
        sent_as = record and record.sent_as
        if record is None and formers:
            former = next((one for one in formers if one in known), next(iter(formers)))
            record, sent_as = _record(known, former), former if former in known else None
            named = formers[former] if record and self.policy.follows_addresses else named
        event = under_id(row.event, sent_as.hex()) if sent_as else row.event
        start = (line, row.person, key, 0, row.moment)
        if not isinstance(event, Event):
            mark = self._rejected(event.digest, record)
            return *start, mark, event.digest[:HALF], None, event.reason, None, former, None
        rest = event_rest(event.body, row.identity)
        digest = event.digest if row.person == row.identity else event_digest(row.person, rest)
        mark = self._mark_of(digest if named == row.person else event_digest(named, rest), record)
        raw = it.event or b""
        return *start, mark, digest[:HALF] + raw, None, None, None, former, rest if self._keeps(mark) else None

    def _keeps(self, mark: Mark) -> bool:
        """Whether the body is needed: for sending, or for `--verify`."""
        return mark is Mark.PENDING or self.policy.keep_bodies

    def _mark_of(self, digest: bytes, record: _Record | None) -> Mark:
        """What the state says about a payload that can be sent."""
        if record is None or self.policy.full:
            return Mark.PENDING
        if record.fingerprint and record.fingerprint[:HALF] == digest[:HALF]:
            return Mark.UNCHANGED
        refused = record.rejected and record.rejected[:HALF] == digest[:HALF]
        return Mark.KNOWN_REJECTED if refused and not self.policy.retry_rejected else Mark.PENDING

    def _rejected(self, digest: bytes, record: _Record | None) -> Mark:
        """What the state says about one that cannot."""
        known = record and record.rejected and record.rejected[:HALF] == digest[:HALF]
        return Mark.KNOWN_REJECTED if known else Mark.NEWLY_REJECTED


def _record(known: _Known, key: str | bytes) -> _Record | None:
    return _Record._make(known[key]) if key in known else None


def _is_known(it: Fingerprint, known: _Known) -> bool:
    """Whether Iterable has what the row says, by its raw values."""
    return _is_same(it.profile, known.get(it.names.person)) and (
        it.event_id is None or _is_same(it.event, known.get(it.event_id))
    )


def _is_same(raw: bytes | None, record: tuple[Any, ...] | None) -> bool:
    """`raw` is None if the mapping has no such payload, and empty if something about the row is unusual."""
    if raw is None:
        return True
    fingerprint: bytes | None = record[1] if record else None
    return bool(raw and fingerprint and fingerprint[HALF:] == raw)
