"""JSON objects that have the same form in every row: what stands between the values is written once, ahead.

What comes out is letter for letter what `encode` writes of the same object, in less than half the time.
"""

from __future__ import annotations

import json.encoder
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sync.rows.columns import Values
from sync.rows.rejection import Rejection, rejection
from sync.rows.values import Converter, UnfitError, encode

quoted: Final[Callable[[str], str]] = json.encoder.encode_basestring
"""A text as JSON writes it, in quotes. It raises TypeError for everything else."""


class Member(NamedTuple):
    """One value of the object: its path of names, its column with its place in a row, and what converts it.

    `is_text`: the column holds text, which is sent as it is.
    """

    path: tuple[str, ...]
    column: str
    place: int
    convert: Converter
    is_text: bool


class Template:
    """Writes the members of one object, nested ones where a path has several names; no two have the same path."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        tree: dict[str, Any] = {}
        for member in members:
            inner = tree
            for name in member.path[:-1]:
                inner = inner.setdefault(name, {})
            inner[member.path[-1]] = member
        in_order: list[Member] = []
        self._form = _form(tree, in_order)
        self._writers = tuple((member.place, _writer(member)) for member in in_order)
        self._in_order = in_order

    def members(self, values: Values) -> str | Rejection:
        """What stands between the braces of the object; or why it cannot be made, by its first member that is unfit."""
        try:
            written = [
                "null" if (value := values[place]) is None else write(value)  # NULL is sent as null: it clears a field
                for place, write in self._writers
            ]
        except (UnfitError, TypeError):  # the latter: bytes that are no text, in a column of text
            return self._carefully(values)
        return self._form % tuple(written)

    def _carefully(self, values: Values) -> str | Rejection:
        """As `members`, with each value in the place where a fault would be told."""
        written = {}
        for member in self._members:
            value = values[member.place]
            try:
                written[member] = "null" if value is None else encode(member.convert(value))
            except UnfitError as exc:
                return rejection(member.column, value, exc)
        return self._form % tuple(written[member] for member in self._in_order)


def _form(tree: Mapping[str, Any], in_order: list[Member]) -> str:
    """The object without its values and outer braces; its members go into `in_order`, as they come."""
    pieces = []
    for name, value in tree.items():
        key = quoted(name).replace("%", "%%")
        if isinstance(value, Member):
            in_order.append(value)
            pieces.append(f"{key}:%s")
        else:
            pieces.append(f"{key}:{{{_form(value, in_order)}}}")
    return ",".join(pieces)


def _writer(member: Member) -> Callable[[Any], str]:
    """What writes the values of one column as JSON."""
    if member.is_text:
        return quoted
    convert = member.convert

    def write(value: Any) -> str:
        made = convert(value)
        if type(made) is str:
            return quoted(made)
        return str(made) if type(made) is int else encode(made)

    return write
