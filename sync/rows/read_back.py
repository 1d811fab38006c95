"""Compare what was sent with what Iterable returns: field by field, by value and type. Pure.

Iterable's forms (recorded answers): a null field is absent; a date comes as `YYYY-MM-DD HH:MM:SS +00:00` whatever it
was sent as; addresses come in lower case; an event has its time in that form, too, and no id. Fields that were not sent
are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sync.rows.values import UnfitError, microseconds, utc_instant

MOST_EVENTS: Final = 200
"""The newest events of a user, as many as one call gives."""

ABSENT: Final = "(absent)"
USER: Final = "(user)"
EXISTS, _TRACKED = "exists", "tracked"


class Difference(NamedTuple):
    """A field of a user that is not at Iterable as it was sent; both values as JSON text."""

    field: str
    sent: str
    found: str

    @property
    def is_absent(self) -> bool:
        """Whether a whole user or event is not there, and not only a field."""
        return self.sent in (EXISTS, _TRACKED) and self.found == ABSENT


def profile_differences(body: str, user: Mapping[str, Any] | None) -> list[Difference]:
    """How the user read back differs from the body of the last profile; `user` None: it is unknown."""
    if user is None:
        return [Difference(USER, EXISTS, ABSENT)]
    sent = json.loads(body)
    fields = dict(sent.get("dataFields", {}))
    names = {kind: fields.pop(kind, None) or sent.get(kind) for kind in ("email", "userId")}
    found = user.get("dataFields") or {}
    return [
        *(
            Difference(kind, _text(name), _text(user.get(kind, ABSENT)))
            for kind, name in names.items()
            if name is not None and _name(kind, user.get(kind, "")) != _name(kind, name)
        ),
        *_field_differences(fields, found, ""),
    ]


def _name(kind: str, value: Any) -> str:
    """Upper and lower case do not matter in an address, but they do in a user id."""
    return str(value).lower() if kind == "email" else str(value)


def segment_differences(segment_field: str, user: Mapping[str, Any] | None) -> list[Difference]:
    """The difference for a user who has left the segment, if the field is still true."""
    found = ((user or {}).get("dataFields") or {}).get(segment_field)
    return [Difference(segment_field, "false", _text(found))] if found is True else []


def event_differences(
    sent: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> list[Sequence[Difference]]:
    """How each of a user's newest events differs from those read back; nothing for one that is there as it was sent.

    Iterable returns events without ids, so each returned event is matched with one that was sent. If a call returned as
    many as it can, sent events that are older than all of them cannot be checked.
    """
    left = [(event.get("eventName"), _seconds(event.get("createdAt")), event) for event in events]
    oldest = min((at for _, at, _ in left if at is not None), default=None) if len(left) >= MOST_EVENTS else None
    found: list[Sequence[Difference]] = [()] * len(sent)
    unmatched = []
    for place, event in enumerate(sent):
        exact = next((entry for entry in left if entry[:2] == _key(event) and not _of_event(event, entry[2])), None)
        if exact:
            left.remove(exact)
        elif oldest is None or event["createdAt"] > oldest:
            unmatched.append(place)
    for place in unmatched:
        similar = next((entry for entry in left if entry[:2] == _key(sent[place])), None)
        if similar is None:
            found[place] = [Difference(_title(sent[place]), _TRACKED, ABSENT)]
        else:
            left.remove(similar)
            found[place] = _of_event(sent[place], similar[2])
    return found


def _key(sent: Mapping[str, Any]) -> tuple[Any, Any]:
    return sent["eventName"], sent["createdAt"]


def _of_event(sent: Mapping[str, Any], found: Mapping[str, Any]) -> list[Difference]:
    return list(_field_differences(sent.get("dataFields", {}), found.get("dataFields") or {}, f"{_title(sent)}: "))


def _title(sent: Mapping[str, Any]) -> str:
    return f"event {sent['eventName']} {datetime.fromtimestamp(sent['createdAt'], UTC):%Y-%m-%d %H:%M:%S}"


def _field_differences(sent: Mapping[str, Any], found: Mapping[str, Any], prefix: str) -> Iterator[Difference]:
    """Fields in objects are named with dots; only what was sent is compared."""
    for name, value in sent.items():
        there = found.get(name)
        if isinstance(value, dict) and (there is None or isinstance(there, dict)):
            yield from _field_differences(value, there or {}, f"{prefix}{name}.")
        elif not _same(value, there):
            yield Difference(f"{prefix}{name}", _text(value), ABSENT if there is None else _text(there))


def _same(sent: Any, found: Any) -> bool:
    if isinstance(sent, list) and isinstance(found, list):
        return len(sent) == len(found) and all(map(_same, sent, found))
    if isinstance(sent, dict) and isinstance(found, dict):
        return not any(_field_differences(sent, found, ""))
    if isinstance(sent, str) and isinstance(found, str) and (moment := _moment(sent)):
        return moment == _moment(found)
    return isinstance(sent, bool) is isinstance(found, bool) and bool(sent == found)


def _moment(value: Any) -> datetime | None:
    """The time in a text that is a date in one of the forms that we send; without a zone, it is in UTC."""
    try:
        return utc_instant(value, None) if isinstance(value, str) else None
    except UnfitError:
        return None


def _seconds(created_at: Any) -> int | None:
    moment = _moment(created_at)
    return None if moment is None else microseconds(moment) // 1_000_000


def _text(value: Any) -> str:
    return value if value == ABSENT else json.dumps(value, ensure_ascii=False)
