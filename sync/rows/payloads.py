"""One row of the query becomes one profile update and one event.

Here the parts come together: the form of a request's body, the `id` by which Iterable knows an event again, the
moment that tells which row of a user is the newest. The functions are pure: the same row gives the same bytes and
the same ids, today and in the next run. What cannot be sent becomes a `Rejection` that says why; no row raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from sync.rows.columns import Column, Kind, Row
from sync.rows.identity import address_identity, identity_fields, is_user_id, unusable_identity, user_id_identity
from sync.rows.ids import digest_of, pinned, safe_repr
from sync.rows.mapping import Field, Mapping
from sync.rows.values import TIME_KINDS, Converter, UnfitError, converter, encode, microseconds, time_text, utc_instant

UNKNOWN_MOMENT: Final = -(2**63)
"""The moment of a row whose event time is not known: older than every other row."""

_MAX_SHOWN: Final = 60
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Rejection(NamedTuple):
    """A row that Iterable cannot be given as it is; the same bad input has the same digest."""

    reason: str
    digest: bytes


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
    address_id: str = ""  # the id that it had while the address named the user, if that was ever so


class RejectedEvent(NamedTuple):
    """An event that cannot be sent, under the id that it would have."""

    id: str
    reason: str
    digest: bytes
    address_id: str = ""


class RowPayloads(NamedTuple):
    """All that one row says; None where the mapping asks for no profile or no event."""

    identity: str
    moment: int  # event time in microseconds since 1970, or UNKNOWN_MOMENT: tells which row is the newest
    profile: Payload | Rejection | None
    event: Event | RejectedEvent | None


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
        self._identity_column = mapping.identity_column
        self._identify = user_id_identity if mapping.user_id_column else address_identity
        self._user_steps = self._steps(mapping.user_fields)
        # By default Iterable replaces an object as a whole; fields that we do not know would go. It merges one
        # level only: of a.b.c, what stands beside c in b is still replaced.
        self._options = {"preferUserId": True} if mapping.user_id_column else {}
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
        identity, unusable = self._identity(row)
        moment, timeless = self._moment(row)
        profile = event = None
        if self._user_steps:
            profile = unusable or self._profile(identity, row)
        if self._event_name:
            event = self._event(identity, moment, row, unusable or timeless)
        return RowPayloads(identity, moment, profile, event)

    def _identity(self, row: Row) -> tuple[str, Rejection | None]:
        value = row[self._identity_column]
        try:
            if value is None or value == "" or (isinstance(value, str) and value.isspace()):
                return self._no_identity(row)
            return self._identify(value), None
        except UnfitError as exc:
            shown = _shown(value)
            whole = isinstance(value, str) and shown == f"'{value}'"  # nothing escaped, nothing cut
            stand_in = value if whole else f"{shown} {digest_of(pinned(value)).hex()}"
            return unusable_identity(stand_in), _rejection(self._identity_column, value, exc)

    def _no_identity(self, row: Row) -> tuple[str, Rejection]:
        """Rows that name nobody are not one user: each stands for itself, told apart by all its values."""
        whole_row = "".join(f"{pinned(name)}{pinned(row[name])}" for name in sorted(row))
        fault = "the row names no user; fill the column in, or leave such rows out of the query"
        value = row[self._identity_column]
        reason = _rejection(self._identity_column, value, fault)
        return unusable_identity(f"row-{digest_of(whole_row).hex()}"), reason

    def _moment(self, row: Row) -> tuple[int, Rejection | None]:
        column = self._time_column
        if column is None:
            return UNKNOWN_MOMENT, None
        value = row[column]
        try:
            instant = None if value is None else utc_instant(value, self._time_zone)
        except UnfitError as exc:
            return UNKNOWN_MOMENT, _rejection(column, value, exc)
        if instant is None:
            fault = "no event time; fill the column in, or leave such rows out of the query"
            return UNKNOWN_MOMENT, _rejection(column, value, fault)
        return microseconds(instant), None

    def _profile(self, identity: str, row: Row) -> Payload | Rejection:
        data = self._data_fields(self._user_steps, row)
        if isinstance(data, Rejection):
            return data
        if self._segment_field:
            data[self._segment_field] = True
        return _payload({**identity_fields(identity), **self._options, "dataFields": data})

    def _event(self, identity: str, moment: int, row: Row, rejection: Rejection | None) -> Event | RejectedEvent:
        event_id, address_id = self._event_id(identity, row), self._address_id(row)
        data = rejection or self._data_fields(self._event_steps, row)
        if isinstance(data, Rejection):
            return RejectedEvent(event_id, data.reason, data.digest, address_id)
        created_at = moment // 1_000_000
        body, digest = _payload(
            {
                **identity_fields(identity),
                "eventName": self._event_name,
                "id": event_id,
                "createdAt": created_at,
                "dataFields": data,
            }
        )
        return Event(event_id, created_at, body, digest, address_id)

    def _event_id(self, identity: str, row: Row) -> str:
        """What happened, and to whom: 32 hexadecimal digits that no later run and no other field changes."""
        text = self._id_prefix + pinned(identity)
        for column in self._event_key:
            text += pinned(row[column])
        return digest_of(text).hex()

    def _address_id(self, row: Row) -> str:
        if self._address_column is None:
            return ""
        try:
            return self._event_id(address_identity(row[self._address_column]), row)
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
                    return _rejection(column, value, exc)
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


def under_address_id(event: Event | RejectedEvent) -> Event | RejectedEvent:
    """Return the event under the id that it has at Iterable since the address named its user."""
    if isinstance(event, RejectedEvent):
        return event._replace(id=event.address_id)
    body = event.body.replace(f'"id":"{event.id}"', f'"id":"{event.address_id}"', 1)
    return event._replace(id=event.address_id, body=body, digest=blake2b(body.encode(), digest_size=16).digest())


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


_AS_A_QUERY_SHOWS_IT: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda _none: "NULL",
    datetime: str,
    date: str,
    Decimal: str,
    timedelta: time_text,
    bytes: lambda value: f"0x{value.hex()}",
}


def _shown(value: Any) -> str:
    """Return a value on one line and cut short, as a reason in a log needs it; text is in quotes."""
    start = value[:_MAX_SHOWN] if isinstance(value, str | bytes) else value
    text = _AS_A_QUERY_SHOWS_IT.get(type(value), safe_repr)(start)
    whole = len(value) <= _MAX_SHOWN if isinstance(value, str | bytes) else True
    return text if whole and len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def _rejection(column: str, value: Any, fault: object) -> Rejection:
    reason = f"{column} is {_shown(value)}: {fault}"
    return Rejection(reason, digest_of(f"{reason}\0{pinned(value)}"))
