"""One user's turn: the address change, if there is one, then the profile, and once that is accepted each event."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from iterable_client import IterableClient
from sync.delivery.address_change import change_address
from sync.delivery.work import Turn


def take_turn(turn: Turn, client: IterableClient) -> None:
    """Serve one user: the address change, then the profile, and once that is accepted each event, oldest first.

    Each answer is handed on as it comes. Raises Ended when the turn goes no further; what is left is in `turn`.
    """
    user = turn.user
    if user.move is not None:
        change_address(turn, client, user.move)
    if user.profile is not None:
        turn.ask()
        turn.answered(client.update_user(**_arguments(user.profile)))
    for event in user.events:
        turn.ask()
        turn.answered(client.track_event(**_arguments(event.body)))


_PARAMETERS: Final = {"userId": "user_id", "eventName": "event_name", "dataFields": "data_fields"}


def _arguments(body: str) -> dict[str, Any]:
    """A stored body as the arguments of the call that sends it; it is sent letter for letter as it was stored."""
    return {"email": None, **{_PARAMETERS.get(name, name): value for name, value in json.loads(body).items()}}


class Way(NamedTuple):
    """How users are served: how many in one piece of work, and how many of their events are in memory at a time."""

    take_turn: Callable[[Turn, IterableClient], None]
    users: int
    events: int


ONE_BY_ONE: Final = Way(take_turn, users=1, events=25)
