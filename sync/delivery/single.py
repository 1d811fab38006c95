"""One by one: users/update, then events/track for each event once the profile is accepted."""

from __future__ import annotations

from iterable_client import IterableClient
from sync.api.answers import Verdict
from sync.api.endpoints import EVENTS_TRACK, USERS_UPDATE
from sync.api.messages import Message
from sync.delivery.moves import Mover
from sync.delivery.outcome import NOT_SENT, Reply, outcome_of, with_profile_result
from sync.delivery.watch import Gate, Piece, Watch
from sync.rows.identity import identity_fields
from sync.rows.payloads import names_in
from sync.state.owed import PayloadResult

EVENTS_EACH = 25
"""Events of one user that are in memory at a time."""


class SingleSender:
    """Makes the next request of one user; called from many threads."""

    batch_size = 1
    events_in_batch = EVENTS_EACH

    def __init__(self, client: IterableClient, watch: Watch) -> None:
        self._client, self._watch = client, watch
        self._mover = Mover(client, watch)

    def send(self, piece: Piece) -> Reply:
        """Send the user's profile, or the oldest event; what is to follow is in the reply."""
        (user,) = piece.users
        reply = Reply()
        gate = self._watch.gate(piece)
        if gate is Gate.HELD:
            reply.held.append(piece)
        elif gate is Gate.STOPPED:
            reply.outcomes.append(with_profile_result(user, NOT_SENT))
        elif user.move is not None:
            self._mover.send(piece, user.move, reply)
        elif user.profile is not None:
            self._send(piece, USERS_UPDATE, user.profile, reply)
        else:
            self._send(piece, EVENTS_TRACK, user.events[0].body, reply)
        return reply

    def _send(self, piece: Piece, endpoint: str, body: str, reply: Reply) -> None:
        (user,) = piece.users
        began = self._watch.now()
        result = self._client.send(endpoint, Message(identity_fields(user.identity), body.encode()))
        advice = self._watch.ended(piece, result, began)
        reply.calls.append(result)
        if result.verdict is Verdict.THROTTLED:
            reply.throttled.append(piece)
        elif endpoint == EVENTS_TRACK:
            reply.settle_events(piece, user, [outcome_of(result)], advice)
        elif rest := reply.settle_profile(user, _naming_both(outcome_of(result), body)):
            reply.pieces.append(piece._replace(users=(rest,), tried=True))


def _naming_both(result: PayloadResult, body: str) -> PayloadResult:
    """A rejection over a name says which names the profile has."""
    return result._replace(reason=f"{result.reason}, {names_in(body)}") if result.over_a_name else result
