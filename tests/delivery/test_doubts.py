"""What was sent and never answered is in doubt, whatever stood in the way of the answer: the quota, a signal, a bug."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import pytest

from sync.delivery.loop import Loop
from sync.delivery.work import Turn, Work
from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.harness import TRACK, UPDATE, World, asked
from tests.process import wait_until
from tests.sample_rows import address, people, person
from tests.stand_in.faults import scripted

SIGTERM = 128 + signal.SIGTERM


WAYS = pytest.mark.parametrize("bulk", [False, True], ids=["one by one", "bulk"])


@WAYS
@pytest.mark.parametrize("kind", ["profile", "event"])
def test_throttled_after_an_answer_was_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, bulk: bool
) -> None:
    """A is held, B is applied and its answer lost, then 429 and back into the queue, and a signal stops the run while
    the user waits there: who goes back to A is not unchanged, but sent again.
    """
    world.environ["ITERABLE_BULK"] = str(bulk).lower()
    world.rows = people(3)
    world.run()
    column = {"profile": "first_name", "event": "browser"}[kind]
    world.rows[0] = person(1, **{column: "B"})
    world.iterable.faults = scripted([catalogue.LOST_ANSWER, catalogue.RATE_LIMITED, catalogue.RATE_LIMITED])
    _stop_while_queued(monkeypatch)
    stopped = world.run()
    assert (stopped.exit_code, len(world.iterable.requests)) == (SIGTERM, 3)
    assert _held_of(world, kind, column) == "B"

    world.iterable.faults = None
    world.rows = people(3)
    assert world.run().exit_code == ExitCode.DONE
    assert asked(world) == {(UPDATE if kind == "profile" else TRACK, address(1))}
    assert _held_of(world, kind, column) == person(1)[column]


def _stop_while_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next user who has to wait for the quota goes back into the queue just as the run gets a signal."""
    wait_for_quota = Loop._wait_for_quota

    def struck(self: Loop, works: Sequence[Work]) -> None:
        monkeypatch.setattr(Loop, "_wait_for_quota", wait_for_quota)
        wait_for_quota(self, works)
        signal.raise_signal(signal.SIGTERM)
        wait_until(self._stop.is_set)

    monkeypatch.setattr(Loop, "_wait_for_quota", struck)


def _held_of(world: World, kind: str, column: str) -> Any:
    """What Iterable holds in this field of user 1, or of the user's event."""
    if kind == "profile":
        return world.profiles[address(1)][column]
    (event,) = (event for event in world.events if event["email"] == address(1))
    return event["dataFields"][column]


@WAYS
@pytest.mark.parametrize("kind", ["profile", "event"])
def test_a_bug_after_the_request(world: World, monkeypatch: pytest.MonkeyPatch, kind: str, bulk: bool) -> None:
    """An unexpected error once Iterable has the request leaves the user in doubt: back to A is sent again."""
    world.environ["ITERABLE_BULK"] = str(bulk).lower()
    world.rows = people(3)
    world.run()
    with monkeypatch.context() as patch:
        _break_after_sending(patch, kind)
        world.rows[0] = person(1, first_name="B", browser="B")
        assert world.run().exit_code == ExitCode.STOPPED
    held = [_held_of(world, "profile", "first_name"), _held_of(world, "event", "browser")]
    assert held == ["B", "B" if kind == "event" else "Firefox"]

    world.rows = people(3)
    assert world.run().exit_code == ExitCode.DONE
    assert asked(world) == {(UPDATE, address(1)), (TRACK, address(1))}
    assert [_held_of(world, "profile", "first_name"), _held_of(world, "event", "browser")] == ["Name 1", "Firefox"]


def _break_after_sending(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A turn sends a profile or an event, and fails before it can say what came of it."""
    settled = Turn.settled

    def broken_off(self: Turn, *what: Any) -> None:
        if (self.user.profile is None) == (kind == "event"):
            raise RuntimeError("after the request")
        settled(self, *what)

    monkeypatch.setattr(Turn, "settled", broken_off)


def broken(*_: object, **__: object) -> Any:
    """What nobody foresaw."""
    raise ZeroDivisionError("nobody foresaw it")


@WAYS
def test_grep_finds_a_bug_and_its_user(world: World, monkeypatch: pytest.MonkeyPatch, bulk: bool) -> None:
    """`grep "Unexpected error"` gives the one line with the user and the traceback."""
    world.environ["ITERABLE_BULK"] = str(bulk).lower()
    world.rows = people(3)
    monkeypatch.setattr("sync.delivery.bulk.next_batch" if bulk else "sync.delivery.turn._arguments", broken)
    world.run()

    (line,) = [line for line in world.log().splitlines() if "Unexpected error" in line]
    assert f" email={address(1)}" in line
    assert "Traceback" in line and "ZeroDivisionError: nobody foresaw it" in line
