"""In bulk: up to 1,000 users or events in one request, and yet one outcome for each of them.

Profiles are sent first, then the events of users whose profiles were accepted. A batch is halved if it is refused
whole, if it fails, or if its answer does not add up. The halves are queued last, so that the sibling of a failed half
is next, until the culprit is alone. The events of one user are split in their order instead.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final

from iterable_client import IterableClient
from sync.api.endpoints import EVENTS_TRACK_BULK, MAX_BYTES, MAX_ITEMS, USERS_BULK_UPDATE
from sync.delivery.bulk_answer import read_bulk_answer
from sync.delivery.turn import Way, take_turn
from sync.delivery.work import Answer, Turn, Work, after
from sync.rows.identity import log_field
from sync.state.exchange import Outcome, PendingUser, UserOutcome

logger = logging.getLogger("bulk")

FEWER: Final = 8
"""If a batch of one user's events fails, the next one has an eighth of its size, and the size doubles with each batch
that is answered. So one bad event among 1,000 is alone after at most three more failures, and does not end the user's
turn."""


def take_turn_in_bulk(turn: Turn, client: IterableClient) -> None:
    """Serve up to 1,000 users; each answer is handed on as it comes. Raises Ended as `take_turn` does.

    A user who is served apart is sent one by one, because Iterable keeps no order between single and bulk calls.
    """
    if turn.user.apart:
        take_turn(turn, client)
        return
    while True:
        _send_batch(turn, client)


IN_BULK: Final = Way(take_turn_in_bulk, users=MAX_ITEMS, events=MAX_ITEMS)


def next_batch(
    users: Sequence[PendingUser], at_most: int = MAX_ITEMS
) -> tuple[str, list[tuple[PendingUser, list[str]]]]:
    """The endpoint, and what to send there next: the profiles of these users or, if there are none, their events.

    It takes as many users as fit into one request with up to `at_most` events each, or as many events of the first
    user.
    """
    profiles = [(user, [user.profile]) for user in users if user.profile is not None]
    groups = profiles or [(user, [event.body for event in user.events[:at_most]]) for user in users]
    groups = groups[: fitting([bodies for _, bodies in groups])]
    if len(groups) == 1:
        user, bodies = groups[0]
        groups = [(user, bodies[: fitting([[body] for body in bodies])])]
    return USERS_BULK_UPDATE if profiles else EVENTS_TRACK_BULK, groups


def fitting(groups: Sequence[Sequence[str]]) -> int:
    """How many of these groups of bodies fit into one request (1,000 items, 4,000,000 bytes); at least one."""
    size, count = len('{"events":[]}'), 0
    for fit, bodies in enumerate(groups):
        count += len(bodies)
        size += sum(1 + (len(body) if body.isascii() else len(body.encode())) for body in bodies)
        if fit and (count > MAX_ITEMS or size > MAX_BYTES):
            return fit
    return len(groups)


def _send_batch(turn: Turn, client: IterableClient) -> None:
    """Send the next batch of the current users, and keep what is left of them."""
    work = turn.left[0]
    endpoint, groups = next_batch(work.users, work.at_most)
    users = [user for user, _ in groups]
    going = {user.identity for user in users}
    others = tuple(user for user in work.users if user.identity not in going)
    items = [(user, body) for user, bodies in groups for body in bodies]
    turn.ask()
    call = client.send_bulk(endpoint, [body for _, body in items])
    answer = read_bulk_answer(endpoint, items, call, client.masked)
    turn.tell(call, users, (answer.verdict, answer.whole.reason))
    if answer.results is None and len(items) > 1 and not turn.is_over:
        _cut(turn, users, others, len(items))
        turn.hand_on(Answer(call, attempted=users))
        return
    if answer.results:
        turn.left[0] = turn.left[0]._replace(at_most=2 * work.at_most)
    results, outcomes, left = iter(answer.results or [answer.whole] * len(items)), [], list(others)
    for user, bodies in groups:
        outcome, rest = after(user, tuple(islice(results, len(bodies))), turn.is_over)
        _log_undelivered(endpoint, outcome)
        outcomes.append(outcome)
        left += rest
    turn.settled(call, outcomes, left)


def _cut(turn: Turn, users: Sequence[PendingUser], others: Sequence[PendingUser], items: int) -> None:
    """Halve the batch and queue the halves last; for one user's events, make the next batch smaller."""
    work = turn.left.popleft()
    if len(users) == 1:
        turn.left.appendleft(work._replace(at_most=max(1, items // FEWER)))
        return
    if others:
        turn.left.appendleft(Work(tuple(others)))
    middle = len(users) // 2
    turn.left += [Work(tuple(users[:middle])), Work(tuple(users[middle:]))]


def _log_undelivered(endpoint: str, outcome: UserOutcome) -> None:
    """One line for each user who was not delivered."""
    undelivered = (result for result in outcome.of_payloads if result.outcome is not Outcome.DELIVERED)
    if result := next(undelivered, None):
        logger.error("%s %s: %s %s", endpoint, result.outcome.value, result.reason, log_field(outcome.user.identity))
