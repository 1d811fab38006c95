"""Which column becomes which field: the mapping settings as values, and everything that can be wrong with them."""

from __future__ import annotations

import re
from collections import Counter, abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final, NamedTuple

from sync.rows.source import Column, Kind, listed
from sync.rows.values import TIME_KINDS, TYPES

RESERVED_FIELDS: Final = frozenset(
    {
        *("email", "userId", "itblInternal", "itblDS", "itblUserId"),
        *("profileUpdatedAt", "signupDate", "signupSource", "receivedSMSDisclaimer"),
        *("emailListIds", "userListIds", "subscribedMessageTypeIds"),
        *("unsubscribedChannelIds", "unsubscribedMessageTypeIds"),
        *("devices", "phoneNumberDetails", "shoppingCartItems"),
    }
)
"""Profile fields that Iterable manages itself; `email` and `userId` are names of the user, which EMAIL_COLUMN and
USER_ID_COLUMN give."""

_NAME_IT: Final = "give it a name with AS in the query, and use that name here"

_NAME_KINDS: Final = {
    "EMAIL_COLUMN": frozenset({Kind.TEXT}),
    "USER_ID_COLUMN": frozenset({Kind.TEXT, Kind.INTEGER}),
}
"""The columns that these settings may name."""

Fields = abc.Mapping[str, Sequence[str]]
"""Names of fields as Iterable types them: those of profiles under `PROFILE`, those of events under the event's name."""

PROFILE: Final = ""
NO_FIELDS: Final[Fields] = {}


class Field(NamedTuple):
    """One column that becomes one field; a path of more than one name is a nested object."""

    column: str
    path: tuple[str, ...]
    type: str | None

    @property
    def name(self) -> str:
        """The field as it is written in the settings."""
        return ".".join(self.path)


def parse_fields(text: str) -> tuple[Field, ...]:
    """Read `column`, `column:field` or `column:field:type`, separated by commas; ValueError names all problems.

    >>> parse_fields("plan_type, town:address.city, prefs:prefs:json")[1]
    Field(column='town', path=('address', 'city'), type=None)
    """
    if not text.strip():
        return ()
    fields, problems = [], []
    for item in text.split(","):
        try:
            fields.append(_parse_field(item.strip()))
        except ValueError as exc:
            problems.append(str(exc))
    columns = [field.column for field in fields]
    is_spoilt = problems or re.search(r"[^\w.:,\s]", text) or len(set(columns)) < len(columns)
    problems += _path_conflicts([field.path for field in fields])
    if problems:
        hint = f" (does a column's name contain a comma or a colon? {_NAME_IT})" if is_spoilt else ""
        raise ValueError("; ".join(problems) + hint)
    return tuple(fields)


def _parse_field(item: str) -> Field:
    pieces = [piece.strip() for piece in item.split(":", 2)]
    column = pieces[0]
    name = pieces[1] if len(pieces) > 1 else column
    field_type = pieces[2] if len(pieces) > 2 else None
    path = tuple(part.strip() for part in name.split("."))
    if not column or not all(path):
        raise ValueError(f"has {item!r}, with an empty name or a comma too many; write column:field:type")
    if field_type is not None and field_type not in TYPES:
        raise ValueError(f"has {item!r}, whose type {field_type!r} is not one of {', '.join(TYPES)}")
    return Field(column, path, field_type)


def _path_conflicts(paths: Sequence[tuple[str, ...]]) -> Iterator[str]:
    for path, count in Counter(paths).items():
        name = ".".join(path)
        if count > 1:
            yield f"has {count} columns for the field {name}: rename all but one, as in column:field"
        for depth in range(1, len(path)):
            if path[:depth] in paths:
                yield f"makes {'.'.join(path[:depth])} both a value and an object (with {name}): rename one of them"


