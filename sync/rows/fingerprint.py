"""A row known again by its raw values, before any JSON is made of it.

Most rows of most runs say what they said in the last one. So the state keeps, beside the digest of a payload that was
delivered, a fingerprint of the raw values that it was made of: where it fits, the payload is the same. A fingerprint
that does not fit says nothing; then the payload is made and compared. So it may hang on whatever it likes (the mapping,
this program's version, Python's way to write a value), and only ever costs time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo
from hashlib import blake2b
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sync.rows.columns import Column, Kind, Values
from sync.rows.identity import USER_ID_PREFIX
from sync.rows.ids import digest_of, pinned
from sync.rows.mapping import Mapping
from sync.rows.values import (
    PLACEHOLDER_YEARS,
    TIME_KINDS,
    UNKNOWN_MOMENT,
    UnfitError,
    event_instant,
    microseconds,
)

_FORM: Final = 2
"""To be raised when the same values give another payload than before."""

_PINNED_EXACTLY: Final = frozenset({Kind.TEXT, Kind.INTEGER, Kind.DATE, Kind.DATETIME, Kind.TIMESTAMP})
"""The columns of which an event's id tells every value from every other: they need not be looked at twice."""


FITS_NONE: Final = b""
"""The fingerprint of what has none, because something about it is odd."""


class Fingerprint(NamedTuple):
    """What one row says, as far as its raw values tell: of whom, when, and two fingerprints of 8 bytes.

    `profile` and `event` are None, and `event_id` is empty, where the mapping asks for none. The names are as they
    stand in the row: whether they are usable is known once the fingerprint fits one in the state.
    """

    identity: str
    person: str
    moment: int
    profile: bytes | None
    event_id: bytes
    event: bytes | None


def fingerprinter(mapping: Mapping, columns: Sequence[Column]) -> Callable[[Values], Fingerprint | None]:
    """What makes the fingerprints of all rows; None for a row that names nobody in a usable way.

    A closure, because it is called for each of them.
    """
    kinds = dict(columns)
    place = {column.name: number for number, column in enumerate(columns)}
    who = [name for name in (mapping.identity_column, mapping.other_name_column) if name]
    known = (_FORM, mapping, tuple(columns), _rules_of(mapping.timezone))
    seed = blake2b(repr(known).encode(), digest_size=8).hexdigest()
    moment_of = _moments(mapping, kinds, place)
    person_of = _persons(mapping, place)
    identify, identity_at = (_user_id if mapping.by_user_id else _address), place[mapping.identity_column]
    profile_at = [place[name] for name in (*[field.column for field in mapping.user_fields], *who)]
    profile_of = _printer(f"{seed}p", profile_at) if mapping.user_fields else None
    id_prefix = pinned(mapping.event_name)
    key_at = [place[name] for name in mapping.event_key] if mapping.event_name else []
    event_of = _printer(f"{seed}e", _beside_the_id(mapping, kinds, place, who)) if mapping.event_name else None

    def fingerprint(values: Values) -> Fingerprint | None:
        identity = identify(values[identity_at])
        person = person_of(values) if person_of else identity
        if not identity or not person or not identity.isprintable() or not person.isprintable():
            return None
        key = b""
        if event_of:
            event_id = id_prefix + pinned(person)
            for at in key_at:
                event_id += pinned(values[at])
            key = digest_of(event_id)
        moment = moment_of(values)
        try:
            if moment is not None:
                profile = profile_of(values) if profile_of else None
                event = event_of(values) if event_of else None
                return Fingerprint(identity, person, moment, profile, key, event)
        except (ValueError, RecursionError):  # a number of too many digits, a structure of too many levels
            pass
        return Fingerprint(identity, person, UNKNOWN_MOMENT, FITS_NONE, key, FITS_NONE)

    return fingerprint


def _rules_of(zone: tzinfo) -> list[timedelta | None]:
    """A time zone from week to week: with a new zone database the same wall clock may be another moment."""
    return [zone.utcoffset(datetime(1970, 1, 1) + timedelta(weeks=week)) for week in range(80 * 52)]


def _beside_the_id(mapping: Mapping, kinds: dict[str, Kind], place: dict[str, int], who: Sequence[str]) -> list[int]:
    """The columns of which an event is made, but for those that its id tells of: by that the state finds it."""
    in_the_id = {name for name in mapping.event_key if kinds[name] in _PINNED_EXACTLY}
    used = [*(field.column for field in mapping.event_fields), mapping.event_time_column, *mapping.event_key, *who]
    return [place[name] for name in dict.fromkeys(used) if name not in in_the_id]


def _printer(seed: str, places: Sequence[int]) -> Callable[[Values], bytes]:
    """What makes a fingerprint of the values at these places."""
    pick = itemgetter(*places) if places else lambda _values: ()

    def fingerprint(values: Values) -> bytes:
        return blake2b(f"{seed}{pick(values)!r}".encode(), digest_size=8).digest()

    return fingerprint


def _moments(mapping: Mapping, kinds: dict[str, Kind], place: dict[str, int]) -> Callable[[Values], int | None]:
    """What gives the moment of a row; None for one whose time is missing or unfit."""
    kind = kinds.get(mapping.event_time_column)
    if kind not in TIME_KINDS:
        return lambda _values: UNKNOWN_MOMENT
    at = place[mapping.event_time_column]
    in_utc = kind in (Kind.TIMESTAMP, Kind.DATE) or str(mapping.timezone) == "UTC"
    zone = None if in_utc else mapping.timezone
    first, last = PLACEHOLDER_YEARS

    def moment(values: Values) -> int | None:
        value = values[at]
        if zone is None and type(value) is datetime and value.tzinfo is None and first < value.year < last:
            return microseconds(value)
        try:
            instant = None if value is None else event_instant(value, zone)
        except UnfitError:
            return None
        return None if instant is None else microseconds(instant)

    return moment


def _persons(mapping: Mapping, place: dict[str, int]) -> Callable[[Values], str] | None:
    """What gives the person of a row, where that is not the identity."""
    if mapping.by_user_id or not mapping.other_name_column:
        return None
    at = place[mapping.other_name_column]
    return lambda values: _user_id(values[at])


def _address(value: Any) -> str:
    return value.strip().lower() if type(value) is str else ""


def _user_id(value: Any) -> str:
    if isinstance(value, str):
        return f"{USER_ID_PREFIX}{value}" if value and not value.isspace() else ""
    if type(value) is int and value.bit_length() < 1000:  # more digits than Python writes, and than an id may have
        return f"{USER_ID_PREFIX}{value}"
    return ""
