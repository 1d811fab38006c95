"""One row of the query becomes one profile update and one event.

Everything about the form of a request's body is decided here: whose it is, which JSON type each column has, how
a date is written, and by which `id` Iterable knows an event again. The functions are pure: the same row gives
the same bytes and the same ids, today and in the next run. What cannot be sent becomes a `Rejection` that says
why; no row raises.

A type comes from the column's metadata or from the setting (`column:field:type`), never from a look into text:
Iterable fixes the type of a field by the first value that it ever sees.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, NamedTuple, NoReturn

from columns import Column, Kind, Row

UNKNOWN_MOMENT: Final = -(2**63)
"""The moment of a row whose event time is not known: older than every other row."""

TYPES: Final = ("json", "bool", "number", "string", "date")
"""What may stand in the third place of `column:field:type`."""

_ID_PREFIX: Final = "id:"  # no address starts like this, nor like the next: a colon is not allowed there
_UNUSABLE_PREFIX: Final = "?:"
_MAX_EXACT: Final = 2**53 - 1  # beyond it a reader of JSON that uses doubles sees another number
_MAX_LONG: Final = 2**63 - 1
_MAX_JSON_DEPTH: Final = 100  # MySQL's own bound; a fixed one, so that the answer does not hang on our stack
_MAX_SHOWN: Final = 60
_EPOCH: Final = datetime(1970, 1, 1)

RESERVED_FIELDS: Final = frozenset(
    {
        "email",
        "userId",
        "itblInternal",
        "itblDS",
        "itblUserId",
        "profileUpdatedAt",
        "signupDate",
        "signupSource",
        "emailListIds",
        "userListIds",
        "subscribedMessageTypeIds",
        "unsubscribedChannelIds",
        "unsubscribedMessageTypeIds",
        "receivedSMSDisclaimer",
        "devices",
        "phoneNumberDetails",
        "shoppingCartItems",
    }
)
"""Profile fields that Iterable keeps itself; `email` and `userId` would change who the user is."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


# -- what comes out ------------------------------------------------------------------------------------------


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


class RejectedEvent(NamedTuple):
    """An event that cannot be sent, under the id that it would have."""

    id: str
    reason: str
    digest: bytes


class RowPayloads(NamedTuple):
    """All that one row says; None where the mapping asks for no profile or no event."""

    identity: str
    moment: int  # event time in microseconds since 1970, or UNKNOWN_MOMENT: tells which row is the newest
    profile: Payload | Rejection | None
    event: Event | RejectedEvent | None


# -- identities ----------------------------------------------------------------------------------------------


def is_usable(identity: str) -> bool:
    """Tell an identity that Iterable can be given from the stand-in for a bad one."""
    return not identity.startswith(_UNUSABLE_PREFIX)


def address_of(identity: str) -> str:
    """Return the address or user id of an identity, as a reader of the log knows it."""
    return identity.removeprefix(_ID_PREFIX).removeprefix(_UNUSABLE_PREFIX)


def identity_fields(identity: str) -> dict[str, str]:
    """Return how a request names the user of a usable identity: by `email` or by `userId`, never both."""
    if identity.startswith(_ID_PREFIX):
        return {"userId": identity.removeprefix(_ID_PREFIX)}
    return {"email": identity}


class _UnfitError(Exception):
    """A value that cannot be sent: what is wrong with it and what to do. The caller knows the column."""


# The rules of Apache Commons' EmailValidator, without its list of top-level domains, which ages. What only some
# of its versions refuse (characters outside ASCII) passes: Iterable's own answer is then the row's outcome.
_WORD = r"""(?:(?:[^\s()<>@,;:\\"\[\].]|\\.)+|"(?:[^"\\]|\\.)*")"""
_LOCAL_PART = rf"{_WORD}(?:\.{_WORD})*"
_ALNUM = r"a-z0-9\x80-\U0010ffff"
_DOMAIN = (
    rf"(?:[{_ALNUM}](?:[{_ALNUM}-]{{0,61}}[{_ALNUM}])?\.)+"  # labels
    rf"[a-z\x80-\U0010ffff][{_ALNUM}-]{{0,61}}[{_ALNUM}]"  # a top-level domain: no digit first, so no IP address
)
_ADDRESS: Final = re.compile(f"{_LOCAL_PART}@{_DOMAIN}")
_MAX_ADDRESS: Final = 254  # with the next, the limits of SMTP
_MAX_LOCAL_PART: Final = 64
_MAX_USER_ID: Final = 52


