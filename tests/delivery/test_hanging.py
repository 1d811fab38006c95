"""A signal while an answer hangs: everybody is counted once, and what was answered is on record."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tests import faults as catalogue
from tests.harness import World, counts
from tests.process import wait_until
from tests.sample_rows import people
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault

SIGTERM = 128 + signal.SIGTERM


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    """What a hanging answer waits for; at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


class HangsAt:
    """An Iterable that is silent from its n-th request on, which the run is interrupted at."""

    def __init__(self, number: int, let_go: threading.Event) -> None:
        self.number, self.let_go = number, let_go
        self.seen = 0
        self._lock = threading.Lock()

    def __call__(self, _request: Request) -> Fault | None:
        """Hang, if it is time."""
        with self._lock:
            self.seen += 1
            seen = self.seen
        if seen == self.number:
            os.kill(os.getpid(), signal.SIGTERM)
        if seen < self.number:
            return None
        self.let_go.wait(10)
        return catalogue.NO_ANSWER


@pytest.mark.parametrize("environ", [{"WORKERS": "1"}, {"WORKERS": "4"}, {"ITERABLE_BULK": "true"}], ids=str)
@pytest.mark.parametrize("users", [1, 21])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 9])
def test_everybody_is_counted_once(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    let_go: threading.Event,
    environ: dict[str, str],
    users: int,
    number: int,
) -> None:
    """Whichever request hangs: profiles and events that were answered are delivered, and no others; the rest failed."""
    monkeypatch.setattr("sync.run.signals.GRACE", 0.2)
    world.environ |= environ
    world.rows = people(users)
    hangs = world.iterable.faults = HangsAt(number, let_go)
    summary = world.run()
    taken = len(world.profiles), len(world.events)
    let_go.set()

    assert summary.exit_code == (SIGTERM if hangs.seen >= number else 0)
    assert [sum(told) for told in counts(summary)] == [users, users]
    assert (summary.users.delivered, summary.events.delivered) == taken
    assert (summary.users.failed, summary.events.failed) == (users - taken[0], users - taken[1])
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("worker-")])

    world.iterable.faults = None
    again = world.run()
    assert (again.exit_code, counts(again)[0][:2]) == (0, (users - taken[0], taken[0]))
    assert {event["writes"] for event in world.events} == {1}


def test_who_was_not_begun_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, let_go: threading.Event
) -> None:
    """Of the users that no worker has begun no request was made: the log names nobody else than the one that hangs."""
    monkeypatch.setattr("sync.run.signals.GRACE", 0.2)
    world.rows = people(5)
    world.iterable.faults = HangsAt(3, let_go)
    world.run()
    let_go.set()

    named = [record.getMessage() for record in caplog.records if record.getMessage().startswith("no answer within")]
    assert len(named) == 1
    assert "email=user2@example.com" in named[0]
