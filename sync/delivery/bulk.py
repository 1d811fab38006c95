"""Bulk delivery: up to 1,000 users or events in one request, and yet one outcome for each of them.

A bulk answer is a 200 that holds its failures: lists of addresses by kind of failure, counts, and no word on each item
(Iterable's Swagger document, `BulkUpdateUsersRequest`, `BulkTrackRequest`). So no user stands twice in one request;
then every name in a list is one item. A batch that is refused whole is halved until the culprit stands alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, NamedTuple

from iterable_client import IterableClient
from sync.api.answers import REJECTIONS, ApiResult, Verdict
from sync.api.endpoints import EVENTS_TRACK_BULK, USERS_BULK_UPDATE
from sync.delivery.outcome import NOT_SENT, Result, outcome_of, with_profile_outcome
from sync.delivery.stop import Stop
from sync.rows.identity import log_field
from sync.state.owed import Outcome, OwedUser, PayloadResult, UserOutcome

logger = logging.getLogger("bulk")

MAX_ITEMS = 1000
"""Iterable documents no bound; its partners' integrations in production send up to 1,000."""

MAX_BYTES = 4_000_000
"""Iterable's Swagger document: 4 MB for users/bulkUpdate; taken for events/trackBulk too, where it is silent."""

ENVELOPE = len('{"events":[]}')
HALVED = frozenset({400, 409, 413})
SPOILED = REJECTIONS | {Verdict.TOO_LARGE}
NOT_ANSWERED = frozenset({Verdict.INTERRUPTED, Verdict.THROTTLED})
"""The run is stopping, or the items are sent again: neither is a word on a user."""

NOT_YET = ("notFoundEmails", "notFoundUserIds")
"""Lists of users that Iterable does not know yet: their items are owed again, not rejected."""


class Item(NamedTuple):
    """One user's part of a bulk request."""

    user: OwedUser
    body: str


class ItemOutcome(NamedTuple):
    """What became of one item, and what the run judges the API by."""

    told: PayloadResult
    verdict: Verdict


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut `items` into requests of at most 1,000 items and 4,000,000 bytes; one that is larger stands alone."""
    batch: list[Item] = []
    size = ENVELOPE
    for item in items:
        more = len(item.body.encode()) + 1
        if batch and (len(batch) == MAX_ITEMS or size + more > MAX_BYTES):
            yield batch
            batch, size = [], ENVELOPE
        batch.append(item)
        size += more
    if batch:
        yield batch


def profile_items(users: Iterable[OwedUser]) -> Iterator[Item]:
    """The profiles that are owed."""
    return (Item(user, user.profile) for user in users if user.profile is not None)


def event_rounds(users: Sequence[OwedUser]) -> Iterator[list[Item]]:
    """The users' first events, then their second ones, ...: oldest first, and no user twice in a round."""
    for events in zip_longest(*(user.events for user in users)):
        yield [Item(user, event.body) for user, event in zip(users, events, strict=True) if event]


class BulkSender:
    """Profiles of a batch of users first, then the events of those whose profiles were accepted."""

    batch_size = MAX_ITEMS

    def __init__(self, client: IterableClient, stop: Stop) -> None:
        self._client, self._stop = client, stop

    def send(self, users: Sequence[OwedUser]) -> list[Result]:
        """Return one result for each of `users`, in their order; the first carries the calls of all."""
        calls: list[ApiResult] = []
        profiles = self._send_all(USERS_BULK_UPDATE, profile_items(users), calls)
        ready = [user for user in users if user.identity not in profiles or _delivered(profiles[user.identity])]
        events: dict[str, list[ItemOutcome]] = {user.identity: [] for user in ready}
        for items in event_rounds(ready):
            going = (item for item in items if not _throttled(events[item.user.identity]))
            for identity, outcome in self._send_all(EVENTS_TRACK_BULK, going, calls).items():
                events[identity].append(outcome)
        results = [_result(user, profiles.get(user.identity), events.get(user.identity, [])) for user in users]
        return [results[0]._replace(calls=calls), *results[1:]]

    def _send_all(self, endpoint: str, items: Iterable[Item], calls: list[ApiResult]) -> dict[str, ItemOutcome]:
        """Send `items` in as many requests as they need; every identity gets its outcome."""
        outcomes: dict[str, ItemOutcome] = {}
        waiting = list(batches(items))[::-1]
        while waiting:
            batch = waiting.pop()
            result = self._call(endpoint, [item.body for item in batch])
            calls.append(result)
            if result.verdict is Verdict.ACCEPTED:
                outcomes.update(_read(endpoint, batch, result[1]))
            elif _is_refused_whole(result) and len(batch) > 1:
                middle = len(batch) // 2
                waiting += [batch[middle:], batch[:middle]]
            else:
                outcomes.update((item.user.identity, ItemOutcome(outcome_of(result), result.verdict)) for item in batch)
        self._log_undelivered(endpoint, outcomes)
        return outcomes

    def _call(self, endpoint: str, bodies: Sequence[str]) -> ApiResult:
        return NOT_SENT if self._stop.is_set() else self._client.send_bulk(endpoint, bodies)

    @staticmethod
    def _log_undelivered(endpoint: str, outcomes: Mapping[str, ItemOutcome]) -> None:
        for identity, outcome in outcomes.items():
            if outcome.told.outcome is not Outcome.DELIVERED and outcome.verdict not in NOT_ANSWERED:
                told = outcome.told
                logger.error("%s %s: %s %s", endpoint, told.outcome.value, told.reason, log_field(identity))


def _is_refused_whole(result: ApiResult) -> bool:
    """Whether one item may have spoiled the batch: nothing of it was applied."""
    return result.verdict in SPOILED or (result.verdict is Verdict.UNREADABLE and result.status in HALVED)


