"""In bulk: up to 1,000 users or events in one request, and yet one outcome for each of them.

A piece costs one request at a time: the profiles first, then the events of those whose profiles were accepted, oldest
first. A batch that fails whole is halved, the sibling of a failed half next, until the culprit stands alone; and so
are the events of one user, in their order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from iterable_client import IterableClient
from sync.api.answers import ApiResult, Verdict
from sync.api.endpoints import EVENTS_TRACK_BULK, MAX_BYTES, MAX_ITEMS, USERS_BULK_UPDATE
from sync.delivery.bulk_answer import Item, ItemResult, read_bulk_answer, verdict_of
from sync.delivery.outcome import NOT_SENT, Reply, outcome_of, with_profile_result
from sync.delivery.rules import Advice
from sync.delivery.single import SingleSender
from sync.delivery.watch import Gate, Piece, Watch
from sync.rows.identity import log_field
from sync.state.owed import Outcome, OwedUser, PayloadResult, UserOutcome

logger = logging.getLogger("bulk")

ENVELOPE = len('{"events":[]}')

FEWER = 8
"""A batch of one user's events that fails is cut to this part, and grows again twofold with each that is accepted: so
one bad event among 1,000 stands alone after at most three failures more, and does not end the user's turn."""


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut `items` into requests of at most 1,000 items and 4,000,000 bytes; one that is larger stands alone."""
    batch: list[Item] = []
    size = ENVELOPE
    for item in items:
        more = _bytes_of(item.body) + 1
        if batch and (len(batch) == MAX_ITEMS or size + more > MAX_BYTES):
            yield batch
            batch, size = [], ENVELOPE
        batch.append(item)
        size += more
    if batch:
        yield batch


def _bytes_of(text: str) -> int:
    """How many bytes a text has in UTF-8; of most texts Python knows without encoding them."""
    return len(text) if text.isascii() else len(text.encode())


def profile_items(users: Iterable[OwedUser]) -> list[Item]:
    """The profiles that are owed."""
    return [Item(user, user.profile) for user in users if user.profile is not None]


def event_items(users: Iterable[OwedUser]) -> list[Item]:
    """The events of these users, each user's oldest first."""
    return [Item(user, event.body, event) for user in users for event in user.events]


def fitting(users: Sequence[OwedUser]) -> tuple[tuple[OwedUser, ...], tuple[OwedUser, ...]]:
    """The first users whose events have room in one request, one user at least; and the others."""
    size, count = ENVELOPE, 0
    for position, user in enumerate(users):
        size += sum(_bytes_of(event.body) + 1 for event in user.events)
        count += len(user.events)
        if position and (size > MAX_BYTES or count > MAX_ITEMS):
            return tuple(users[:position]), tuple(users[position:])
    return tuple(users), ()


class _Call(NamedTuple):
    """One request that ended: `results` of its items, in their order; empty when the batch was refused whole."""

    result: ApiResult
    results: list[ItemResult]
    advice: Advice


