"""One row of the query becomes one profile update and one event.

Here the parts come together: the form of a request's body, the `id` by which Iterable recognises an event, and the time
that shows which row of a user is the newest. The functions are pure: the same row gives the same bytes and the same
ids, today and in the next run. What cannot be sent becomes a `Rejection` that says why; no row raises.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from sync.rows.data_fields import DataFields, zone_of
from sync.rows.fingerprint import Fingerprint, raw_printers
from sync.rows.identity import Names, Naming, address_identity, identity_fields, is_user_id, name_of
from sync.rows.mapping import NO_FIELDS, PROFILE, Fields, Mapping
from sync.rows.raw_values import Misfit, Rejection, digest_of, pinned, rejection
from sync.rows.source import Column, Kind, Values
from sync.rows.values import TIME_KINDS, UNKNOWN_MOMENT, UnfitError, encode, event_instant, microseconds

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
    """An event that cannot be sent, under the id that it would have; `misfits` as those of a `Rejection`."""

    id: str
    reason: str
    digest: bytes
    misfits: tuple[Misfit, ...] = ()


class RowPayloads(NamedTuple):
    """Everything that one row says; None where the mapping has no profile or no event.

    `person`, `other` and `lacks` are those of `Names`. If events may be on record under ids made with an address,
    `address` is the row's address, if usable, and `event_id_of` gives the event's id for an address.
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


