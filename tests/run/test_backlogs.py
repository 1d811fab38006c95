"""What stays pending: after a switch, after a stop, and when its row has left the result."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from sync.state.outbox import Outbox
from tests import faults as catalogue
from tests.harness import TRACK, UPDATE, World, about, counts, identity
from tests.sample_rows import address, people, person
from tests.stand_in.faults import Fault, scripted

DOWN = catalogue.UNAVAILABLE


class Died(BaseException):
    """The process ended here."""


def segments_sent(world: World) -> dict[str, list[Any]]:
    """What the last run said of the segment, by user and in order."""
    said: dict[str, list[Any]] = {}
    for request in world.iterable.requests:
        if request.path == UPDATE:
            said.setdefault(identity(request), []).append(request.json()["dataFields"].get("recent_page_view"))
    return said


@pytest.mark.parametrize("kind", ["profile", "event"])
def test_retry_rejected_that_fails_stays_pending(world: World, kind: str) -> None:
    """What --retry-rejected took up and could not deliver is pending for the next plain run."""
    world.rows = people(2)
    rules = world.iterable.project.rules
    spoiled, name = (rules.forgotten, address(2)) if kind == "profile" else (rules.disallowed_events, "page_view")
    spoiled.add(name)
    assert world.run().exit_code == ExitCode.INCOMPLETE
    spoiled.clear()
    assert world.run().requests == 0
    world.iterable.faults = about(address(2), DOWN)
    failed = world.run(retry_rejected=True)
    assert (failed.exit_code, failed.events.failed) == (ExitCode.INCOMPLETE, 1)

    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE
    assert world.sent == [(UPDATE, address(2)), (TRACK, address(2))][kind == "event" :]
    assert (len(world.profiles), len(world.events)) == (2, 2)


@pytest.mark.parametrize("well", [0, 4], ids=["before anybody", "after two users"])
def test_full_that_was_stopped_stays_pending(world: World, well: int) -> None:
    """Whom a stopped --full did not reach the next plain run sends, the rejected among them; nobody else."""
    world.rows = people(8)
    world.iterable.project.rules.forgotten.add(address(7))
    world.run()
    world.iterable.project.rules.forgotten.clear()
    world.iterable.faults = scripted([None] * well + [catalogue.BAD_API_KEY] * 20)
    assert world.run(full=True).exit_code == ExitCode.STOPPED

    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE
    reached = well // 2
    assert world.sent == [(path, address(n)) for n in range(reached + 1, 9) for path in (UPDATE, TRACK)]
    assert world.run().requests == 0


def test_a_rejection_does_not_settle_the_segment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent with the segment true and the process died; then the changed row is rejected, which applies nothing: the
    user may be in the segment still, and the exit is pending when the row has left the result.
    """
    world.rows = people(2)
    world.run()
    world.rows = people(3)

    def died(*_: object) -> None:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(Outbox, "record", died)
        with pytest.raises(Died):
            world.run()
    assert world.profiles[address(3)]["recent_page_view"] is True

    world.rows = [*people(2), person(3, first_name="New")]
    world.iterable.project.rules.forgotten.add(address(3))
    assert counts(world.run())[0] == (0, 2, 1, 0)
    world.iterable.project.rules.forgotten.clear()
    world.rows = people(2)
    assert world.run().left_segment == 1
    assert world.profiles[address(3)]["recent_page_view"] is False
    assert world.run().requests == 0


CARRIED = pytest.mark.parametrize(
    "fault", [catalogue.BAD_API_KEY, DOWN, catalogue.LOST_ANSWER], ids=["never taken", "refused", "taken and not told"]
)


@CARRIED
def test_a_backlog_whose_row_has_left(world: World, capsys: pytest.CaptureFixture[str], fault: Fault) -> None:
    """What is still pending for a user who has left the result goes out with the segment false, once, with the events;
    the dry run says the same.
    """
    world.rows = people(3)
    world.iterable.faults = lambda _: fault
    stopped = world.run()
    assert stopped.users.failed == 3
    world.iterable.faults = None
    world.rows = [person(3)]
    assert world.main("--dry-run") == ExitCode.DONE
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    summary = world.run()

    assert segments_sent(world) == {address(1): [False], address(2): [False], address(3): [True]}
    assert sorted(world.sent) == sorted((path, address(n)) for n in (1, 2, 3) for path in (UPDATE, TRACK))
    assert sorted((line["path"], line["body"]["email"]) for line in printed) == sorted(world.sent)
    assert {line["body"]["email"]: line["body"]["dataFields"]["recent_page_view"] for line in printed[::2]} == {
        who: said[0] for who, said in segments_sent(world).items()
    }
    assert summary.users.delivered + summary.left_segment == 3
    assert (summary.exit_code, summary.events.delivered, len(world.events)) == (ExitCode.DONE, 3, 3)
    assert [world.profiles[address(n)]["first_name"] for n in (1, 2, 3)] == ["Name 1", "Name 2", "Name 3"]
    assert world.run().requests == 0


@CARRIED
def test_a_backlog_whose_row_comes_back(world: World, fault: Fault) -> None:
    """A row that is there again is told as true, like any other."""
    world.rows = people(2)
    world.iterable.faults = lambda _: fault
    world.run()
    world.iterable.faults = None
    world.rows = [person(2)]
    world.run()
    world.rows = people(2)
    world.run()

    assert world.sent == [(UPDATE, address(1))]
    assert world.profiles[address(1)]["recent_page_view"] is True


@CARRIED
def test_a_backlog_while_a_mass_exit_is_held_back(world: World, fault: Fault) -> None:
    """Held back, nobody is told that these users are in the segment; allowed, they are told that they are not."""
    world.rows = people(12)
    world.run()
    world.rows = people(15)
    world.iterable.faults = lambda request: fault if identity(request) in map(address, (13, 14, 15)) else None
    world.run()
    before = {number: world.profiles.get(address(number)) for number in (13, 14, 15)}
    world.iterable.faults = None
    world.rows = [person(1)]
    held = world.run()
    assert (held.exit_code, bool(held.held_back)) == (ExitCode.INCOMPLETE, True)
    assert True not in [said for told in segments_sent(world).values() for said in told]
    assert {number: world.profiles.get(address(number)) for number in (13, 14, 15)} == before

    allowed = world.run(allow_mass_exit=True)
    assert (allowed.exit_code, allowed.users.delivered + allowed.left_segment) == (ExitCode.DONE, 14)
    assert segments_sent(world) == {address(number): [False] for number in range(2, 16)}
    assert len(world.events) == 15


def test_a_backlog_and_a_renamed_segment(world: World) -> None:
    """A backlog from before SEGMENT_FIELD changed says nothing of the old field, and false for the new one."""
    world.rows = people(2)
    world.iterable.faults = lambda _: catalogue.BAD_API_KEY
    world.run()
    world.iterable.faults = None
    world.rows = [person(2)]
    world.environ |= {"SEGMENT_FIELD": "viewed"}
    world.run()

    assert world.profiles[address(1)]["viewed"] is False
    assert "recent_page_view" not in world.profiles[address(1)]
