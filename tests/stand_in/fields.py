"""The types of a project's fields: fixed by the first value, and what a request does to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.stand_in.answers import Json, RefusedError, refused

RESERVED_USER_FIELDS = frozenset(
    {
        *("email", "userId", "itblInternal", "itblDS", "itblUserId"),
        *("profileUpdatedAt", "signupDate", "signupSource", "emailListIds", "userListIds"),
        *("subscribedMessageTypeIds", "unsubscribedChannelIds", "unsubscribedMessageTypeIds"),
        *("receivedSMSDisclaimer", "devices", "phoneNumberDetails", "shoppingCartItems"),
    }
)
"""Profile fields that Iterable keeps itself (User Profile Fields Used by Iterable)."""


LONGEST_VALUE = 32_000
"""About the most characters of one field's value (Field Data Types)."""


_DATE = re.compile(
    r"""(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])
        (?:[ ]\d\d:\d\d:\d\d(?:[ ][+-]\d\d:\d\d)?
          |T\d\d:\d\d:\d\d\.\d{3}(?:Z|[+-]\d\d:?\d\d))?""",
    re.VERBOSE | re.ASCII,
)


class Intake:
    """What one request does to a map of field types: nothing, until `commit`."""

    def __init__(self, known: dict[str, str], category: str, room: Callable[[], tuple[int, int]]) -> None:
        self._known = known
        self._category = category
        self._room = room
        self.added: dict[str, str] = {}
        self.dropped: dict[str, None] = {}

    def take(self, data: Json, create: bool) -> Json:
        """The part of *data* that is stored. Refused when a value does not fit the type of its field."""
        new: dict[str, str] = {}
        wrong: dict[str, Json] = {}
        kept = self._walk(data, "", create, new, wrong)
        if wrong:
            raise _mismatch(wrong)
        if new:
            self._check_room(new)
            self.added.update(new)
        return kept

    def commit(self) -> list[str]:
        """Keep the new fields; their names."""
        self._known.update(self.added)
        return list(self.added)

    def _walk(self, data: Json, prefix: str, create: bool, new: dict[str, str], wrong: dict[str, Json]) -> Json:
        kept = {}
        for name, value in data.items():
            sample = _sample(value)
            if sample is None:
                kept[name] = value
                continue
            path = prefix + name
            possible = _possible_types(path, sample)
            known = self._known.get(path) or self.added.get(path) or new.get(path)
            if known is None and not create:
                self.dropped[path] = None
                continue
            if known is None:
                new[path] = possible[0]
            elif known not in possible:
                wrong[path] = _unexpected(known, possible, value, self._category)
            nested = type(value) is dict and possible[0] == "object"
            kept[name] = self._walk(value, f"{path}.", create, new, wrong) if nested else value
        return kept

    def _check_room(self, new: dict[str, str]) -> None:
        used, limit = self._room()
        requested = used + len(self.added) + len(new)
        if requested > limit:
            raise refused(
                400,
                "UniqueFieldsLimitExceeded",
                f"Project 1: The request would increase the number of object fields to {requested}"
                f" by adding [..], which exceeds the limit of {limit}",
                {"limit": limit, "requestedTotal": requested, "newFields": list(new)},
            )


def _sample(value: Any) -> Any:
    """The value that tells the type: of an array, its first element that is not null."""
    if type(value) is list:
        return next((element for element in value if element is not None), None)
    return value


def _possible_types(path: str, value: Any) -> tuple[str, ...]:
    """The types *value* may have, the one it gives a new field first (Field Data Types)."""
    match value:
        case bool():
            return ("boolean",)
        case int():
            return ("long", "double")
        case float():
            return ("double",)
        case str():
            return ("date", "string", "keyword") if _DATE.fullmatch(value) else ("string", "keyword")
    if path.endswith("_geo_location") and type(value) is dict and value.keys() == {"lat", "lon"}:
        return ("geo_location",)
    return ("object",)


def _unexpected(known: str, possible: tuple[str, ...], value: Any, category: str) -> Json:
    return {
        "incomingTypes": list(possible),
        "expectedType": known,
        "_type": "UnexpectedType",
        "offendingValue": value,
        "category": category,
    }


def _mismatch(wrong: dict[str, Json]) -> RefusedError:
    details = "".join(
        f" Field '{name}' already exists for type '{error['category']}' and has a data type of"
        f" '{error['expectedType']}' but possible types '{', '.join(error['incomingTypes'])}' in the request."
        for name, error in wrong.items()
    )
    msg = "Project 1: The request does not have the same data types as the data previously submitted."
    return refused(400, "RequestFieldsTypesMismatched", msg + details, {"validationErrors": wrong})


def merged(stored: Json, data: Json, nested: bool) -> Json:
    """*stored* with *data* over it: null clears, objects replace or, if *nested*, merge one level deep."""
    result = dict(stored)
    for name, value in data.items():
        old = result.get(name)
        if value is None:
            result.pop(name, None)
        elif type(value) is dict:
            whole = {**old, **value} if nested and type(old) is dict else value
            result[name] = {key: inner for key, inner in whole.items() if inner is not None}
        else:
            result[name] = value
    return result