class PayloadBuilder:
    """Builds the payloads of every row of one query; the work that all rows share is done once, here.

    The mapping has no problems, and each row holds the values of the columns given here, in their order.
    `address_ids`: events also get the ids that they had while the address named their user. `typed`: the fields that
    have their types at Iterable, as `fields_of` gives them.
    """

    def __init__(
        self,
        mapping: Mapping,
        columns: Sequence[Column],
        *,
        address_ids: bool = False,
        typed: Fields = NO_FIELDS,
    ) -> None:
        kinds = dict(columns)
        places = {column.name: place for place, column in enumerate(columns)}
        zone = None if str(mapping.timezone) == "UTC" else mapping.timezone
        self._mapping, self._naming = mapping, Naming(mapping, columns)
        sends_nulls = mapping.null_means != "keep"
        of_users, of_events = typed.get(PROFILE, ()), typed.get(mapping.event_name, ())
        self._user_fields = DataFields(mapping.user_fields, columns, zone, of_users, sends_nulls=sends_nulls)
        # By default, Iterable replaces an object as a whole, and fields that we do not know would be lost. It merges
        # one level only: for a.b.c, what is beside c in b is still replaced.
        merges = any(len(field.path) > 1 for field in mapping.user_fields)
        options = {"preferUserId": mapping.by_user_id, "mergeNestedObjects": merges}
        self._options = {name: True for name, wanted in options.items() if wanted}
        event_fields = mapping.event_fields if mapping.event_name else ()
        self._event_fields = DataFields(event_fields, columns, zone, of_events, sends_nulls=sends_nulls)
        self._event_key = [places[name] for name in mapping.event_key] if mapping.event_name else []
        self._address_at = places.get(mapping.email_column or "") if address_ids else None
        self._id_prefix = pinned(mapping.event_name)
        time_kind = kinds.get(mapping.event_time_column, Kind.TEXT)
        self._time_at = places[mapping.event_time_column] if time_kind in TIME_KINDS else None
        self._time_zone = zone_of(time_kind, zone)
        self._print_profile, self._print_event = raw_printers(mapping, columns)

    def fingerprint(self, values: Values) -> Fingerprint:
        """What this row says by its raw values."""
        names = self._naming.names(values)
        moment, timeless = self._moment(values)
        profile = event = event_id = None
        if self._mapping.user_fields:
            profile = b"" if names.refused else self._print_profile(values)
        if self._mapping.event_name:
            event_id = self._event_id(values, names.person)
            event = b"" if names.refused else self._print_event(values)
        return Fingerprint(names, moment, timeless, event_id, profile, event)

    def build(self, values: Values, it: Fingerprint | None = None) -> RowPayloads:
        """Return what this row says of its user and of its event; `it` is its fingerprint, if there is one already."""
        names, moment, timeless, event_id, *_ = it or self.fingerprint(values)
        profile = event = None
        if self._mapping.user_fields:
            profile = names.refused or self._profile(names, values)
        if event_id is not None:
            data = names.refused or timeless or self._event_fields.of(values)
            event = self._event(names.identity, event_id.hex(), moment // 1_000_000, data)
        row_payloads = RowPayloads(names.identity, moment, profile, event, names.person, names.other, names.lacks)
        if self._address_at is None:
            return row_payloads
        return row_payloads._replace(
            address=self._address(values[self._address_at]),
            event_id_of=lambda person: self._event_id(values, person).hex(),
        )

    def _moment(self, values: Values) -> tuple[int, Rejection | None]:
        if self._time_at is None:
            return UNKNOWN_MOMENT, None
        value = values[self._time_at]
        try:
            instant = None if value is None else event_instant(value, self._time_zone)
        except UnfitError as exc:
            return UNKNOWN_MOMENT, rejection(self._mapping.event_time_column, value, exc)
        if instant is None:
            fault = "no event time; fill the column in, or leave such rows out of the query"
            return UNKNOWN_MOMENT, rejection(self._mapping.event_time_column, value, fault)
        return microseconds(instant), None

    def _profile(self, names: Names, values: Values) -> Payload | Rejection:
        data = self._user_fields.of(values)
        if isinstance(data, Rejection):
            return data
        other = identity_fields(names.other) if names.other else {}
        segment = {self._mapping.segment_field: True} if self._mapping.segment_field else {}
        return _payload(
            {**identity_fields(names.identity), **self._options, "dataFields": {**other, **data, **segment}}
        )

    def _event(
        self, identity: str, event_id: str, created_at: int, data: dict[str, Any] | Rejection
    ) -> Event | RejectedEvent:
        if isinstance(data, Rejection):
            return RejectedEvent(event_id, *data)
        about = {"eventName": self._mapping.event_name, "id": event_id, "createdAt": created_at}
        return Event(event_id, created_at, *_payload({**identity_fields(identity), **about, "dataFields": data}))

    def _event_id(self, values: Values, person: str) -> bytes:
        """The event's id, from what happened and to whom: 16 bytes that no later run and no other field changes."""
        key = "".join([pinned(values[place]) for place in self._event_key])
        return digest_of(f"{self._id_prefix}{pinned(person)}{key}")

    @staticmethod
    def _address(value: Any) -> str:
        try:
            return address_identity(value)
        except UnfitError:
            return ""


class Reading(PayloadBuilder):
    """Reads each row: `fingerprint` first, then `payloads` if the fingerprint is not known.

    For fields that have no type at Iterable yet, `refusal` reports values that do not fit the type that they would get.
    """

    def __init__(
        self, mapping: Mapping, columns: Sequence[Column], *, address_ids: bool = False, typed: Fields = NO_FIELDS
    ) -> None:
        super().__init__(mapping, columns, address_ids=address_ids, typed=typed)
        self._misfits: dict[tuple[str, str], str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def payloads(self, values: Values, it: Fingerprint | None = None) -> RowPayloads:
        """Everything that a row says; `it` is its fingerprint, if there is one already."""
        row = self.build(values, it)
        for setting, payload in (("USER_FIELDS", row.profile), ("EVENT_FIELDS", row.event)):
            if isinstance(payload, Rejection | RejectedEvent):
                for field, told in payload.misfits:
                    self._misfits.setdefault((setting, field), told)
                    self._counts[setting, field] += 1
        return row

    def refusal(self) -> str:
        """Why none of these rows may be sent as they are mapped; empty if they may."""
        if not self._misfits:
            return ""
        each = "; ".join(
            f"{key[0]}: {told} (rows with such a value: {self._counts[key]:,})" for key, told in self._misfits.items()
        )
        return (
            "values do not fit the types that their fields would get, and Iterable never changes the type of a field, "
            f"so nothing is sent: {each}"
        )


def exit_request(identity: str, segment_field: str) -> str:
    """Return the body that tells Iterable that a user has left the segment: the field alone, false."""
    options = {"preferUserId": True} if is_user_id(identity) else {}
    return encode({**identity_fields(identity), **options, "dataFields": {segment_field: False}})


def profile_rest(body: str, identity: str, segment_field: str) -> str:
    """Return the part of a profile's body that does not depend on its user's address and segment when it is sent."""
    rest = body[len(_head(identity)) : -len(_ending(segment_field, inside=True))]
    return rest.removesuffix(",") if segment_field else rest


def profile_request(identity: str, rest: str, segment_field: str, *, inside: bool) -> str:
    """Return the body of a profile, made from the part that stays the same; `inside`: the user is in the segment."""
    comma = "," if segment_field and not rest.endswith("{") else ""
    return f"{_head(identity)}{rest}{comma}{_ending(segment_field, inside=inside)}"


def event_rest(body: str, identity: str) -> str:
    """As `profile_rest`, for an event."""
    return body[len(_head(identity)) :]


def event_request(identity: str, rest: str) -> str:
    """As `profile_request`, for an event."""
    return f"{_head(identity)}{rest}"


def event_digest(identity: str, rest: str) -> bytes:
    """Return the digest of an event's body with this name at its top."""
    return _digest(event_request(identity, rest))


@lru_cache(maxsize=4)  # it is asked for by one payload of a user after the other
def _head(identity: str) -> str:
    """What a body begins with: the name of its user."""
    field = "userId" if is_user_id(identity) else "email"
    return f'{{"{field}":{encode(name_of(identity))},'


@lru_cache(maxsize=4)
def _ending(segment_field: str, *, inside: bool) -> str:
    """What a profile's body ends with."""
    return f"{encode(segment_field)}:{'true' if inside else 'false'}}}}}" if segment_field else "}}"


def under_id(event: Event | RejectedEvent, known_id: str) -> Event | RejectedEvent:
    """Return the event under the id by which Iterable knows it."""
    if isinstance(event, RejectedEvent):
        return event._replace(id=known_id)
    body = event.body.replace(f'"id":"{event.id}"', f'"id":"{known_id}"', 1)
    return event._replace(id=known_id, body=body, digest=_digest(body))


def names_in(body: str) -> str:
    """Return the names that a profile's body gives its user, for a sentence about a conflict."""
    update = json.loads(body)
    given = {**update.get("dataFields", {}), **update}
    words = {"email": "address", "userId": "user id"}
    return " and ".join(f"{word} {given[name]}" for name, word in words.items() if given.get(name) is not None)


def _payload(body: dict[str, Any]) -> Payload:
    """The payload of a body. Half a surrogate pair has no UTF-8 form: it becomes U+FFFD, the replacement character."""
    text = encode(body)
    if not text.isascii():
        text = _SURROGATE.sub("\ufffd", text)
    return Payload(text, _digest(text))


def _digest(body: str) -> bytes:
    return blake2b(body.encode(), digest_size=16).digest()