@dataclass(frozen=True)
class Mapping:
    """Which column becomes what.

    `identify_by` says which of the two names is the identity, "email" or "user_id"; empty: the user id where there is a
    column for it. `send_address`: if the user id is the identity, the address is sent too; otherwise the e-mail column
    is read only for events that are on record under ids made with the address. `null_means`: a NULL clears its field
    ("clear"), or is not sent ("keep").
    """

    email_column: str | None
    user_id_column: str | None
    user_fields: tuple[Field, ...]  # empty: no profiles are sent
    segment_field: str  # empty: none
    event_name: str  # empty: no events are sent
    event_fields: tuple[Field, ...]
    event_time_column: str
    event_key: tuple[str, ...]
    timezone: tzinfo  # of DATETIME values, and of text that is mapped as a date
    identify_by: str = ""
    send_address: bool = False
    null_means: str = "clear"

    @property
    def by_user_id(self) -> bool:
        """Whether the user id is the identity, and not the address."""
        return self.identify_by == "user_id" or (not self.identify_by and bool(self.user_id_column))

    @property
    def name_columns(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """The settings of a user's two names, each with its column: the identity, and the other; empty: none."""
        address, user_id = ("EMAIL_COLUMN", self.email_column or ""), ("USER_ID_COLUMN", self.user_id_column or "")
        if not self.by_user_id:
            return address, user_id
        return user_id, address if self.send_address else ("EMAIL_COLUMN", "")

    @property
    def identity_column(self) -> str:
        """The column that names the user."""
        return self.name_columns[0][1]

    @property
    def other_name_column(self) -> str:
        """The column with the other name, which is sent in the profile; empty: none."""
        return self.name_columns[1][1]

    @property
    def follows_addresses(self) -> bool:
        """Whether a changed address is changed at Iterable: the address is the identity, and the user id is known."""
        return not self.by_user_id and bool(self.user_id_column)


def in_order(fields: Sequence[Field], names: Sequence[str]) -> tuple[Field, ...]:
    """The fields in the order of `names`, and those that are not among them last, as they are."""
    places = {name: place for place, name in enumerate(names)}
    return tuple(sorted(fields, key=lambda field: places.get(field.name, len(places))))


def fields_of(mapping: Mapping) -> Fields:
    """The fields that the mapping writes to."""
    fields = {PROFILE: [field.name for field in mapping.user_fields]}
    if mapping.event_name:
        fields[mapping.event_name] = [field.name for field in mapping.event_fields]
    return fields


def named_columns(mapping: Mapping) -> list[str]:
    """The columns that the mapping names."""
    return list(dict.fromkeys(name for _setting, name in _named_columns(mapping) if name))


def unset_problems(mapping: Mapping) -> Iterator[str]:
    """What every mapping needs and this one leaves empty, whatever the query returns: one sentence each."""
    if not (mapping.email_column or mapping.user_id_column):
        yield "EMAIL_COLUMN and USER_ID_COLUMN are both empty; one must name the column that identifies the user"
    elif not mapping.identity_column:
        setting = mapping.name_columns[0][0]
        yield f"IDENTIFY_BY is {mapping.identify_by}, but {setting} is empty; it must name the user's column"
    if not mapping.user_fields and not mapping.event_name:
        yield "USER_FIELDS and EVENT_NAME are both empty; there would be nothing to send"
    if mapping.event_name:
        for setting, value in (("EVENT_TIME_COLUMN", mapping.event_time_column), ("EVENT_KEY", mapping.event_key)):
            if not value:
                yield f"{setting} is empty; an event needs it (or leave EVENT_NAME empty)"


def mapping_problems(mapping: Mapping, columns: Sequence[Column]) -> list[str]:
    """Everything that would make the mapping fail on these columns, one sentence each; not what it leaves empty."""
    kinds = dict(columns)
    given = f"(the query returns: {listed(name for name, _kind in columns) or 'nothing'})"
    about_columns = [*_repeated(columns), *_missing(mapping, kinds), *_kind_problems(mapping, kinds)]
    return [*(f"{problem} {given}" for problem in dict.fromkeys(about_columns)), *_profile_problems(mapping)]


def _repeated(columns: Sequence[Column]) -> Iterator[str]:
    for name, count in Counter(name for name, _kind in columns).items():
        if count > 1:
            yield f"the query gives {count} columns named {name}: rename all but one with AS"


def _missing(mapping: Mapping, kinds: dict[str, Kind]) -> Iterator[str]:
    """The columns that a setting names and the query does not return.

    A list of columns is split at each comma and colon, and so is a column name that contains one.
    """
    parts = {part.strip(): whole for whole in kinds for part in re.split("[,:]", whole)}
    for setting, name in _named_columns(mapping):
        if not name or name in kinds:
            continue
        if name in parts:
            yield f"{setting} names a part of the column {parts[name]!r}, which contains a comma or a colon: {_NAME_IT}"
        else:
            yield f"{setting} names the column {name}, which is missing"


def _named_columns(mapping: Mapping) -> Iterator[tuple[str, str]]:
    """Each column with the setting that names it."""
    yield from mapping.name_columns
    yield from ((setting, field.column) for setting, field in _mapped_fields(mapping))
    if mapping.event_name:
        yield from (("EVENT_KEY", name) for name in mapping.event_key)
        yield "EVENT_TIME_COLUMN", mapping.event_time_column


def _mapped_fields(mapping: Mapping) -> Iterator[tuple[str, Field]]:
    yield from (("USER_FIELDS", field) for field in mapping.user_fields)
    if mapping.event_name:
        yield from (("EVENT_FIELDS", field) for field in mapping.event_fields)


def _profile_problems(mapping: Mapping) -> Iterator[str]:
    for field in mapping.user_fields:
        if field.path[0] in RESERVED_FIELDS:
            name = {"email": "EMAIL_COLUMN", "userId": "USER_ID_COLUMN"}.get(field.path[0])
            remedy = f"name the column in {name}, and both names are sent" if name else "choose another field name"
            yield f"USER_FIELDS writes to {field.name}, which Iterable manages itself: {remedy}"
    segment = mapping.segment_field
    if segment in RESERVED_FIELDS:
        yield f"SEGMENT_FIELD is {segment}, which Iterable manages itself: choose another field name"
    if "." in segment:
        yield f"SEGMENT_FIELD is {segment}, but its name must not contain a dot"
    if segment in {field.path[0] for field in mapping.user_fields}:
        yield f"SEGMENT_FIELD is {segment}, which USER_FIELDS writes to as well: rename one of them"


def _kind_problems(mapping: Mapping, kinds: dict[str, Kind]) -> Iterator[str]:
    """The columns whose kind does not suit their use. A missing column is reported elsewhere."""
    for setting, field in _mapped_fields(mapping):
        kind = kinds.get(field.column)
        if kind is Kind.BINARY and field.type is None:
            remedy = f"write {field.column}:{field.name}:string if it holds text, or leave it out"
            yield f"{setting} names {field.column}, which is binary: {remedy}"
        if field.name.endswith("_geo_location") and field.type != "json" and kind is not Kind.JSON:
            remedy = f"map two columns, to {field.name}.lat and {field.name}.lon, or one as json"
            yield f"{setting} writes {field.column} to {field.name}, which must be an object: {remedy}"
    for setting, column in mapping.name_columns:
        kind = kinds.get(column)
        if kind and kind not in _NAME_KINDS[setting]:
            yield (
                f"{setting} names {column}, which is {kind.value}: name a column of text, or "
                f"CAST({column} AS CHAR) AS {column} in the query, or LOWER(HEX({column})) AS {column} of a binary UUID"
            )
    column = mapping.event_time_column
    kind = kinds.get(column)
    if mapping.event_name and kind and kind not in TIME_KINDS:
        yield (
            f"EVENT_TIME_COLUMN names {column}, which is {kind.value}, not a time: name another column, or "
            f"CAST({column} AS DATETIME) AS {column} in the query, or CAST({column} AS SIGNED) AS {column} if it holds "
            "Unix seconds"
        )
