"""The data fields of a profile or an event: which value stands under which name, or why the row is rejected."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import tzinfo
from typing import Any, NamedTuple

from sync.rows.mapping import Field
from sync.rows.raw_values import Misfit, Rejection, rejection
from sync.rows.source import Column, Kind, Values
from sync.rows.values import Converter, MisfitError, UnfitError, converter


class _Source(NamedTuple):
    """Where the value of one field comes from, and what converts it.

    `is_json`: the column holds JSON, whose `null` is a value. `is_guess`: the field's type is taken from the column,
    and not from the setting; `is_typed`: it has its type at Iterable, by what was delivered.
    """

    field: Field
    place: int
    convert: Converter
    is_json: bool
    is_guess: bool
    is_typed: bool


class DataFields:
    """Makes the data fields of each row, nested where a path has several names.

    `typed`: the fields that have their types at Iterable. `sends_nulls`: a column that is NULL or holds a zero date
    clears its field; otherwise the field is left out, and so is an object that is left without members.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        columns: Sequence[Column],
        zone: tzinfo | None,
        typed: Collection[str],
        *,
        sends_nulls: bool,
    ) -> None:
        kinds = dict(columns)
        places = {column.name: place for place, column in enumerate(columns)}
        self._sends_nulls = sends_nulls
        self._sources = [
            _Source(
                field,
                places[field.column],
                converter(kind, field.type, zone_of(kind, zone)),
                is_json=(field.type or kind.value) == "json",
                is_guess=field.type is None,
                is_typed=field.name in typed,
            )
            for field in fields
            for kind in [kinds[field.column]]
        ]

    def of(self, values: Values) -> dict[str, Any] | Rejection:
        """The fields of one row; or a rejection, with the first unfit value's reason and all values that do not fit."""
        data: dict[str, Any] = {}
        faults = []
        for source in self._sources:
            value = values[source.place]
            try:
                made = None if value is None else source.convert(value)
            except UnfitError as exc:
                faults.append(_rejection(source, value, exc))
                continue
            is_null = made is None and (value is None or not source.is_json)
            if self._sends_nulls or not is_null:
                _put(data, source.field.path, made)
        if faults:
            return faults[0]._replace(misfits=tuple(misfit for fault in faults for misfit in fault.misfits))
        return data


def zone_of(kind: Kind, zone: tzinfo | None) -> tzinfo | None:
    """The zone of a column's wall clocks: a TIMESTAMP is given in UTC, and a day is never shifted."""
    return None if kind in (Kind.TIMESTAMP, Kind.DATE) else zone


def _put(data: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        data = data.setdefault(name, {})
    data[path[-1]] = value


def _rejection(source: _Source, value: Any, exc: UnfitError) -> Rejection:
    """Why this value cannot be sent, and how the column can be mapped so that it can.

    If something was delivered, the field's type is fixed, so another type needs another field. If the type is a guess
    and nothing was delivered yet, the field itself can get another type.
    """
    column, name = source.field.column, source.field.name
    if not exc.as_type:
        return rejection(column, value, exc)
    is_wrong_guess = source.is_guess and isinstance(exc, MisfitError)
    if is_wrong_guess and not source.is_typed:
        refused = rejection(column, value, f"{exc.fault} map it as {column}:{name}:{exc.as_type}")
        return refused._replace(misfits=(Misfit(name, refused.reason),))
    why = "already has its type" if is_wrong_guess else "keeps its first type"
    remedy = f"use another field name ({name} {why} at Iterable): {column}:{name}_{exc.as_type}:{exc.as_type}"
    return rejection(column, value, f"{exc.fault} {remedy}")
