"""Reading a bulk answer: a 200 that holds its failures, by lists of names, and no word on each item.

Sources: Iterable's Swagger document (`BulkUpdateUsersRequest`, `BulkTrackRequest` and their answers) and recorded
answers. What no source says (whether `successCount` holds those that changed nothing, and `failCount` disallowed
events) is read either way.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sync.api.answers import Verdict
from sync.api.text import excerpt
from sync.rows.payloads import names_in
from sync.state.owed import DELIVERED, Outcome, OwedEvent, OwedUser, PayloadResult

logger = logging.getLogger("bulk")

NOT_KNOWN_YET = ("notFoundEmails", "notFoundUserIds")
"""Lists of users that Iterable does not know yet: their items are owed again, not rejected."""

KNOWN_LISTS = frozenset(
    f"{why}{names}"
    for why in ("conflict", "forgotten", "invalid", "invalidData", "notFound")
    for names in ("Emails", "UserIds")
)
"""The documented lists: their names are words of the API, in which no secret is looked for."""


class Item(NamedTuple):
    """One user's part of a bulk request: the profile, or one event."""

    user: OwedUser
    body: str
    event: OwedEvent | None = None


class ItemResult(NamedTuple):
    """What became of one item; None: the answer names the user and does not say which of the user's items it means."""

    result: PayloadResult | None
    by_project: bool = False


def read_bulk_answer(
    endpoint: str, items: Sequence[Item], data: Mapping[str, Any], masked: Callable[[str], str] = str
) -> list[ItemResult]:
    """The result of each item of an accepted batch, in their order; `masked` takes the secrets out of a text."""
    named = _named(data)
    disallowed = _disallowed(items, data)
    if not named and not any(disallowed) and not _misfit(items, data, 0, 0):
        _warn_of_dropped_fields(endpoint, data, masked)
        return [ItemResult(DELIVERED)] * len(items)
    parts = Counter(item.user.identity for item in items)
    named_parts = sum(count for identity, count in parts.items() if identity in named)
    names = sum(max(named[identity].times, count) for identity, count in parts.items() if identity in named)
    misfit = _misfit(items, data, names, sum(disallowed))
    if misfit:
        logger.warning("%s answered 200, but %s; who is not named is owed again", endpoint, misfit)
    _warn_of_dropped_fields(endpoint, data, masked)
    all_failed = _number(data, "failCount") == named_parts  # all that the named users have in the batch
    otherwise = PayloadResult(Outcome.FAILED, misfit, alone=len(parts) == 1) if misfit else DELIVERED
    told = {key: key if key in KNOWN_LISTS else excerpt(masked(key)) for key, _ in named.values()}
    return [
        _item_result(item, named.get(item.user.identity), 1 if all_failed else parts[item.user.identity], refused, told)
        or ItemResult(otherwise)
        for item, refused in zip(items, disallowed, strict=True)
    ]


class _Named(NamedTuple):
    list_name: str
    times: int


def _named(data: Mapping[str, Any]) -> dict[str, _Named]:
    """Everybody in a list of failures: in which, and how often. The lists at the top are doubles of nested ones."""
    nested = data.get("failedUpdates")
    lists = [*(nested.items() if isinstance(nested, Mapping) else ())]
    found: dict[str, _Named] = {}
    for key, names in [*((key, data.get(key)) for key in ("invalidEmails", "invalidUserIds")), *lists]:
        counts = Counter(_identity_of(key, str(name)) for name in (names if isinstance(names, list) else ()))
        for identity, times in counts.items():
            known = found.get(identity)
            if known is None or known.list_name == key:
                found[identity] = _Named(key, max(times, known.times if known else 0))
            else:
                found[identity] = _Named(key, known.times + times)
    return found


def _identity_of(list_name: str, name: str) -> str:
    """Addresses are compared without case: Iterable stores them in lower case."""
    return f"id:{name}" if list_name.endswith("UserIds") else name.strip().lower()


def _misfit(items: Sequence[Item], data: Mapping[str, Any], names: int, disallowed: int) -> str:
    """Why the counts do not explain what became of every item; empty when they do. `names`: items that were named."""
    succeeded, failed = _number(data, "successCount"), _number(data, "failCount")
    unchanged = _number(data, "noOpEmails") + _number(data, "noOpUserIds")
    left = len(items) - succeeded - failed
    if failed <= names + disallowed and left in {0, unchanged, disallowed}:
        return ""
    return f"its counts do not add up: sent {len(items)}, succeeded {succeeded}, failed {failed}, named {names}"


def _number(data: Mapping[str, Any], key: str) -> int:
    """A count, or the length of a list."""
    value = data.get(key)
    if isinstance(value, list):
        return len(value)
    return value if isinstance(value, int) else 0


def _disallowed(items: Sequence[Item], data: Mapping[str, Any]) -> list[bool]:
    """Which items are events whose names the project does not take; those owed from before may have another name."""
    names = data.get("disallowedEventNames")
    if not (isinstance(names, list) and names):
        return [False] * len(items)
    return [item.event is not None and json.loads(item.body).get("eventName") in names for item in items]


def _item_result(
    item: Item, named: _Named | None, parts: int, disallowed: bool, told: Mapping[str, str]
) -> ItemResult | None:
    """What the answer says of this item alone; None: nothing.

    `parts` is how many items of the batch are this user's, `named` how the answer speaks of the user, `told` how a
    sentence calls each list.
    """
    if named and named.times < parts:
        return ItemResult(None)
    if named and named.list_name in NOT_KNOWN_YET:
        return ItemResult(PayloadResult(Outcome.FAILED, f"Iterable does not know the user ({named.list_name})"))
    if named:
        over_a_name = named.list_name.startswith("conflict")
        reason = f"listed in {told[named.list_name]}{f', {names_in(item.body)}' if over_a_name else ''}"
        refused = PayloadResult(Outcome.REJECTED, reason, over_a_name=over_a_name)
        return ItemResult(refused, named.list_name.startswith("invalidData"))
    if disallowed:
        name = json.loads(item.body).get("eventName")
        return ItemResult(PayloadResult(Outcome.REJECTED, f"the project disallows the event: {name}"), True)
    return None


def _warn_of_dropped_fields(endpoint: str, data: Mapping[str, Any], masked: Callable[[str], str]) -> None:
    dropped = data.get("filteredOutFields")
    if dropped:
        told = excerpt(masked(str(dropped)))
        logger.warning("%s: the project does not take new fields and dropped %s", endpoint, told)


def verdict_of(results: Sequence[ItemResult]) -> tuple[Verdict, str]:
    """What the stop rules make of an accepted batch, and why: somebody in it was taken, or nobody was."""
    known = [result for result in results if result.result is not None]
    if len(known) < len(results) or any(one.result.outcome is Outcome.DELIVERED for one in known if one.result):
        return Verdict.ACCEPTED, "Success"
    by_project = [one for one in known if one.by_project]
    refused = by_project or [one for one in known if one.result and one.result.outcome is Outcome.REJECTED] or known
    last = refused[-1].result if refused else None
    if last is None or last.outcome is Outcome.REJECTED:
        return (Verdict.REJECTED_BY_PROJECT if by_project else Verdict.REJECTED), last.reason if last else ""
    return Verdict.UNREADABLE, last.reason
