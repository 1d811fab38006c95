"""Users drawn at random from those not yet tried, to make sure that it is the API that fails and not its users."""

from __future__ import annotations

import random

from sync.delivery.waiting import Waiting
from sync.state.outbox import Outbox
from sync.state.owed import OwedUser


def draw(count: int, waiting: Waiting, outbox: Outbox, rng: random.Random) -> list[OwedUser]:
    """Take `count` users at most from those who wait; known failers only when there is nobody else.

    Users on the wire are not among them: who comes back untried is drawn the next time.
    """
    for failed_before in (False, True):
        here = waiting.untried(failed_before=failed_before)
        total = len(here) + outbox.count_unclaimed(failed_before=failed_before)
        chosen = rng.sample(range(total), min(count, total))
        drawn = [here[rank] for rank in chosen if rank < len(here)]
        waiting.take_out(drawn)
        ranks = [rank - len(here) for rank in chosen if rank >= len(here)]
        drawn += outbox.claim_drawn(ranks, len(ranks), failed_before=failed_before)
        if drawn:
            return drawn
    return []
