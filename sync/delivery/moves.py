"""A user's address changes: `users/updateEmail`, and what its answers mean.

Sources: Iterable's support page on changing names (profile and events move along; dependent calls wait a minute), the
Swagger document (an error where the new address exists or was forgotten) and recorded answers. Which code an address
that exists has is not documented: all that can mean it are taken for it.
"""

from __future__ import annotations

import json
import logging
from typing import Final

from iterable_client import IterableClient
from sync.api.answers import NAME_CODES, REJECTIONS, ApiResult, Verdict
from sync.api.endpoints import USERS_BY_EMAIL, USERS_UPDATE_EMAIL
from sync.api.messages import Message
from sync.delivery.outcome import Reply, outcome_of
from sync.delivery.rules import Advice
from sync.delivery.watch import Piece, Watch
from sync.rows.identity import address_of, name_of
from sync.state.owed import Move, Outcome, OwedUser, PayloadResult

logger = logging.getLogger("delivery")

_UNKNOWN_CODES: Final = frozenset({"UnknownEmailError", "NotFound", "error.users.noUserWithEmailExists"})
_TAKEN_WORDS: Final = ("already exists", "already in use", "already taken", "belongs to another", "different user")

MOVED: Final = PayloadResult(Outcome.DELIVERED, moved=True)
NOTHING_TO_MOVE: Final = PayloadResult(Outcome.DELIVERED, "Iterable does not know the old address")
NOT_FREE: Final = PayloadResult(Outcome.FAILED, "not sent: the new address has not become free", sent=False)


class Mover:
    """Moves users to their new addresses, one request at a time; called from many threads."""

    def __init__(self, client: IterableClient, watch: Watch) -> None:
        self._client, self._watch = client, watch

    def send(self, piece: Piece, move: Move, reply: Reply) -> None:
        """Make the next request of a user who is to be moved."""
        (user,) = piece.users
        old, new = move.sources[move.tried], user.identity
        if old in move.shared and not self._may_move(piece, user, move, reply):
            return
        began = self._watch.now()
        result = self._client.send(USERS_UPDATE_EMAIL, Message({"email": old}, move_body(old, new).encode()))
        advice = self._watch.ended(piece, result, began)
        reply.calls.append(result)
        if result.verdict is Verdict.THROTTLED:
            reply.throttled.append(piece)
        elif result.verdict is Verdict.ACCEPTED:
            logger.info("Address moved: from %s to %s user_id=%s", old, new, address_of(move.person))
            reply.settle_move(piece, user, MOVED, at_once=False)
        elif _is_unknown(result):
            self._try_next(piece, user, _in_doubt(move, result), reply)
        elif _is_taken(result) or (move.in_doubt and _is_refused(result)):
            self._settle_taken(piece, user, _in_doubt(move, result), result, reply)
        else:
            reply.settle_move(piece, user, outcome_of(result), at_once=False)
            if advice is Advice.END_TURN:
                logger.warning("Address not moved: from %s to %s user_id=%s", old, new, address_of(move.person))

    def _may_move(self, piece: Piece, user: OwedUser, move: Move, reply: Reply) -> bool:
        """Look whose the old address is now, which another user may have taken; what else follows is in the reply.

        A JWT-enabled key may not look: then it is taken for the other user's.
        """
        if self._client.use_jwt:
            self._try_next(piece, user, move, reply)
            return False
        found = self._look_up(move.sources[move.tried], reply)
        if found.verdict is Verdict.THROTTLED:
            reply.throttled.append(piece)
        elif _has_id(found, move):
            return True
        elif found.verdict is Verdict.ACCEPTED or found.verdict in REJECTIONS:
            self._try_next(piece, user, move, reply)
        else:
            reply.settle_move(piece, user, outcome_of(found), at_once=False)
        return False

    @staticmethod
    def _try_next(piece: Piece, user: OwedUser, move: Move, reply: Reply) -> None:
        """Iterable does not know this old address: the next one, or, if there is none, nothing is to be moved."""
        if move.tried + 1 < len(move.sources):
            following = user._replace(move=move._replace(tried=move.tried + 1))
            reply.attempted.append(user)
            reply.pieces.append(piece._replace(users=(following,), tried=True))
            return
        result = MOVED if move.in_doubt else NOTHING_TO_MOVE
        logger.info(
            "Address not to be moved: Iterable does not know %s%s email=%s user_id=%s",
            " and ".join(move.sources),
            " any more" if move.in_doubt else "",
            user.identity,
            address_of(move.person),
        )
        reply.settle_move(piece, user, result, at_once=True)

    def _settle_taken(self, piece: Piece, user: OwedUser, move: Move, result: ApiResult, reply: Reply) -> None:
        """The new address exists: ours, if the move was made before and its answer lost, or another user's."""
        if move.in_doubt and self._is_ours(user.identity, move, reply):
            reply.settle_move(piece, user, MOVED, at_once=True)
            return
        reason = (
            f"{result.reason}; the address {user.identity} of user id {address_of(move.person)}, before "
            f"{move.sources[move.tried]}, is another user's at Iterable: merge the two there, or correct the row"
        )
        refused = PayloadResult(Outcome.REJECTED, reason, over_a_name=True)
        logger.error("Address not moved: %s email=%s user_id=%s", reason, user.identity, address_of(move.person))
        reply.settle_move(piece, user, refused, at_once=True)

    def _is_ours(self, address: str, move: Move, reply: Reply) -> bool:
        """Whether the user of this address has our id. A JWT-enabled key may not read it, and then nobody knows."""
        return _has_id(self._look_up(address, reply), move)

    def _look_up(self, address: str, reply: Reply) -> ApiResult:
        found = self._client.get(USERS_BY_EMAIL, {"email": address}, email=address)
        reply.calls.append(found)
        return found


def _has_id(found: ApiResult, move: Move) -> bool:
    user = found[1].get("user") if found.verdict is Verdict.ACCEPTED else None
    return isinstance(user, dict) and user.get("userId") == name_of(move.person)


def _in_doubt(move: Move, result: ApiResult) -> Move:
    """The move, which an attempt of this call may have made, too, whose answer was lost."""
    return move._replace(in_doubt=move.in_doubt or bool(result.retried))


def move_body(old: str, new: str) -> str:
    """The body of the request that moves a user."""
    return json.dumps({"currentEmail": old, "newEmail": new}, ensure_ascii=False, separators=(",", ":"))


def _is_unknown(result: ApiResult) -> bool:
    """Whether the old address is not known (recorded: "Cannot change user Some(a) to b. User does not exist")."""
    return result.code in _UNKNOWN_CODES or (
        result.verdict is Verdict.REJECTED
        and ("does not exist" in result.said or "invalid currentemail" in result.said)
    )


def _is_taken(result: ApiResult) -> bool:
    """Whether another user has the new address."""
    words = any(word in result.said for word in _TAKEN_WORDS)
    return result.code in NAME_CODES or (_is_refused(result) and (result.status == 409 or words))


def _is_refused(result: ApiResult) -> bool:
    """Whether the API itself said no to this request: which code that has is not documented for all of them."""
    return result.understood and result.status in (400, 409) and result.verdict in {*REJECTIONS, Verdict.UNREADABLE}
