"""The client and its pacer: every attempt waits its turn, and tells what it met."""

from __future__ import annotations

from sync.api.answers import Verdict
from sync.api.endpoints import USERS_UPDATE
from sync.api.pacing import Pace, Pacer
from tests import faults as catalogue
from tests.iterable_client.helpers import (
    ANN,
    Waits,
    client_of,
    update,
)
from tests.stand_in.faults import scripted
from tests.stand_in.stand_in import StandIn


class Recorder(Pace):
    """A pace that keeps what it was told; `starts` are the moments that it gives."""

    def __init__(self, interrupted: bool = False) -> None:
        super().__init__(500.0, Waits(interrupted=interrupted))
        self.interrupted = interrupted
        self.told: list[float | tuple[float, float]] = []

    def acquire(self) -> float | None:
        """The number of the start, unless interrupted."""
        self.told.append(float(len(self.told)))
        return None if self.interrupted else self.told[-1]  # type: ignore[return-value] # it was appended just now

    def throttled(self, started: float, retry_after: float = 0.0) -> None:
        """Keep it."""
        self.told.append((started, retry_after))


def paced_by(pace: Pace) -> Pacer:
    """A pacer that knows the one endpoint."""
    pacer = Pacer({}, Waits())
    pacer[USERS_UPDATE] = pace
    return pacer


def test_each_attempt_waits_its_turn_and_tells_of_a_429(iterable: StandIn) -> None:
    """Every attempt waits its turn; only a 429 says something about the quota, and about which start it was."""
    iterable.faults = scripted([catalogue.UNAVAILABLE, catalogue.rate_limited("7"), None, catalogue.BAD_PARAMS])
    pace = Recorder()
    client = client_of(iterable, pacer=paced_by(pace))
    update(client)
    update(client)

    assert pace.told == [0, 1, (1, 7.0), 3, 4]


def test_wait_that_stops_the_run_pauses_the_others_for_two_minutes(iterable: StandIn) -> None:
    """A Retry-After of days must not keep the other workers asleep for days."""
    iterable.faults = scripted([catalogue.rate_limited("86400")])
    pace = Recorder()

    assert update(client_of(iterable, pacer=paced_by(pace))).verdict is Verdict.WAIT_TOO_LONG
    assert pace.told == [0, (0, 120.0)]


def test_interrupted_while_waiting_for_its_turn(iterable: StandIn) -> None:
    """No turn, no request: the call is given up without an attempt."""
    result = update(client_of(iterable, pacer=paced_by(Recorder(interrupted=True))))

    assert (result.verdict, result.attempts, iterable.requests) == (Verdict.INTERRUPTED, 0, [])


def test_endpoints_that_the_pacer_does_not_know_are_not_paced(iterable: StandIn) -> None:
    """Only the endpoints with a ceiling wait; reading does not."""
    pace = Recorder()
    client = client_of(iterable, pacer=paced_by(pace))

    assert client.get("channels")[0]
    assert client.track_event(ANN, "page_view", {})[0]
    assert pace.told == []