def _address(value: Any) -> str:
    """Return the identity of an e-mail address; only what no version of the rules accepts is refused."""
    if not isinstance(value, str):
        raise _UnfitError("an e-mail address is text; name another column in EMAIL_COLUMN")
    address = value.strip().lower()
    if (
        len(address) <= _MAX_ADDRESS
        and _ADDRESS.fullmatch(address)
        and address.rindex("@") <= _MAX_LOCAL_PART
        and address.isprintable()  # no control characters, invisible marks or half surrogates
    ):
        return address
    raise _UnfitError(f"{_address_fault(address)}; correct it in the database")


def _address_fault(address: str) -> str:
    local, at, domain = address.rpartition("@")
    faults = (
        (not at, "an e-mail address needs an @"),
        (not address.isprintable(), "the address holds a control or invisible character"),
        (len(address) > _MAX_ADDRESS, f"the address is longer than {_MAX_ADDRESS} characters"),
        (len(local) > _MAX_LOCAL_PART, f"more than {_MAX_LOCAL_PART} characters stand before the @"),
        (not re.fullmatch(_LOCAL_PART, local), "what stands before the @ is not allowed there"),
        (not re.fullmatch(_DOMAIN, domain), "what stands after the @ is not a full domain name"),
    )
    return next(text for wrong, text in faults if wrong)


