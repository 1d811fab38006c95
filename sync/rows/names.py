"""Whom a row is about: the name that identifies the user to Iterable, and the other name that goes along.

A company knows a user by an id and by an address, and so does Iterable. One of them is the identity, which stands on
top of a body; the other is a profile field, `userId` or `email` (Iterable's support page on changing names). A row
without a usable identity is rejected; one without a usable other name goes without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sync.rows.columns import Column, Values
from sync.rows.identity import address_identity, is_user_id, unusable_identity, user_id_identity
from sync.rows.ids import digest_of, pinned
from sync.rows.mapping import Mapping, named_columns
from sync.rows.rejection import Rejection, rejection, shown
from sync.rows.values import UnfitError


class Names(NamedTuple):
    """The names in one row.

    `person` is what all rows of one user have in common, whatever becomes of the address: the user id where the
    mapping knows one and the row gives it, else the identity. A row whose identity is not usable is nobody's but its
    own, so that it keeps no other row of its user from being sent. `other` is the other name as an identity, empty when
    none is sent; `lacks` says why the row gives none, empty when it does or none is asked for.
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
            return unusable_identity(stand_in), rejection(self._column, value, exc)

    def _no_identity(self, values: Values) -> tuple[str, Rejection]:
        """Rows that name nobody are not one user. Their mapped columns tell them apart; others may hold NOW()."""
        row = "".join(f"{pinned(name)}{pinned(values[at])}" for name, at in self._mapped)
        fault = "the row names no user; fill the column in, or leave such rows out of the query"
        return unusable_identity(f"row-{digest_of(row).hex()}"), rejection(self._column, values[self._at], fault)

    def _other(self, value: Any) -> tuple[str, str]:
        if _is_empty(value):
            return "", f"{self._other_column} is {shown(value)}"
        try:
            return self._identify_other(value), ""
        except UnfitError as exc:
            return "", f"{self._other_column} is {shown(value)}: {exc}"


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
