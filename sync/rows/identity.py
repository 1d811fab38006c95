"""What identifies a user to Iterable: an e-mail address or a user id, in one string that shows which it is.

An identity is the lower-cased address itself, or `id:` and a user id, or `?:` and a stand-in for a value that names
nobody, so that the row's outcome has a place to be recorded.

A company knows a user by an id and by an address, and so does Iterable. One of them is the identity, which is at the
top of a body; the other is a profile field, `userId` or `email` (Iterable's support page on changing names). A row
without a usable identity is rejected; one without a usable other name goes without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from sync.rows.mapping import Mapping, named_columns
from sync.rows.raw_values import Rejection, digest_of, pinned, rejection, shown
from sync.rows.source import Column, Values
from sync.rows.values import UnfitError

USER_ID_PREFIX: Final = "id:"  # no address starts like this, nor like the next: a colon is not allowed there
_UNUSABLE_PREFIX: Final = "?:"


def is_usable(identity: str) -> bool:
    """Whether Iterable can be given this identity; False for the stand-in for a bad one."""
    return not identity.startswith(_UNUSABLE_PREFIX)


def address_of(identity: str) -> str:
    """Return the address or user id of an identity, as a reader of the log knows it."""
    return identity.removeprefix(USER_ID_PREFIX).removeprefix(_UNUSABLE_PREFIX)


def log_field(identity: str) -> str:
    """Return the field that names the user in a log line: `email=...` or `user_id=...`."""
    if identity.startswith(USER_ID_PREFIX):
        return f"user_id={address_of(identity)}"
    return f"email={address_of(identity)}"


def name_of(identity: str) -> str:
    """Return the address or user id of a usable identity exactly: an id may begin like a stand-in."""
    return identity.removeprefix(USER_ID_PREFIX)


def identity_fields(identity: str) -> dict[str, str]:
    """Return how a request names the user of a usable identity: by `email` or by `userId`, never both."""
    return {"userId" if is_user_id(identity) else "email": name_of(identity)}


def is_user_id(identity: str) -> bool:
    """Whether it is a user id, and not an address."""
    return identity.startswith(USER_ID_PREFIX)


# The rules of Apache Commons' EmailValidator, without its list of top-level domains, which ages. What only some
# of its versions refuse (characters outside ASCII) passes: Iterable's own answer is then the row's outcome.
_WORD = r"""(?:(?:[^\s()<>@,;:\\"\[\].]|\\.)+|"(?:[^"\\]|\\.)*")"""
_LOCAL_PART = rf"{_WORD}(?:\.{_WORD})*"
# Lower case, and whatever is not ASCII. As what they leave out, Python compiles these in a fortieth of the time.
_LETTER, _LETTER_OR_DIGIT, _ANY_OF_A_LABEL = r"[^\x00-`{-\x7f]", r"[^\x00-/:-`{-\x7f]", r"[^\x00-,./:-`{-\x7f]"
_DOMAIN = (
    rf"(?:{_LETTER_OR_DIGIT}(?:{_ANY_OF_A_LABEL}{{0,61}}{_LETTER_OR_DIGIT})?\.)+"  # labels
    rf"{_LETTER}{_ANY_OF_A_LABEL}{{0,61}}{_LETTER_OR_DIGIT}"  # a top-level domain: no digit first, so no IP address
)
_ADDRESS: Final = re.compile(f"{_LOCAL_PART}@{_DOMAIN}")
_MAX_ADDRESS: Final = 254  # with the next, the limits of SMTP
_MAX_LOCAL_PART: Final = 64
_MAX_USER_ID: Final = 52


def address_identity(value: Any) -> str:
    """Return the identity of an e-mail address; only what no version of the rules accepts is refused."""
    address = value.strip().lower() if isinstance(value, str) else ""
    if (
        len(address) <= _MAX_ADDRESS
        and _ADDRESS.fullmatch(address)
        and address.rindex("@") <= _MAX_LOCAL_PART
        and address.isprintable()  # no control characters, invisible marks or half surrogates
    ):
        return address
    raise UnfitError("not an e-mail address that Iterable accepts; correct it in the database")


def user_id_identity(value: Any) -> str:
    """Return the identity of a user id: text, or a whole number written as text."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if text.strip() and len(text) <= _MAX_USER_ID and text.isascii() and text.isprintable() and not text.endswith(" "):
        return USER_ID_PREFIX + text
    raise UnfitError(
        f"a user id is a whole number, or text of at most {_MAX_USER_ID} printable ASCII characters without a space at "
        "its end; correct it in the database"
    )


class Names(NamedTuple):
    """The names in one row.

    `person` is what all rows of one user have in common, even if the address changes: the user id if the mapping has
    one and the row gives it, otherwise the identity. A row without a usable identity stands alone, so that it does not
    keep the user's other rows from being sent. `other` is the other name as an identity, empty if none is sent. `lacks`
    says why the row gives none; it is empty if it does, or if none is needed.
    """

    identity: str
    person: str
    refused: Rejection | None = None
    other: str = ""
    lacks: str = ""


class Naming:
    """Reads the names in every row of one query."""

    def __init__(self, mapping: Mapping, columns: Sequence[Column]) -> None:
        place = {column.name: number for number, column in enumerate(columns)}
        self._column, self._other_column = mapping.identity_column, mapping.other_name_column
        self._at = place[self._column]
        self._other_at = place[self._other_column] if self._other_column else None
        self._mapped = [(name, place[name]) for name in sorted(named_columns(mapping))]
        by_id = mapping.by_user_id
        self._identify: Callable[[Any], str] = user_id_identity if by_id else address_identity
        self._identify_other: Callable[[Any], str] = address_identity if by_id else user_id_identity

    def names(self, values: Values) -> Names:
        """Whom this row is about."""
        identity, refused = self._identity(values)
        if self._other_at is None:
            return Names(identity, identity, refused)
        other, lacks = self._other(values[self._other_at])
        person = other if is_user_id(other) and not refused else identity
        return Names(identity, person, refused, other, lacks)

    def _identity(self, values: Values) -> tuple[str, Rejection | None]:
        value = values[self._at]
        try:
            return self._identify(value), None
        except UnfitError as exc:
            if _is_empty(value):
                return self._no_identity(values)
            written = shown(value)
            whole = isinstance(value, str) and written == f"'{value}'"  # nothing escaped, nothing cut
            stand_in = value if whole else f"{written} {digest_of(pinned(value)).hex()}"
            return _UNUSABLE_PREFIX + stand_in, rejection(self._column, value, exc)

    def _no_identity(self, values: Values) -> tuple[str, Rejection]:
        """Rows without a name are not one user. Their mapped columns distinguish them; others may hold NOW()."""
        row = "".join(f"{pinned(name)}{pinned(values[at])}" for name, at in self._mapped)
        fault = "the row names no user; fill the column in, or leave such rows out of the query"
        return f"{_UNUSABLE_PREFIX}row-{digest_of(row).hex()}", rejection(self._column, values[self._at], fault)

    def _other(self, value: Any) -> tuple[str, str]:
        if _is_empty(value):
            return "", f"{self._other_column} is {shown(value)}"
        try:
            return self._identify_other(value), ""
        except UnfitError as exc:
            return "", f"{self._other_column} is {shown(value)}: {exc}"


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