def _user_id(value: Any) -> str:
    """Return the identity of a user id: text, or a whole number written as text."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _UnfitError("a user id is text or a whole number; name another column in USER_ID_COLUMN")
    text = value if isinstance(value, str) else _integer_text(value)
    if len(text) > _MAX_USER_ID:
        raise _UnfitError(f"a user id has at most {_MAX_USER_ID} characters; correct it in the database")
    if not (text.isascii() and text.isprintable()) or text.endswith(" "):
        raise _UnfitError("a user id is printable ASCII without a space at its end; correct it in the database")
    return _ID_PREFIX + text


# -- values: each function turns what the driver gave (never None) into what JSON shall say, or raises _UnfitError ---


def time_text(value: timedelta) -> str:
    """Write a TIME as MySQL does: '[-]HH:MM:SS[.ffffff]', where the hours may go beyond 24.

    >>> time_text(timedelta(days=-1, hours=23, minutes=30))
    '-00:30:00'
    """
    sign = "-" if value < timedelta() else ""
    size = abs(value)
    minutes, seconds = divmod(size.days * 86400 + size.seconds, 60)
    fraction = f".{size.microseconds:06}" if size.microseconds else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"


def _boolean(value: Any) -> bool:
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if isinstance(value, bytes) and value in (b"\0", b"\1"):  # BIT(1)
        return value == b"\1"
    raise _UnfitError("neither 0 nor 1; map the column as column:field:number or column:field:string")


def _boolean_by_setting(value: Any) -> bool:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in ("0", "false"):
        return False
    return word in ("1", "true") or _boolean(value)


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise _UnfitError("the column holds whole numbers, this is none; map it as column:field:string")
    if abs(value) > _MAX_EXACT:
        raise _UnfitError("JSON does not hold a number of this size exactly; map the column as column:field:string")
    return int(value)


def _number(value: Any) -> float:
    if not isinstance(value, int | float | Decimal):
        raise _UnfitError("not a number; map the column as column:field:string")
    try:
        number = float(value)
    except (OverflowError, ValueError):  # an int beyond the range, a signalling NaN
        number = math.nan
    if not math.isfinite(number):
        raise _UnfitError("JSON has no such number; map the column as column:field:string, or correct it")
    return number


_NUMBER_TEXT: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def _number_by_setting(value: Any) -> float:
    if isinstance(value, str) and _NUMBER_TEXT.fullmatch(value.strip()):
        return _number(float(value))
    return _number(value)


def _integer_text(value: int) -> str:
    if value.bit_length() > 1000:  # nothing that a database holds; Python itself refuses to write the largest
        raise _UnfitError("too large a number")
    return str(int(value))


def _decimal_text(value: Decimal) -> str:
    return format(value, "f") if abs(value.adjusted()) < 100 else str(value)


def _decoded(value: bytes | bytearray) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _UnfitError("these bytes are no UTF-8 text; convert them in the query, for example with HEX()") from None


_AS_TEXT: Final[tuple[tuple[Any, Callable[[Any], str]], ...]] = (
    (bytes | bytearray, _decoded),
    (int, _integer_text),
    (float, lambda value: repr(_number(value))),
    (Decimal, lambda value: _decimal_text(value) if value.is_finite() else repr(_number(value))),
    (date | time, str),  # a datetime too: the clock as the database gave it
    (timedelta, time_text),
    (dict | list, lambda value: _encode(_json(value))),
)


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    for types, write in _AS_TEXT:
        if isinstance(value, types):
            return write(value)
    raise _UnfitError(f"a {type(value).__name__} has no text form; leave the column out")


def _binary(_value: Any) -> NoReturn:
    raise _UnfitError("binary data has no JSON form; map the column as column:field:string, or leave it out")


def _json_integer(text: str) -> int:
    if len(text) > 20 or not -_MAX_LONG - 1 <= (number := int(text)) <= _MAX_LONG:
        raise _UnfitError("the JSON holds a number of more than 64 bits; write it as a string there")
    return number


def _json_float(text: str) -> float:
    if math.isinf(number := float(text)):
        raise _UnfitError("the JSON holds a number beyond a double's range; write it as a string there")
    return number


def _json_constant(text: str) -> NoReturn:
    raise _UnfitError(f"{text} is not JSON; correct it in the database")


_decode = json.JSONDecoder(parse_int=_json_integer, parse_float=_json_float, parse_constant=_json_constant).decode


def _json(value: Any) -> Any:
    """Parse a JSON document; of a key that comes twice the last one counts, as in MySQL."""
    try:
        if isinstance(value, bytes | bytearray):
            value = _decoded(value)
        document = _decode(value if isinstance(value, str) else _encode(value))
        deep = _is_deep(document)
    except (ValueError, TypeError):
        raise _UnfitError("not valid JSON; correct it, or map the column as column:field:string") from None
    except RecursionError:
        deep = True
    if deep:
        raise _UnfitError(f"the JSON is nested deeper than {_MAX_JSON_DEPTH} levels; flatten it")
    return document


def _is_deep(document: Any) -> bool:
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(_MAX_JSON_DEPTH):
        children = (node.values() if isinstance(node, dict) else node for node in level)
        level = [node for nodes in children for node in nodes if isinstance(node, dict | list)]
    return bool(level)


# -- dates ---------------------------------------------------------------------------------------------------

_DATE_TEXT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)? ?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_ZERO_DATE: Final = re.compile(r"0000-\d\d-\d\d|\d{4}-00-\d\d|\d{4}-\d\d-00", re.ASCII)


def _instant(value: Any, zone: tzinfo | None) -> datetime | None:
    """Return the moment as a naive datetime in UTC, or None for MySQL's zero date; zone None is UTC.

    A bare day is its midnight in UTC, whatever the zone. Of an hour that occurs twice the earlier one is meant;
    a clock time that was skipped in spring counts as if the clocks had not been put forward yet.
    """
    if isinstance(value, datetime):
        return _in_utc(value, zone)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        return _instant_of_text(value, zone)
    if isinstance(value, int) and not isinstance(value, bool):
        return _instant_of_seconds(value)
    raise _UnfitError("not a date or time; name another column, or map this one as column:field:string")


def _in_utc(value: datetime, zone: tzinfo | None) -> datetime:
    if value.tzinfo is None:
        if zone is None:
            return value
        value = value.replace(tzinfo=zone, fold=0)
    try:
        return value.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise _UnfitError("outside the years 1 to 9999 in UTC; correct it in the database") from None


def _instant_of_text(value: str, zone: tzinfo | None) -> datetime | None:
    text = value.strip()
    if _ZERO_DATE.match(text):
        return None
    if not (match := _DATE_TEXT.fullmatch(text)):
        raise _UnfitError("not a date like 2026-01-06 or 2026-01-06 14:31:22; map the column as column:field:string")
    day, clock, fraction, offset = match.groups("")
    try:
        if not clock:
            return datetime.fromisoformat(day)
        return _in_utc(datetime.fromisoformat(f"{day} {clock}.{fraction:0<6}{offset}"), zone)
    except ValueError:
        raise _UnfitError("no such day or time; correct it in the database") from None


def _instant_of_seconds(value: int) -> datetime | None:
    """A whole number is Unix seconds; 0 stands for no time, as the zero date does."""
    try:
        return _EPOCH + timedelta(seconds=value) if value else None
    except OverflowError:
        raise _UnfitError("beyond the year 9999 as Unix seconds; divide milliseconds by 1000 in the query") from None


def _microseconds(instant: datetime) -> int:
    since = instant - _EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


# -- which function converts a column --------------------------------------------------------------------------

_Converter = Callable[[Any], Any]

_BY_TYPE: Final[dict[str, _Converter]] = {
    "json": _json,
    "bool": _boolean_by_setting,
    "number": _number_by_setting,
    "string": _string,
}
_BY_KIND: Final[dict[Kind, _Converter]] = {
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _integer,
    Kind.YEAR: _integer,
    Kind.NUMBER: _number,
    Kind.TEXT: _string,
    Kind.TIME: _string,
    Kind.JSON: _json,
    Kind.BINARY: _binary,
}
_DATE_KINDS: Final = frozenset({Kind.DATE, Kind.DATETIME, Kind.TIMESTAMP})
_ADDRESS_KINDS: Final = frozenset({Kind.TEXT, Kind.UNKNOWN})
_USER_ID_KINDS: Final = _ADDRESS_KINDS | {Kind.INTEGER}
_TIME_KINDS: Final = _DATE_KINDS | {Kind.INTEGER, Kind.UNKNOWN}  # what EVENT_TIME_COLUMN may be


def _converter(kind: Kind, field_type: str | None, zone: tzinfo | None) -> _Converter:
    if field_type == "date" or (field_type is None and kind in _DATE_KINDS):
        return _dates_in(zone)
    if field_type is not None:
        return _BY_TYPE[field_type]
    return _by_python_type(zone) if kind is Kind.UNKNOWN else _BY_KIND[kind]


def _dates_in(zone: tzinfo | None) -> _Converter:
    def date_text(value: Any) -> str | None:
        instant = _instant(value, zone)
        return None if instant is None else instant.isoformat(" ", "seconds") + " +00:00"

    return date_text


def _by_python_type(zone: tzinfo | None) -> _Converter:
    table: tuple[tuple[Any, _Converter], ...] = (
        (str, _string),
        (bool, _boolean),
        (int, _integer),
        (float | Decimal, _number),
        (date, _dates_in(zone)),
        (timedelta | time, _string),
        (dict | list, _json),
        (bytes | bytearray, _binary),
    )

    def convert(value: Any) -> Any:
        for types, convert_type in table:
            if isinstance(value, types):
                return convert_type(value)
        raise _UnfitError(f"a {type(value).__name__} has no JSON form; leave the column out")

    return convert


# -- event ids and digests -----------------------------------------------------------------------------------


def _pinned_number(value: int | float | Decimal) -> str:
    """Write a number by its value: 1, True, 1.0 and Decimal('1.00') are one, as they are to SQL."""
    if isinstance(value, int):
        return str(int(value)) if value.bit_length() < 10_000 else f"0x{value:x}"
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    sign, digits, exponent = exact.as_tuple()
    if not isinstance(exponent, int):  # NaN or infinite
        return str(exact)
    written = "".join(map(str, digits)).lstrip("0")
    short = written.rstrip("0")
    exponent += len(written) - len(short)
    if not short:
        return "0"
    text = short + "0" * exponent if 0 <= exponent <= 100 else f"{short}e{exponent}"
    return f"-{text}" if sign else text


_PINNED: Final[tuple[tuple[Any, str, Callable[[Any], str]], ...]] = (
    (str, "s", str),
    (datetime, "t", lambda value: value.isoformat(" ", "microseconds")),  # the clock as given, no time zone
    (date, "d", date.isoformat),
    (int | float | Decimal, "n", _pinned_number),
    (type(None), "0", lambda _value: ""),
    (timedelta, "l", lambda value: str(value // timedelta(microseconds=1))),
    (time, "c", lambda value: value.isoformat("microseconds")),
    (bytes | bytearray, "b", lambda value: value.hex()),
    (object, "o", lambda value: f"{type(value).__name__} {_repr(value)}"),  # nothing that a database gives
)


def _pinned(value: Any) -> str:
    """Write a raw value so that two values never look the same: type tag, length, text.

    Event ids are made of this: a change here would track every customer's past events once more.
    """
    for types, tag, write in _PINNED:
        if isinstance(value, types):
            text = write(value)
            return f"{tag}{len(text)}:{text}"
    raise AssertionError("unreachable: everything is an object")


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _payload(body: dict[str, Any]) -> Payload:
    """Serialise a body. Half a surrogate pair has no UTF-8 form: it becomes U+FFFD, the replacement character."""
    text = _encode(body)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        text = _SURROGATE.sub("\ufffd", text)
        raw = text.encode()
    return Payload(text, blake2b(raw, digest_size=16).digest())


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # a number of too many digits, a structure of too many levels
        return f"<{type(value).__name__} too large to show>"


def _shown(value: Any) -> str:
    """Return a value on one line and cut short, as a reason in a log needs it."""
    if value is None:
        return "NULL"
    text = _repr(value[:_MAX_SHOWN] if isinstance(value, str | bytes) else value)
    whole = len(value) <= _MAX_SHOWN if isinstance(value, str | bytes) else True
    return text if whole and len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def _rejection(column: str, value: Any, fault: object) -> Rejection:
    reason = f"{column} is {_shown(value)}: {fault}"
    return Rejection(reason, _hash(f"{reason}\0{_pinned(value)}"))


# -- the mapping ---------------------------------------------------------------------------------------------


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
    problems += _path_conflicts([field.path for field in fields])
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(fields)


def _parse_field(item: str) -> Field:
    pieces = [piece.strip() for piece in item.split(":")]
    if not item:
        raise ValueError("two commas with nothing between them, or one at an end")
    if len(pieces) > 3:
        raise ValueError(f"{item!r} has more than the three parts column:field:type")
    column = pieces[0]
    name = pieces[1] if len(pieces) > 1 else column
    field_type = pieces[2] if len(pieces) > 2 else None
    path = tuple(part.strip() for part in name.split("."))
    if not column or not all(path):
        raise ValueError(f"{item!r} has an empty name; write column:field:type")
    if field_type is not None and field_type not in TYPES:
        raise ValueError(f"{item!r}: the type {field_type!r} is none of {', '.join(TYPES)}")
    return Field(column, path, field_type)


def _path_conflicts(paths: Sequence[tuple[str, ...]]) -> Iterator[str]:
    for path, count in Counter(paths).items():
        name = ".".join(path)
        if count > 1:
            yield f"the field {name} is named {count} times"
        for depth in range(1, len(path)):
            if path[:depth] in paths:
                yield f"the field {'.'.join(path[:depth])} cannot hold a value and {name} too"


@dataclass(frozen=True)
class Mapping:
    """Which column becomes what. A user id column, when given, is the identity instead of the e-mail column."""

    email_column: str | None
    user_id_column: str | None
    user_fields: tuple[Field, ...]  # empty: no profiles are sent
    segment_field: str  # empty: none
    event_name: str  # empty: no events are sent
    event_fields: tuple[Field, ...]
    event_time_column: str
    event_key: tuple[str, ...]
    timezone: tzinfo  # of DATETIME values, and of text that is mapped as a date

    @property
    def identity_column(self) -> str:
        """The column that names the user."""
        return self.user_id_column or self.email_column or ""

    @property
    def identity_setting(self) -> str:
        """The setting that named it."""
        return "USER_ID_COLUMN" if self.user_id_column else "EMAIL_COLUMN"


def mapping_problems(mapping: Mapping, columns: Sequence[Column]) -> list[str]:
    """Return everything that would make the mapping fail on these columns, one sentence each."""
    kinds = dict(columns)
    given = f"the query gives: {', '.join(name for name, _kind in columns) or 'nothing'}"
    counts = Counter(name for name, _kind in columns)
    problems = [
        f"the query gives {count} columns named {name}: rename all but one with AS ({given})"
        for name, count in counts.items()
        if count > 1
    ]
    problems += [
        f"{setting} names the column {name}, which is missing ({given})"
        for setting, name in dict.fromkeys(_named_columns(mapping))
        if name and name not in kinds
    ]
    problems += _setting_problems(mapping, given)
    problems += _profile_problems(mapping)
    problems += _kind_problems(mapping, kinds, given)
    return problems


def _named_columns(mapping: Mapping) -> Iterator[tuple[str, str]]:
    yield mapping.identity_setting, mapping.identity_column
    for field in mapping.user_fields:
        yield "USER_FIELDS", field.column
    if mapping.event_name:
        for field in mapping.event_fields:
            yield "EVENT_FIELDS", field.column
        for name in mapping.event_key:
            yield "EVENT_KEY", name
        yield "EVENT_TIME_COLUMN", mapping.event_time_column


def _setting_problems(mapping: Mapping, given: str) -> Iterator[str]:
    if not mapping.identity_column:
        yield f"EMAIL_COLUMN or USER_ID_COLUMN must name the column that identifies a user ({given})"
    if not mapping.event_name and not mapping.user_fields:
        yield f"USER_FIELDS and EVENT_NAME are both empty, so there is nothing to send ({given})"
    if mapping.event_name and not mapping.event_time_column:
        yield f"EVENT_TIME_COLUMN must name the column that says when a {mapping.event_name} happened ({given})"
    if mapping.event_name and not mapping.event_key:
        yield f"EVENT_KEY is empty, so all events of a user would be one and the same ({given})"


def _profile_problems(mapping: Mapping) -> Iterator[str]:
    for field in mapping.user_fields:
        if field.path[0] in RESERVED_FIELDS:
            yield f"USER_FIELDS writes to {field.name}, which Iterable keeps itself: choose another field name"
    segment = mapping.segment_field
    if segment in RESERVED_FIELDS:
        yield f"SEGMENT_FIELD is {segment}, which Iterable keeps itself: choose another field name"
    if "." in segment:
        yield f"SEGMENT_FIELD is {segment}, but must be a field of its own, without a dot"
    if segment in {field.path[0] for field in mapping.user_fields}:
        yield f"SEGMENT_FIELD is {segment}, which USER_FIELDS writes to as well: rename one of them"


def _kind_problems(mapping: Mapping, kinds: dict[str, Kind], given: str) -> Iterator[str]:
    for setting, fields in (
        ("USER_FIELDS", mapping.user_fields),
        ("EVENT_FIELDS", mapping.event_fields if mapping.event_name else ()),
    ):
        for field in fields:
            kind = kinds.get(field.column, Kind.UNKNOWN)
            if kind is Kind.BINARY and field.type is None:
                yield (
                    f"{setting} names {field.column}, which is binary: "
                    f"write {field.column}:{field.name}:string if it holds text, or leave it out ({given})"
                )
            if field.name.endswith("_geo_location") and "json" not in (field.type, kind.value):
                yield (
                    f"{setting} writes {field.column} to {field.name}, which must be an object: "
                    f"map two columns, to {field.name}.lat and {field.name}.lon, or one as json ({given})"
                )
    kind = kinds.get(mapping.identity_column, Kind.UNKNOWN)
    if kind not in (_USER_ID_KINDS if mapping.user_id_column else _ADDRESS_KINDS):
        yield (
            f"{mapping.identity_setting} names {mapping.identity_column}, which is {kind.value}: "
            f"name a column of text, or CONVERT it in the query ({given})"
        )
    kind = kinds.get(mapping.event_time_column, Kind.UNKNOWN)
    if mapping.event_name and kind not in _TIME_KINDS:
        yield f"EVENT_TIME_COLUMN names {mapping.event_time_column}, which is {kind.value}, not a time ({given})"


# -- rows ----------------------------------------------------------------------------------------------------


class _Step(NamedTuple):
    column: str
    parents: tuple[str, ...]
    leaf: str
    convert: _Converter


class PayloadBuilder:
    """Builds the payloads of every row of one query; the work that all rows share is done once, here.

    The mapping has no problems, and each row holds the columns given here, in any order.
    """

    def __init__(self, mapping: Mapping, columns: Sequence[Column]) -> None:
        self._kinds = dict(columns)
        self._zone = None if str(mapping.timezone) == "UTC" else mapping.timezone
        self._identity_column = mapping.identity_column
        self._identify = _user_id if mapping.user_id_column else _address
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
        self._id_prefix = _pinned(mapping.event_name)
        time_column = mapping.event_time_column
        self._time_column = time_column if self._kinds.get(time_column) in _TIME_KINDS else None
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
                _converter(self._kinds[field.column], field.type, self._zone_of(field.column)),
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
        except _UnfitError as exc:
            shown = _shown(value)
            whole = isinstance(value, str) and shown == f"'{value}'"  # nothing escaped, nothing cut
            stand_in = value if whole else f"{shown} {_hash(_pinned(value)).hex()}"
            return _UNUSABLE_PREFIX + stand_in, _rejection(self._identity_column, value, exc)

    def _no_identity(self, row: Row) -> tuple[str, Rejection]:
        """Rows that name nobody are not one user: each stands for itself, told apart by all its values."""
        whole_row = "".join(f"{_pinned(name)}{_pinned(row[name])}" for name in sorted(row))
        fault = "the row names no user; fill the column in, or leave such rows out of the query"
        value = row[self._identity_column]
        reason = _rejection(self._identity_column, value, fault)
        return f"{_UNUSABLE_PREFIX}row-{_hash(whole_row).hex()}", reason

    def _moment(self, row: Row) -> tuple[int, Rejection | None]:
        column = self._time_column
        if column is None:
            return UNKNOWN_MOMENT, None
        value = row[column]
        try:
            instant = None if value is None else _instant(value, self._time_zone)
        except _UnfitError as exc:
            return UNKNOWN_MOMENT, _rejection(column, value, exc)
        if instant is None:
            fault = "no event time; fill the column in, or leave such rows out of the query"
            return UNKNOWN_MOMENT, _rejection(column, value, fault)
        return _microseconds(instant), None

    def _profile(self, identity: str, row: Row) -> Payload | Rejection:
        data = self._data_fields(self._user_steps, row)
        if isinstance(data, Rejection):
            return data
        if self._segment_field:
            data[self._segment_field] = True
        return _payload({**identity_fields(identity), **self._options, "dataFields": data})

    def _event(self, identity: str, moment: int, row: Row, rejection: Rejection | None) -> Event | RejectedEvent:
        event_id = self._event_id(identity, row)
        data = rejection or self._data_fields(self._event_steps, row)
        if isinstance(data, Rejection):
            return RejectedEvent(event_id, data.reason, data.digest)
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
        return Event(event_id, created_at, body, digest)

    def _event_id(self, identity: str, row: Row) -> str:
        """What happened, and to whom: 32 hexadecimal digits that no later run and no other field changes."""
        text = self._id_prefix + _pinned(identity)
        for column in self._event_key:
            text += _pinned(row[column])
        return _hash(text).hex()

    @staticmethod
    def _data_fields(steps: Sequence[_Step], row: Row) -> dict[str, Any] | Rejection:
        data: dict[str, Any] = {}
        for column, parents, leaf, convert in steps:
            value = row[column]
            if value is not None:  # NULL is sent as null, which clears the field
                try:
                    value = convert(value)
                except _UnfitError as exc:
                    return _rejection(column, value, exc)
            target = data
            for name in parents:
                target = target.setdefault(name, {})
            target[leaf] = value
        return data


def leave_body(identity: str, segment_field: str) -> Payload:
    """Return the update for a user who is no longer in the result: the segment field alone, false."""
    options = {"preferUserId": True} if identity.startswith(_ID_PREFIX) else {}
    return _payload({**identity_fields(identity), **options, "dataFields": {segment_field: False}})


def with_segment_false(body: str, segment_field: str) -> Payload:
    """Return a profile that is still owed to a user who meanwhile left the segment."""
    update = json.loads(body)
    update["dataFields"][segment_field] = False
    return _payload(update)
