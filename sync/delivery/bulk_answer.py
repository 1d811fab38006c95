"""Reading a bulk answer: a 200 that lists the failures by name and does not mention each item.

Sources: Iterable's Swagger document (`BulkUpdateUsersRequest`, `BulkTrackRequest` and their answers) and recorded
answers. What no source says (whether `successCount` includes unchanged users, and `failCount` disallowed events) may be
either way.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sync.api.answers import ApiResult, Verdict
from sync.api.endpoints import USERS_BULK_UPDATE
from sync.delivery.work import outcome_of
from sync.rows.identity import USER_ID_PREFIX
from sync.rows.masking import excerpt
from sync.state.exchange import DELIVERED, Outcome, PayloadResult, PendingUser

logger = logging.getLogger("bulk")

Masked = Callable[[str], str]
"""Removes the secrets from a text."""

Refusal = tuple[Verdict, PayloadResult]
"""For an item that was not accepted: its verdict for the stop rules, and its result."""

_CAUSES = ("conflict", "forgotten", "invalid", "invalidData", "notFound")
KNOWN_LISTS = frozenset(cause + names for cause in _CAUSES for names in ("Emails", "UserIds"))
"""The documented lists. Their names are words of the API, so they are not searched for secrets."""


Item = tuple[PendingUser, str]
"""One user's part of a bulk request: the body of the profile, or of one event."""


class BulkAnswer(NamedTuple):
    """What became of a batch.

    `results` has the result of each item, in order. None: the items cannot be told apart, and `whole` is the result of
    all unless the batch is split. `verdict` is for the stop rules, and `whole` says why.
    """

    results: list[PayloadResult] | None
    verdict: Verdict
    whole: PayloadResult


def read_bulk_answer(endpoint: str, items: Sequence[Item], call: ApiResult, masked: Masked = str) -> BulkAnswer:
    """Say what became of each item; `masked` removes the secrets from a text."""
    if call.verdict is not Verdict.ACCEPTED:
        return BulkAnswer(None, call.verdict, outcome_of(call))
    data = call[1]
    if dropped := data.get("filteredOutFields"):
        told = excerpt(masked(str(dropped)))
        logger.warning("%s: the project does not accept new fields and dropped %s", endpoint, told)
    listed = _listed(endpoint, items, data, masked)
    refused = _disallowed(items, data) | listed
    succeeded, failed = data["successCount"], data["failCount"]
    uncounted, disallowed = len(items) - succeeded - failed, len(refused) - len(listed)
    adds_up = failed in {len(listed), len(refused)} and uncounted in {0, disallowed, *_unchanged(data)}
    if adds_up or (len(items) == 1 and refused):
        results = [refused[place][1] if place in refused else DELIVERED for place in range(len(items))]
        return BulkAnswer(results, *_of_all(len(items), list(refused.values())))
    misfit = f"its counts do not add up: sent {len(items)}, succeeded {succeeded}, failed {failed}, named {len(listed)}"
    logger.warning("%s answered 200, but %s", endpoint, misfit)
    understood = succeeded and not uncounted and 0 < failed < len(listed)  # but not which items of a user it means
    verdict = Verdict.ACCEPTED if understood else Verdict.UNREADABLE
    return BulkAnswer(None, verdict, PayloadResult(Outcome.FAILED, misfit))


def _of_all(count: int, refused: Sequence[Refusal]) -> Refusal:
    """The batch's verdict for the stop rules, and why: something in it was accepted, or nothing was."""
    if len(refused) < count:
        return Verdict.ACCEPTED, DELIVERED
    return next((one for one in refused if one[0] is not Verdict.UNREADABLE), refused[-1])


def _listed(endpoint: str, items: Sequence[Item], data: Mapping[str, Any], masked: Masked) -> dict[int, Refusal]:
    """The items whose users are in a list of failures, by position, and what that list means.

    A list may use either name of a user. If all items are of one user, every name is that user's. The lists at the top
    repeat nested ones.
    """
    nested = data.get("failedUpdates")
    lists = [(key, data.get(key)) for key in ("invalidEmails", "invalidUserIds")]
    lists += nested.items() if isinstance(nested, Mapping) else ()
    named = [(key, str(name)) for key, names in lists if isinstance(names, list) for name in names]
    places: dict[str, set[int]] = defaultdict(set)
    for place, item in enumerate(items) if named else ():
        for identity in _identities(*item, is_profile=endpoint == USERS_BULK_UPDATE):
            places[identity].add(place)
    everywhere = range(len(items)) if len({user.identity for user, _ in items}) == 1 else ()
    return {
        place: _by_list(key if key in KNOWN_LISTS else excerpt(masked(key)))
        for key, name in named
        for place in places.get(USER_ID_PREFIX + name if key.endswith("UserIds") else name.strip().lower(), everywhere)
    }


def _identities(user: PendingUser, body: str, *, is_profile: bool) -> Iterator[str]:
    """Both names of an item's user, as far as they are known here; Iterable stores addresses in lower case."""
    yield user.identity
    fields = json.loads(body).get("dataFields", {}) if is_profile else {}
    if "email" in fields:
        yield str(fields["email"]).strip().lower()
    if "userId" in fields:
        yield USER_ID_PREFIX + str(fields["userId"])


def _by_list(name: str) -> Refusal:
    """What it means to be in this list of failures."""
    if name.startswith("notFound"):  # not yet, so the item is pending again and not rejected
        return Verdict.UNREADABLE, PayloadResult(Outcome.FAILED, f"Iterable does not know the user ({name})")
    verdict = Verdict.REJECTED_BY_PROJECT if name.startswith("invalidData") else Verdict.REJECTED
    return verdict, PayloadResult(Outcome.REJECTED, f"listed in {name}", over_a_name=name.startswith("conflict"))


def _disallowed(items: Sequence[Item], data: Mapping[str, Any]) -> dict[int, Refusal]:
    """The events whose names the project does not allow; events that were pending before may have another name."""
    names = data.get("disallowedEventNames")
    if not isinstance(names, list):
        return {}
    given = [json.loads(body).get("eventName") for _, body in items] if names else []
    refused = {place: f"the project disallows the event: {name}" for place, name in enumerate(given) if name in names}
    by_project = Verdict.REJECTED_BY_PROJECT
    return {place: (by_project, PayloadResult(Outcome.REJECTED, reason)) for place, reason in refused.items()}


def _unchanged(data: Mapping[str, Any]) -> set[int]:
    """How many users changed nothing, whether by one list, or by both with the same or with different users."""
    lists = (data.get("noOpEmails"), data.get("noOpUserIds"))
    addresses, ids = (len(names) if isinstance(names, list) else 0 for names in lists)
    return {addresses, ids, addresses + ids}
