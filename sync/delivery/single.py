"""One by one: a user's turn is users/update, then events/track for each event once the profile is accepted."""

from __future__ import annotations

import json
from typing import Any, Final

from iterable_client import IterableClient
from sync.api.answers import Verdict
from sync.delivery.moves import Mover
from sync.delivery.outcome import NOT_SENT, Reply, outcome_of, with_profile_result
from sync.delivery.watch import Gate, Piece, Watch
from sync.rows.payloads import names_in
from sync.state.owed import OwedUser, PayloadResult

EVENTS_EACH = 25
"""Events of one user that are in memory at a time."""


class SingleSender:
    """Serves one user, a request at a time; called from many threads."""

    batch_size = 1
    events_in_batch = EVENTS_EACH

    def __init__(self, client: IterableClient, watch: Watch) -> None:
        self._client, self._watch = client, watch
        self._mover = Mover(client, watch)

    def send(self, piece: Piece) -> Reply:
        """Go on with the user's turn, if the watch lets it: what is to follow is in the reply."""
        (user,) = piece.users
        reply = Reply()
        gate = self._watch.gate(piece)
        if gate is Gate.HELD:
            reply.held.append(piece)
        elif gate is Gate.STOPPED:
            reply.outcomes.append(with_profile_result(user, NOT_SENT))
        elif user.move is not None:
            self._mover.send(piece, user.move, reply)
        else:
            self._next_of_turn(piece, user, reply)
        return reply

    def _next_of_turn(self, piece: Piece, user: OwedUser, reply: Reply) -> None:
        """A user's turn: the profile, and once that is accepted each event, oldest first."""
        began = self._watch.now()
        if user.profile is not None:
            result = self._client.update_user(**_arguments(user.profile))
        else:
            result = self._client.track_event(**_arguments(user.events[0].body))
        advice = self._watch.ended(piece, result, began)
        reply.calls.append(result)
        if result.verdict is Verdict.THROTTLED:
            reply.throttled.append(piece)
        elif user.profile is None:
            reply.settle_events(piece, user, [outcome_of(result)], advice)
        elif rest := reply.settle_profile(user, _naming_both(outcome_of(result), user.profile)):
            reply.pieces.append(piece._replace(users=(rest,), tried=True))


_PARAMETERS: Final = {"userId": "user_id", "eventName": "event_name", "dataFields": "data_fields"}


def _arguments(body: str) -> dict[str, Any]:
    """A stored body as the arguments of the call that sends it; it is sent letter for letter as it was stored."""
    return {"email": None, **{_PARAMETERS.get(name, name): value for name, value in json.loads(body).items()}}


def _naming_both(result: PayloadResult, body: str) -> PayloadResult:
    """A rejection over a name says which names the profile has."""
    return result._replace(reason=f"{result.reason}, {names_in(body)}") if result.over_a_name else result
