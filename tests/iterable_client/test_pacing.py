"""The client and its pacer: every attempt waits its turn, and tells what it met."""

from __future__ import annotations

from sync.api.answers import Verdict
from sync.api.endpoints import USERS_UPDATE
from sync.api.pacing import Pacer, Ticket
from tests import faults as catalogue
from tests.iterable_client.helpers import (
    ANN,
    Waits,
    client_of,
    update,
)
from tests.stand_in.faults import scripted
from tests.stand_in.stand_in import StandIn


class Recorder(Pacer):
    """A pacer that keeps what it was told."""

    def __init__(self, interrupted: bool = False) -> None:
        super().__init__({USERS_UPDATE: 500.0}, Waits(interrupted=interrupted))
        self.interrupted = interrupted
        self.told: list[tuple[str, str] | tuple[str, str, float]] = []

    def acquire(self, endpoint: str) -> Ticket | None:
        """A ticket, unless interrupted."""
        self.told.append(("take", endpoint))
        return None if self.interrupted else super().acquire(endpoint)

    def throttled(self, endpoint: str, ticket: Ticket, retry_after: float) -> None:  # noqa: ARG002 - Pacer's names
        """Keep it."""
        self.told.append(("429", endpoint, retry_after))

    def accepted(self, endpoint: str, ticket: Ticket) -> None:  # noqa: ARG002 - Pacer's names
        """Keep it."""
        self.told.append(("200", endpoint))


def test_each_attempt_takes_a_ticket_and_tells_the_pacer(iterable: StandIn) -> None:
    """Every attempt waits its turn; only a 429 and an acceptance say something about the quota."""
    iterable.faults = scripted([catalogue.rate_limited("7"), catalogue.UNAVAILABLE, None, catalogue.BAD_PARAMS])
    pacer = Recorder()
    client = client_of(iterable, pacer=pacer)
    update(client)
    update(client)

    take = ("take", USERS_UPDATE)
    assert pacer.told == [take, ("429", USERS_UPDATE, 7.0), take, take, ("200", USERS_UPDATE), take]


def test_wait_that_stops_the_run_pauses_the_others_for_two_minutes(iterable: StandIn) -> None:
    """A Retry-After of days must not keep the other workers asleep for days."""
    iterable.faults = scripted([catalogue.rate_limited("86400")])
    pacer = Recorder()

    assert update(client_of(iterable, pacer=pacer)).verdict is Verdict.WAIT_TOO_LONG
    assert pacer.told[-1] == ("429", USERS_UPDATE, 120.0)


def test_interrupted_while_waiting_for_its_turn(iterable: StandIn) -> None:
    """No ticket, no request: the call is given up without an attempt."""
    result = update(client_of(iterable, pacer=Recorder(interrupted=True)))

    assert (result.verdict, result.attempts, iterable.requests) == (Verdict.INTERRUPTED, 0, [])


def test_endpoints_that_the_pacer_does_not_know_are_not_paced(iterable: StandIn) -> None:
    """Only the endpoints with a ceiling wait; reading does not."""
    pacer = Recorder()
    client = client_of(iterable, pacer=pacer)

    assert client.get("channels")[0]
    assert client.track_event(ANN, "page_view", {})[0]
    assert pacer.told == []