def _delivered(outcome: ItemOutcome) -> bool:
    return outcome.told.outcome is Outcome.DELIVERED


def _throttled(outcomes: Sequence[ItemOutcome]) -> bool:
    """Whether an earlier event of the user waits for the quota: a later one must not overtake it."""
    return bool(outcomes) and outcomes[-1].verdict is Verdict.THROTTLED


def _result(user: OwedUser, profile: ItemOutcome | None, events: Sequence[ItemOutcome]) -> Result:
    """One user's outcome from those of the items; what met the quota is to be sent again."""
    if profile and profile.verdict is Verdict.THROTTLED:
        nothing = UserOutcome(replace(user, profile=None, events=()), None, ())
        return Result(nothing, user, profile.verdict, profile.told.reason)
    if profile and not _delivered(profile):
        return Result(with_profile_outcome(user, profile.told), None, profile.verdict, profile.told.reason)
    done = [outcome.told for outcome in events if outcome.verdict is not Verdict.THROTTLED]
    waiting = user.events[len(done) :]
    rest = replace(user, profile=None, events=waiting) if waiting else None
    worst = next((outcome for outcome in reversed(events) if not _delivered(outcome)), None)
    told = UserOutcome(replace(user, events=user.events[: len(done)]), profile.told if profile else None, tuple(done))
    return Result(told, rest, worst.verdict if worst else Verdict.ACCEPTED, worst.told.reason if worst else "")


# -- reading a bulk answer -----------------------------------------------------------------------------------


@dataclass
class _BulkAnswer:
    """An answer's lists by what they mean: identity -> name of the list."""

    sent: int
    data: Mapping[str, Any]
    named: dict[str, str] = field(default_factory=dict)

    def collect(self) -> None:
        """Gather every name in every list of failures; the lists at the top are older doubles of the nested ones."""
        nested = self.data.get("failedUpdates")
        older = [(key, self.data.get(key)) for key in ("invalidEmails", "invalidUserIds")]
        for key, names in [*older, *(nested.items() if isinstance(nested, Mapping) else ())]:
            for name in names if isinstance(names, list) else []:
                self.named[_key_of(key, str(name))] = key

    def number(self, key: str) -> int:
        """A count, or the length of a list."""
        value = self.data.get(key)
        if isinstance(value, list):
            return len(value)
        return value if isinstance(value, int) else 0

    def misfit(self, named: int, disallowed: int) -> str:
        """Why the counts do not explain what became of every item; empty when they do.

        Whether `successCount` holds those that changed nothing, and `failCount` disallowed events, is not documented.
        """
        succeeded, failed = self.number("successCount"), self.number("failCount")
        unchanged = self.number("noOpEmails") + self.number("noOpUserIds")
        left = self.sent - succeeded - failed
        if failed <= named + disallowed and left in {0, unchanged, disallowed}:
            return ""
        return f"its counts do not add up: sent {self.sent}, succeeded {succeeded}, failed {failed}, named {named}"


def _key_of(list_name: str, name: str) -> str:
    """Names are compared without case where they are addresses: Iterable stores those in lower case."""
    return f"id:{name}" if list_name.endswith("UserIds") else name.strip().lower()


def _read(endpoint: str, batch: Sequence[Item], data: Mapping[str, Any]) -> dict[str, ItemOutcome]:
    """The outcome of each item of an accepted batch."""
    answer = _BulkAnswer(len(batch), data)
    answer.collect()
    _warn_of_dropped_fields(endpoint, data)
    named = {item.user.identity: answer.named.get(item.user.identity) for item in batch}
    disallowed = _disallowed(batch, data)
    misfit = answer.misfit(sum(1 for key in named.values() if key), len(disallowed))
    if misfit:
        logger.warning("%s answered 200, but %s; who is not named is owed again", endpoint, misfit)
    outcomes = {identity: _item_outcome(key, misfit) for identity, key in named.items()}
    return outcomes | {identity: outcome for identity, outcome in disallowed.items() if not named[identity]}


def _disallowed(batch: Sequence[Item], data: Mapping[str, Any]) -> dict[str, ItemOutcome]:
    """Events whose names the project does not take; those still owed from before may have another name."""
    names = data.get("disallowedEventNames")
    if not (isinstance(names, list) and names):
        return {}
    outcomes = {}
    for item in batch:
        name = json.loads(item.body).get("eventName")
        if name in names:
            told = PayloadResult(Outcome.REJECTED, f"the project disallows the event: {name}")
            outcomes[item.user.identity] = ItemOutcome(told, Verdict.REJECTED_BY_PROJECT)
    return outcomes


def _item_outcome(list_name: str | None, misfit: str) -> ItemOutcome:
    if list_name in NOT_YET:
        return ItemOutcome(
            PayloadResult(Outcome.FAILED, f"Iterable does not know the user ({list_name})"), Verdict.REJECTED
        )
    if list_name:
        verdict = Verdict.REJECTED_BY_PROJECT if list_name.startswith("invalidData") else Verdict.REJECTED
        return ItemOutcome(PayloadResult(Outcome.REJECTED, f"listed in {list_name}"), verdict)
    if misfit:
        return ItemOutcome(PayloadResult(Outcome.FAILED, misfit), Verdict.UNREADABLE)
    return ItemOutcome(PayloadResult(Outcome.DELIVERED), Verdict.ACCEPTED)


def _warn_of_dropped_fields(endpoint: str, data: Mapping[str, Any]) -> None:
    dropped = data.get("filteredOutFields")
    if dropped:
        logger.warning("%s: the project does not take new fields and dropped %s", endpoint, dropped)
