"""A user's address change: `users/updateEmail`, and what its answers mean.

Sources: Iterable's support page on changing names (profile and events move along; dependent calls wait a minute), the
Swagger document (an error where the new address exists or was forgotten) and recorded answers. It is not documented
which code means that the address exists, so every code that can mean it counts.
"""

from __future__ import annotations

import logging
from typing import Final

from iterable_client import IterableClient
from sync.api.answers import NAME_CODES, REJECTIONS, ApiResult, Verdict
from sync.api.endpoints import USERS_BY_EMAIL, USERS_UPDATE_EMAIL, Message, encode
from sync.delivery.work import Answer, Ended, Turn, Why, all_with, outcome_of
from sync.rows.identity import address_of, name_of
from sync.state.exchange import DELIVERED, Move, Outcome, PayloadResult, UserOutcome

logger = logging.getLogger("delivery")

_UNKNOWN_CODES: Final = frozenset({"UnknownEmailError", "NotFound", "error.users.noUserWithEmailExists"})
_TAKEN_WORDS: Final = ("already exists", "already in use", "already taken", "belongs to another", "different user")

_MOVED: Final = PayloadResult(Outcome.DELIVERED, moved=True)


def change_address(turn: Turn, client: IterableClient, move: Move) -> None:
    """Change the address at Iterable. Raises Ended unless the user's profile may follow at once."""
    new, user_id = turn.user.identity, address_of(move.person)
    for old in move.sources:
        if old in move.shared and not _is_ours(turn, client, old, move):
            continue
        call, move = _request(turn, client, old, move)
        if call.verdict is Verdict.ACCEPTED:
            logger.info("Address changed: from %s to %s user_id=%s", old, new, user_id)
            _settle(turn, _MOVED)
            raise Ended(Why.SETTLING)
        if not _is_unknown(call):
            _settle(turn, _not_moved(turn, client, old, move, call))
            return
    unknown = " and ".join(move.sources) + (" any more" if move.in_doubt else "")
    logger.info("No address to change: Iterable does not know %s email=%s user_id=%s", unknown, new, user_id)
    _settle(turn, _MOVED if move.in_doubt else DELIVERED)


def _settle(turn: Turn, result: PayloadResult) -> None:
    """Hand on the result of the address change; raises Ended unless it was made or not needed."""
    user = turn.user
    if result.outcome is Outcome.DELIVERED:
        changed = UserOutcome(user._replace(profile=None, events=(), more=False), None, (), move=result)
        turn.settled(None, [changed], [user._replace(move=None)])
        return
    turn.settled(None, [all_with(user, result)])


def _request(turn: Turn, client: IterableClient, old: str, move: Move) -> tuple[ApiResult, Move]:
    """Request the change. It is in doubt if an attempt whose answer was lost may have made it."""
    turn.ask()
    body = encode({"currentEmail": old, "newEmail": turn.user.identity})
    call = client.send(USERS_UPDATE_EMAIL, Message({"email": old}, body))
    if set(call.retried) - {"429"}:
        move = move._replace(in_doubt=True)
        turn.left[0] = turn.left[0]._replace(users=(turn.user._replace(move=move),))
    turn.tell(call)
    turn.hand_on(Answer(call, attempted=[turn.user] if move.in_doubt and not outcome_of(call).turned_away else ()))
    return call, move


def _not_moved(turn: Turn, client: IterableClient, old: str, move: Move, call: ApiResult) -> PayloadResult:
    """What it means if the change was refused or failed. If the new address exists, it may already be this user's."""
    new, user_id = turn.user.identity, address_of(move.person)
    if not (_is_taken(call) or (move.in_doubt and _is_refused(call))):
        return outcome_of(call)
    if move.in_doubt and _is_ours(turn, client, new, move):
        return _MOVED
    whose = f"user id {user_id} changed from {old} to {new}, but at Iterable another user has {new}"
    reason = f"{call.reason}; {whose}: merge the two there, or correct the row"
    logger.error("Address not changed: %s email=%s user_id=%s", reason, new, user_id)
    return PayloadResult(Outcome.REJECTED, reason, over_a_name=True)


def _is_ours(turn: Turn, client: IterableClient, address: str, move: Move) -> bool:
    """Whether the user at this address has our user id. A JWT-enabled key may not read users: then the answer is no.

    Raises Ended if nothing could be read: the change is failed.
    """
    if client.use_jwt:
        return False
    turn.ask()
    found = client.get(USERS_BY_EMAIL, {"email": address}, email=address)
    turn.tell(found)
    turn.hand_on(Answer(found))
    if found.verdict is not Verdict.ACCEPTED and found.verdict not in REJECTIONS:
        _settle(turn, outcome_of(found))
    user = found[1].get("user") if found.verdict is Verdict.ACCEPTED else None
    return isinstance(user, dict) and user.get("userId") == name_of(move.person)


def _is_unknown(call: ApiResult) -> bool:
    """Whether the old address is not known (recorded: "Cannot change user Some(a) to b. User does not exist")."""
    told = "does not exist" in call.said or "invalid currentemail" in call.said
    return call.code in _UNKNOWN_CODES or (told and call.verdict is Verdict.REJECTED)


def _is_taken(call: ApiResult) -> bool:
    """Whether another user has the new address."""
    words = any(word in call.said for word in _TAKEN_WORDS)
    return call.code in NAME_CODES or (_is_refused(call) and (call.status == 409 or words))


def _is_refused(call: ApiResult) -> bool:
    """Whether the API itself refused this request. Not all codes for that are documented."""
    return call.understood and call.status in (400, 409) and call.verdict in {*REJECTIONS, Verdict.UNREADABLE}
