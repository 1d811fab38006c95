"""One row of the query becomes one profile update and one event.

Here the parts come together: the form of a request's body, the `id` by which Iterable knows an event again, the
moment that tells which row of a user is the newest. The functions are pure: the same row gives the same bytes and
the same ids, today and in the next run. What cannot be sent becomes a `Rejection` that says why; no row raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from datetime import tzinfo
from functools import partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from sync.rows.columns import Column, Kind, Values
from sync.rows.fingerprint import Fingerprint
from sync.rows.identity import address_identity, identity_fields, is_user_id, name_of
from sync.rows.ids import digest_of, pinned
from sync.rows.mapping import NO_FIELDS, PROFILE, Field, Fields, Mapping
from sync.rows.names import Names, Naming
from sync.rows.rejection import Misfit, Rejection, rejection
from sync.rows.template import Member, Template, quoted
from sync.rows.values import TIME_KINDS, UNKNOWN_MOMENT, UnfitError, converter, encode, event_instant, microseconds

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
        self._kinds = dict(columns)
        self._places = {column.name: place for place, column in enumerate(columns)}
        self._zone = None if str(mapping.timezone) == "UTC" else mapping.timezone
        self._naming = Naming(mapping, columns)
        self._name_field = '"userId"' if mapping.by_user_id else '"email"'
        self._null = None if mapping.null_means == "keep" else "null"  # null clears the field at Iterable
        self._user_fields = self._template(mapping.user_fields, typed.get(PROFILE, ())) if mapping.user_fields else None
        # By default Iterable replaces an object as a whole; fields that we do not know would go. It merges one
        # level only: of a.b.c, what stands beside c in b is still replaced.
        merges = any(len(field.path) > 1 for field in mapping.user_fields)
        options = {"preferUserId": mapping.by_user_id, "mergeNestedObjects": merges}
        self._options = "".join(f'"{name}":true,' for name, wanted in options.items() if wanted)
        self._segment = f"{quoted(mapping.segment_field)}:true" if mapping.segment_field else ""
        of_events = typed.get(mapping.event_name, ())
        self._event_fields = self._template(mapping.event_fields, of_events) if mapping.event_name else None
        self._event_name = quoted(mapping.event_name)
        self._event_key = tuple(self._places[name] for name in mapping.event_key) if mapping.event_name else ()
        self._address_at = self._places.get(mapping.email_column or "") if address_ids else None
        self._id_prefix = pinned(mapping.event_name)
        time_column = mapping.event_time_column
        self._time_column = time_column if self._kinds.get(time_column) in TIME_KINDS else None
        self._time_zone = self._zone_of(time_column)

    def _zone_of(self, column: str) -> tzinfo | None:
        in_utc = self._kinds.get(column) in (Kind.TIMESTAMP, Kind.DATE)  # the one given so, the other never shifted
        return None if in_utc else self._zone

    def _template(self, fields: Sequence[Field], typed: Collection[str]) -> Template:
        return Template([self._member(field, is_typed=field.name in typed) for field in fields], self._null)

    def _member(self, field: Field, *, is_typed: bool) -> Member:
        kind = self._kinds[field.column]
        convert = converter(kind, field.type, self._zone_of(field.column))
        is_text = kind is Kind.TEXT and field.type in (None, "string")
        is_json = (field.type or kind.value) == "json"
        place = self._places[field.column]
        return Member(field.path, field.column, place, convert, is_text, is_json, field.type is None, is_typed)

    def build(self, values: Values, fingerprint: Fingerprint | None = None) -> RowPayloads:
        """Return what this row says of its user and of its event; what its `fingerprint` tells is not asked again."""
        names = self._naming.names(values)
        moment, timeless = fingerprint.moment if fingerprint else UNKNOWN_MOMENT, None
        if moment == UNKNOWN_MOMENT:
            moment, timeless = self._moment(values)
        user = f"{{{self._name_field}:{quoted(name_of(names.identity))},"
        profile = event = None
        if self._user_fields:
            profile = names.refused or self._profile(self._user_fields, user, names, values)
        if self._event_fields:
            known = fingerprint is not None and fingerprint.person == names.person
            event_id = fingerprint.event_id.hex() if fingerprint and known else self._event_id(values, names.person)
            data = names.refused or timeless or self._event_fields.members(values)
            event = self._event(user, event_id, moment // 1_000_000, data)
        row_payloads = RowPayloads(names.identity, moment, profile, event, names.person, names.other, names.lacks)
        if self._address_at is None:
            return row_payloads
        return row_payloads._replace(
            address=self._address(values[self._address_at]), event_id_of=partial(self._event_id, values)
        )

    def _moment(self, values: Values) -> tuple[int, Rejection | None]:
        column = self._time_column
        if column is None:
            return UNKNOWN_MOMENT, None
        value = values[self._places[column]]
        try:
            instant = None if value is None else event_instant(value, self._time_zone)
        except UnfitError as exc:
            return UNKNOWN_MOMENT, rejection(column, value, exc)
        if instant is None:
            fault = "no event time; fill the column in, or leave such rows out of the query"
            return UNKNOWN_MOMENT, rejection(column, value, fault)
        return microseconds(instant), None

    def _profile(self, fields: Template, user: str, names: Names, values: Values) -> Payload | Rejection:
        data = fields.members(values)
        if isinstance(data, Rejection):
            return data
        other = f'"{self._naming.other_field}":{quoted(name_of(names.other))}' if names.other else ""
        data = ",".join(filter(None, (other, data, self._segment)))
        return _payload(f'{user}{self._options}"dataFields":{{{data}}}}}')

    def _event(self, user: str, event_id: str, created_at: int, data: str | Rejection) -> Event | RejectedEvent:
        if isinstance(data, Rejection):
            return RejectedEvent(event_id, *data)
        body, digest = _payload(
            f'{user}"eventName":{self._event_name},"id":"{event_id}","createdAt":{created_at},"dataFields":{{{data}}}}}'
        )
        return Event(event_id, created_at, body, digest)

    def _event_id(self, values: Values, person: str) -> str:
        """What happened, and to whom: 32 hexadecimal digits that no later run and no other field changes."""
        text = self._id_prefix + pinned(person)
        for place in self._event_key:
            text += pinned(values[place])
        return digest_of(text).hex()

    @staticmethod
    def _address(value: Any) -> str:
        try:
            return address_identity(value)
        except UnfitError:
            return ""


def exit_request(identity: str, segment_field: str) -> str:
    """Return the body that tells Iterable that a user has left the segment: the field alone, false."""
    options = {"preferUserId": True} if is_user_id(identity) else {}
    return encode({**identity_fields(identity), **options, "dataFields": {segment_field: False}})


def profile_rest(body: str, identity: str, segment_field: str) -> str:
    """Return what of a profile's body stays the same, whatever address and segment its user has when it is sent."""
    rest = body[len(_head(identity)) : -len(_ending(segment_field, inside=True))]
    return rest.removesuffix(",") if segment_field else rest


def profile_request(identity: str, rest: str, segment_field: str, *, inside: bool) -> str:
    """Return the body of a profile from what stays the same of it; `inside`: the user is in the segment."""
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


def _head(identity: str) -> str:
    """What a body begins with: the name of its user."""
    field = "userId" if is_user_id(identity) else "email"
    return f'{{"{field}":{quoted(name_of(identity))},'


def _ending(segment_field: str, *, inside: bool) -> str:
    """What a profile's body ends with."""
    return f"{quoted(segment_field)}:{'true' if inside else 'false'}}}}}" if segment_field else "}}"


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


# -- parts ---------------------------------------------------------------------------------------------------


def _payload(text: str) -> Payload:
    """The payload of a body. Half a surrogate pair has no UTF-8 form: it becomes U+FFFD, the replacement character."""
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        text = _SURROGATE.sub("\ufffd", text)
        raw = text.encode()
    return Payload(text, blake2b(raw, digest_size=16).digest())


def _digest(body: str) -> bytes:
    return blake2b(body.encode(), digest_size=16).digest()
