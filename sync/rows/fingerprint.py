"""A row recognised by its raw values, before any JSON is made from it.

In most runs, most rows are the same as in the last one. So the state keeps, beside the digest of a delivered payload, a
fingerprint of the raw values that it was made from. If the fingerprint matches, the payload is the same. If not, the
payload is made and compared. So a fingerprint may depend on anything (the mapping, this program's version, Python's way
to write a value): a mismatch only costs time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sync.rows.identity import Names
from sync.rows.mapping import Mapping
from sync.rows.raw_values import Rejection
from sync.rows.source import Column, Kind, Values

_FORM: Final = 3
"""Increase it when the same values make a different payload than before."""

RawPrinter = Callable[[Values], bytes]


class Fingerprint(NamedTuple):
    """What one row says before any JSON is made of it: of whom, when, under which event id, and of which raw values.

    `moment` is in microseconds since 1970, and `timeless` says why there is none. `profile` and `event` have 8 bytes;
    they are None where the mapping asks for no such payload, as is `event_id`, and empty for a row that names nobody in
    a usable way.
    """

    names: Names
    moment: int
    timeless: Rejection | None
    event_id: bytes | None
    profile: bytes | None
    event: bytes | None


_PINNED_EXACTLY: Final = frozenset({Kind.TEXT, Kind.INTEGER, Kind.DATE, Kind.DATETIME, Kind.TIMESTAMP})
"""Kinds of columns of which an event's id distinguishes every value. Looking at them only once saves a fifth."""


def raw_printers(mapping: Mapping, columns: Sequence[Column]) -> tuple[RawPrinter, RawPrinter]:
    """The functions that make the fingerprint of a profile's values, and of an event's values.

    The state finds an event by its id, so what is in the id needs no second look.
    """
    kinds = dict(columns)
    seed = repr((_FORM, mapping, tuple(columns), _rules_of(mapping.timezone)))
    of_profile = [*(field.column for field in mapping.user_fields), mapping.identity_column, mapping.other_name_column]
    of_event = [*(field.column for field in mapping.event_fields), mapping.event_time_column, *mapping.event_key]
    in_the_id = {name for name in mapping.event_key if kinds.get(name) in _PINNED_EXACTLY}
    places = {column.name: place for place, column in enumerate(columns)}
    return (
        _printer(f"profile {seed}", [places[name] for name in of_profile if name in places]),
        _printer(f"event {seed}", [places[name] for name in of_event if name in places and name not in in_the_id]),
    )


@lru_cache(maxsize=4)
def _rules_of(zone: tzinfo) -> str:
    """A time zone from week to week: with a new zone database the same wall clock may be another moment."""
    offsets = [zone.utcoffset(datetime(1970, 1, 1) + timedelta(weeks=week)) for week in range(80 * 52)]
    return blake2b(repr(offsets).encode(), digest_size=8).hexdigest()


def _printer(seed: str, places: Sequence[int]) -> RawPrinter:
    short_seed = blake2b(seed.encode(), digest_size=8).hexdigest()
    pick: Callable[[Values], Any] = itemgetter(*places) if places else itemgetter(slice(0))

    def fingerprint(values: Values) -> bytes:
        return blake2b(f"{short_seed}{pick(values)!r}".encode(), digest_size=8).digest()

    return fingerprint