class BulkSender:
    """Makes the next request of up to 1,000 users; called from many threads."""

    batch_size = MAX_ITEMS
    events_in_batch = MAX_ITEMS

    def __init__(self, client: IterableClient, watch: Watch) -> None:
        self._client, self._watch = client, watch
        self._single = SingleSender(client, watch)

    def send(self, piece: Piece) -> Reply:
        """Make the next request of the piece; what is to follow is in the reply.

        Whose address is moved in this run is served one by one: Iterable keeps no order between single and bulk calls.
        """
        if piece.users[0].apart:
            return self._single.send(piece)
        reply = Reply()
        gate = self._watch.gate(piece)
        if gate is Gate.HELD:
            reply.held.append(piece)
        elif gate is Gate.STOPPED:
            reply.outcomes += [with_profile_result(user, NOT_SENT) for user in piece.users]
        elif any(user.profile is not None for user in piece.users):
            self._send_profiles(piece, reply)
        elif len(piece.users) == 1:
            self._send_events_of_one(piece, reply)
        else:
            self._send_events(piece, reply)
        return reply

    def _send_profiles(self, piece: Piece, reply: Reply) -> None:
        """One batch of profiles; users who are owed events alone go on to these."""
        first, *others = batches(profile_items(piece.users))
        reply.pieces += [piece._replace(users=tuple(item.user for item in batch)) for batch in others]
        ready = [user for user in piece.users if user.profile is None]
        batch = piece._replace(users=tuple(item.user for item in first))
        call = self._request(batch, USERS_BULK_UPDATE, first, reply)
        if call.results or not _put_off(batch, call.result, reply):
            for user, result in zip(batch.users, _results(call, len(first)), strict=True):
                ready += [rest] if (rest := reply.settle_profile(user, result)) else []
        if ready:
            reply.pieces.append(piece._replace(users=tuple(ready)))

    def _send_events(self, piece: Piece, reply: Reply) -> None:
        """One batch of events: of as many users as have room in one request with all that is in memory of theirs."""
        users, others = fitting(piece.users)
        batch = piece._replace(users=users)
        reply.pieces += [piece._replace(users=others)] if others else []
        if len(users) == 1:
            self._send_events_of_one(batch, reply)
            return
        items = event_items(users)
        call = self._request(batch, EVENTS_TRACK_BULK, items, reply)
        if not call.results and _put_off(batch, call.result, reply):
            return
        results = iter(call.results or [ItemResult(one) for one in _results(call, len(items))])
        for user in users:
            taken = [next(results).result for _ in user.events]
            known = [one for one in taken if one is not None]
            if len(known) == len(taken):
                reply.outcomes.append(UserOutcome(user, None, tuple(known)))
            else:  # the answer names the user and does not say which event it means
                reply.attempted.append(user)
                reply.pieces.append(Piece((user,), drawn=piece.drawn, at_most=1))

    def _send_events_of_one(self, piece: Piece, reply: Reply) -> None:
        """The next events of a lone user, as many as the piece allows."""
        (user,) = piece.users
        items = next(batches(event_items(piece.users)))[: piece.at_most or MAX_ITEMS]
        call = self._request(piece, EVENTS_TRACK_BULK, items, reply)
        unclear = any(one.result is None for one in call.results)
        if call.result.verdict is Verdict.THROTTLED:
            reply.throttled.append(piece)
        elif len(items) > 1 and _may_be_cut(call) and (unclear or not call.results):
            reply.attempted.append(user)
            reply.halves.append(piece._replace(at_most=1 if unclear else max(1, len(items) // FEWER)))
        else:
            grown = piece._replace(at_most=2 * piece.at_most if call.results else piece.at_most)
            reply.settle_events(grown, user, _results(call, len(items)), call.advice)

    def _request(self, piece: Piece, endpoint: str, items: Sequence[Item], reply: Reply) -> _Call:
        began = self._watch.now()
        result = self._client.send_bulk(endpoint, [item.body for item in items])
        reply.calls.append(result)
        if result.verdict is not Verdict.ACCEPTED:
            if len(piece.users) == 1 and result.verdict not in {Verdict.INTERRUPTED, Verdict.THROTTLED}:
                _log_undelivered(endpoint, piece.users[0], outcome_of(result))
            return _Call(result, [], self._watch.ended(piece, result, began))
        results = read_bulk_answer(endpoint, items, result[1], self._client.masked)
        for item, taken in zip(items, results, strict=True):
            if taken.result and taken.result.outcome is not Outcome.DELIVERED:
                _log_undelivered(endpoint, item.user, taken.result)
        return _Call(result, results, self._watch.ended(piece, result, began, *verdict_of(results)))


def _results(call: _Call, count: int) -> list[PayloadResult]:
    """The results of a batch that is not sent again."""
    if call.results:
        return [one.result or NOT_SENT for one in call.results]
    return [outcome_of(call.result)] * count


def _may_be_cut(call: _Call) -> bool:
    return call.advice is Advice.GO_ON and call.result.verdict is not Verdict.INTERRUPTED


def _put_off(piece: Piece, result: ApiResult, reply: Reply) -> bool:
    """Whether a batch of which nothing was taken is sent again: when the quota allows, or halved."""
    if result.verdict is Verdict.THROTTLED:
        reply.throttled.append(piece)
    elif result.verdict is not Verdict.INTERRUPTED and len(piece.users) > 1:
        middle = len(piece.users) // 2
        reply.halves += [Piece(piece.users[:middle]), Piece(piece.users[middle:])]
        reply.attempted += piece.users
    else:
        return False
    return True


def _log_undelivered(endpoint: str, user: OwedUser, result: PayloadResult) -> None:
    logger.error("%s %s: %s %s", endpoint, result.outcome.value, result.reason, log_field(user.identity))
