"""One row of the query becomes one profile update and one event.

Here the parts come together: the form of a request's body, the `id` by which Iterable knows an event again, the
moment that tells which row of a user is the newest. The functions are pure: the same row gives the same bytes and
the same ids, today and in the next run. What cannot be sent becomes a `Rejection` that says why; no row raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import tzinfo
from functools import partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from sync.rows.columns import Column, Kind, Row
from sync.rows.identity import address_identity, identity_fields, is_user_id
from sync.rows.ids import digest_of, pinned
from sync.rows.mapping import Field, Mapping
from sync.rows.names import Names, Naming
from sync.rows.rejection import Rejection, rejection
from sync.rows.values import TIME_KINDS, Converter, UnfitError, converter, encode, microseconds, utc_instant

UNKNOWN_MOMENT: Final = -(2**63)
"""The moment of a row whose event time is not known: older than every other row."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Payload(NamedTuple):
    """The body of one users/update request."""

    body: str
    digest: bytes


class Event(NamedTuple):
    """The body of one events/track request."""

    id: str
    created_at: int
    body: str
    digest: bytes


class RejectedEvent(NamedTuple):
    """An event that cannot be sent, under the id that it would have."""

    id: str
    reason: str
    digest: bytes


class RowPayloads(NamedTuple):
    """All that one row says; None where the mapping asks for no profile or no event.

    `person`, `other` and `lacks` are those of `Names`. Where events may be on record under ids that were made with an
    address, `address` is the row's, if it is usable, and `event_id_of` gives the id that the event has by an address.
    """

    identity: str
    moment: int  # event time in microseconds since 1970, or UNKNOWN_MOMENT: tells which row is the newest
    profile: Payload | Rejection | None
    event: Event | RejectedEvent | None
    person: str
    other: str = ""
    lacks: str = ""
    address: str = ""
    event_id_of: Callable[[str], str] | None = None


# -- rows ----------------------------------------------------------------------------------------------------


class _Step(NamedTuple):
    column: str
    parents: tuple[str, ...]
    leaf: str
    convert: Converter


class PayloadBuilder:
    """Builds the payloads of every row of one query; the work that all rows share is done once, here.

    The mapping has no problems, and each row holds the columns given here, in any order. `address_ids`: events also
    get the ids that they had while the address named their user.
    """

    def __init__(self, mapping: Mapping, columns: Sequence[Column], *, address_ids: bool = False) -> None:
        self._kinds = dict(columns)
        self._zone = None if str(mapping.timezone) == "UTC" else mapping.timezone
        self._naming = Naming(mapping)
        self._user_steps = self._steps(mapping.user_fields)
        # By default Iterable replaces an object as a whole; fields that we do not know would go. It merges one
        # level only: of a.b.c, what stands beside c in b is still replaced.
        self._options = {"preferUserId": True} if mapping.by_user_id else {}
        if any(len(field.path) > 1 for field in mapping.user_fields):
            self._options["mergeNestedObjects"] = True
        self._segment_field = mapping.segment_field
        self._event_name = mapping.event_name
        self._event_steps = self._steps(mapping.event_fields) if mapping.event_name else ()
        self._event_key = mapping.event_key
        self._address_column = mapping.email_column if address_ids else None
        self._id_prefix = pinned(mapping.event_name)
        time_column = mapping.event_time_column
        self._time_column = time_column if self._kinds.get(time_column) in TIME_KINDS else None
        self._time_zone = self._zone_of(time_column)

    def _zone_of(self, column: str) -> tzinfo | None:
        in_utc = self._kinds.get(column) in (Kind.TIMESTAMP, Kind.DATE)  # the one given so, the other never shifted
        return None if in_utc else self._zone

    def _steps(self, fields: Sequence[Field]) -> tuple[_Step, ...]:
        return tuple(
            _Step(
                field.column,
                field.path[:-1],
                field.path[-1],
                converter(self._kinds[field.column], field.type, self._zone_of(field.column)),
            )
            for field in fields
        )

    def build(self, row: Row) -> RowPayloads:
        """Return what this row says of its user and of its event."""
        names = self._naming.names(row)
        moment, timeless = self._moment(row)
        profile = event = None
        if self._user_steps:
            profile = names.refused or self._profile(names, row)
        if self._event_name:
            event = self._event(names, moment, row, names.refused or timeless)
        row_payloads = RowPayloads(names.identity, moment, profile, event, names.person, names.other, names.lacks)
        if self._address_column is None:
            return row_payloads
        return row_payloads._replace(address=self._address(row), event_id_of=partial(self._event_id, row))

    def _moment(self, row: Row) -> tuple[int, Rejection | None]:
        column = self._time_column
        if column is None:
            return UNKNOWN_MOMENT, None
        value = row[column]
        try:
            instant = None if value is None else utc_instant(value, self._time_zone)
        except UnfitError as exc:
            return UNKNOWN_MOMENT, rejection(column, value, exc)
        if instant is None:
            fault = "no event time; fill the column in, or leave such rows out of the query"
            return UNKNOWN_MOMENT, rejection(column, value, fault)
        return microseconds(instant), None

    def _profile(self, names: Names, row: Row) -> Payload | Rejection:
        data = self._data_fields(self._user_steps, row)
        if isinstance(data, Rejection):
            return data
        if names.other:
            data = {self._naming.other_field: self._naming.other_value(names), **data}
        if self._segment_field:
            data[self._segment_field] = True
        return _payload({**identity_fields(names.identity), **self._options, "dataFields": data})

    def _event(self, names: Names, moment: int, row: Row, refused: Rejection | None) -> Event | RejectedEvent:
        event_id = self._event_id(row, names.person)
        data = refused or self._data_fields(self._event_steps, row)
        if isinstance(data, Rejection):
            return RejectedEvent(event_id, data.reason, data.digest)
        created_at = moment // 1_000_000
        body, digest = _payload(
            {
                **identity_fields(names.identity),
                "eventName": self._event_name,
                "id": event_id,
                "createdAt": created_at,
                "dataFields": data,
            }
        )
        return Event(event_id, created_at, body, digest)

    def _event_id(self, row: Row, person: str) -> str:
        """What happened, and to whom: 32 hexadecimal digits that no later run and no other field changes."""
        text = self._id_prefix + pinned(person)
        for column in self._event_key:
            text += pinned(row[column])
        return digest_of(text).hex()

    def _address(self, row: Row) -> str:
        try:
            return address_identity(row[self._address_column or ""])
        except UnfitError:
            return ""

    @staticmethod
    def _data_fields(steps: Sequence[_Step], row: Row) -> dict[str, Any] | Rejection:
        data: dict[str, Any] = {}
        for column, parents, leaf, convert in steps:
            value = row[column]
            if value is not None:  # NULL is sent as null, which clears the field
                try:
                    value = convert(value)
                except UnfitError as exc:
                    return rejection(column, value, exc)
            target = data
            for name in parents:
                target = target.setdefault(name, {})
            target[leaf] = value
        return data


