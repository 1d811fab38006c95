"""Who wakes late."""

from __future__ import annotations

from sync.api.pacing import Pacer
from tests.api.pacing.clock import UPDATE, Clock


def test_who_overslept_draws_a_new_start(clock: Clock) -> None:
    """After a stall of the machine those who wake late are spread again instead of starting together."""
    stalls = [0.5]

    def sleep(seconds: float) -> bool:
        clock.now += seconds + (stalls.pop() if stalls else 0.0)
        return False

    pacer = Pacer({UPDATE: 10.0}, sleep, clock)
    tickets = [pacer.acquire(UPDATE) for _ in range(3)]

    assert all(tickets)
    assert clock.now - max(ticket.start for ticket in tickets if ticket) <= 0.02
