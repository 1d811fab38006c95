"""Leaving the segment, and settings that change what a profile holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.harness import TRACK, UPDATE, World, counts
from tests.sample_rows import address, people, person
from tests.stand_in.faults import Fault, Faults


def always(fault: Fault) -> Faults:
    """Every request ends like this."""
    return lambda _: fault


def test_leaving_the_segment(world: World) -> None:
    """A user who left the result gets the field false, once, and is counted; a return makes it true again."""
    world.rows = people(5)
    world.run()
    world.rows = people(4)
    summary = world.run()
    assert (summary.left_segment, summary.requests, summary.exit_code) == (1, 1, ExitCode.DONE)
    assert world.profiles[address(5)]["recent_page_view"] is False
    assert world.profiles[address(5)]["first_name"] == "Name 5"

    assert world.run().requests == 0
    world.rows = people(5)
    assert world.run().requests == 1
    assert world.profiles[address(5)]["recent_page_view"] is True


@pytest.mark.parametrize("switches", [{"limit": 9}, {"since": timedelta(days=1)}], ids=["--limit", "--since"])
def test_nobody_leaves_in_a_run_that_sees_a_part(world: World, switches: dict[str, Any]) -> None:
    """--limit and --since read a part: who is missing there has not left."""
    world.rows = people(5)
    world.run()
    world.rows = people(4)

    assert (world.run(**switches).requests, world.profiles[address(5)]["recent_page_view"]) == (0, True)


def test_nobody_leaves_in_a_stopped_run(world: World) -> None:
    """A run that was stopped sends no exits; the next complete one does."""
    world.rows = people(5)
    world.run()
    world.rows = [person(number, first_name="New") for number in range(1, 5)]
    world.iterable.faults = always(catalogue.BAD_API_KEY)
    assert world.run().exit_code == ExitCode.STOPPED
    assert world.profiles[address(5)]["recent_page_view"] is True

    world.iterable.faults = None
    assert world.run().left_segment == 1


def test_mass_exit(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty table upstream: nobody leaves, exit 3 with the numbers and the option, which then lets it through."""
    world.rows = people(12)
    world.run()
    world.rows = []

    assert world.main() == ExitCode.INCOMPLETE
    told = capsys.readouterr()
    assert "12 of the 12 users" in told.err
    assert "--allow-mass-exit" in told.err
    assert world.sent == []
    assert "WARNING - Mass exit held back: 12 of the 12" in world.log()

    assert world.main("--allow-mass-exit") == ExitCode.DONE
    assert len(world.sent) == 12
    assert not any(data["recent_page_view"] for data in world.profiles.values())


def test_a_renamed_segment(world: World) -> None:
    """A changed SEGMENT_FIELD is warned about: the old field stays as it is at Iterable, nobody is told to leave."""
    world.rows = people(3)
    world.run()
    world.environ["SEGMENT_FIELD"] = "viewed"
    world.rows = people(2)
    summary = world.run()

    assert (summary.requests, summary.left_segment) == (2, 0)
    assert "SEGMENT_FIELD changed from recent_page_view to viewed" in world.log()
    assert world.profiles[address(3)] == {**world.profiles[address(3)], "recent_page_view": True}
    assert world.run().requests == 0
    world.rows = people(1)
    assert world.run().left_segment == 1
    assert world.profiles[address(2)]["viewed"] is False


def test_changed_fields(world: World) -> None:
    """A changed USER_FIELDS sends the profiles again; a changed EVENT_FIELDS the events, under the ids they had."""
    world.rows = people(3)
    world.run()
    ids = [event["id"] for event in world.events]
    world.environ["USER_FIELDS"] = "first_name"
    assert [path for path, _ in (world.run(), world.sent)[1]] == [UPDATE] * 3

    world.environ["EVENT_FIELDS"] = "page"
    world.run()
    assert [path for path, _ in world.sent] == [TRACK] * 3
    assert [event["id"] for event in world.events] == ids


def test_without_profiles_or_without_events(world: World) -> None:
    """An empty EVENT_NAME sends profiles alone, an empty USER_FIELDS events alone."""
    world.rows = people(2)
    world.environ["EVENT_NAME"] = ""
    assert counts(world.run()) == ((2, 0, 0, 0), (0, 0, 0, 0))

    world.environ.update(EVENT_NAME="page_view", USER_FIELDS="", SEGMENT_FIELD="")
    assert counts(world.run()) == ((0, 0, 0, 0), (2, 0, 0, 0))


def test_a_profile_that_was_sent_without_the_field(world: World) -> None:
    """A new user while the API is down, whose row leaves; a run without a segment sends the profile, and the field's
    next run tells Iterable that the user is in it.
    """
    world.rows = people(2)
    world.run()
    world.rows = people(3)
    world.iterable.faults = always(catalogue.UNAVAILABLE)
    world.run()
    world.iterable.faults = None
    world.rows = people(2)
    world.environ["SEGMENT_FIELD"] = ""
    world.run()
    assert "recent_page_view" not in world.profiles[address(3)]
    world.environ["SEGMENT_FIELD"] = "recent_page_view"
    world.rows = people(3)
    world.run()

    assert all(profile["recent_page_view"] for profile in world.profiles.values())
    assert world.run().requests == 0