def leave_body(identity: str, segment_field: str) -> Payload:
    """Return the update for a user who is no longer in the result: the segment field alone, false."""
    options = {"preferUserId": True} if is_user_id(identity) else {}
    return _payload({**identity_fields(identity), **options, "dataFields": {segment_field: False}})


def with_segment_false(body: str, segment_field: str) -> Payload:
    """Return a profile that is still owed to a user who meanwhile left the segment."""
    update = json.loads(body)
    update["dataFields"][segment_field] = False
    return _payload(update)


def under_id(event: Event | RejectedEvent, known_id: str) -> Event | RejectedEvent:
    """Return the event under the id by which Iterable knows it."""
    if isinstance(event, RejectedEvent):
        return event._replace(id=known_id)
    body = event.body.replace(f'"id":"{event.id}"', f'"id":"{known_id}"', 1)
    return event._replace(id=known_id, body=body, digest=_digest(body))


def to_address(body: str, old: str, new: str) -> Payload:
    """Return a body that names the user by the address `old` on top, with the address `new` there instead."""
    start, written = f'{{"email":{encode(old)}', f'{{"email":{encode(new)}'
    if not body.startswith(start):
        raise ValueError("the body does not begin with this address")
    changed = written + body[len(start) :]
    return Payload(changed, _digest(changed))


def names_in(body: str) -> str:
    """Return the names that a profile's body gives its user, for a sentence about a conflict."""
    update = json.loads(body)
    given = {**update.get("dataFields", {}), **update}
    words = {"email": "address", "userId": "user id"}
    return " and ".join(f"{word} {given[name]}" for name, word in words.items() if given.get(name) is not None)


# -- parts ---------------------------------------------------------------------------------------------------


def _payload(body: dict[str, Any]) -> Payload:
    """Serialise a body. Half a surrogate pair has no UTF-8 form: it becomes U+FFFD, the replacement character."""
    text = encode(body)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        text = _SURROGATE.sub("\ufffd", text)
        raw = text.encode()
    return Payload(text, blake2b(raw, digest_size=16).digest())


def _digest(body: str) -> bytes:
    return blake2b(body.encode(), digest_size=16).digest()
