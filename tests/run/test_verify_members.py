"""--verify of those who are not in the result: who has left the segment, and who has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.run import verify as module
from sync.run.exit_codes import ExitCode
from tests.harness import World
from tests.sample_rows import people, person
from tests.stand_in.faults import UNAVAILABLE


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Twelve users, and a row without a usable address."""
    made = World(tmp_path, monkeypatch)
    monkeypatch.setattr(module, "VISIBLE_AFTER", 0.0)
    monkeypatch.setattr(module, "make_client", made.client)
    made.rows = [*people(12), person(13, email="nobody")]
    made.run()
    return made


def compared(world: World, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a verify, and its last line."""
    capsys.readouterr()
    code = world.main("--verify", "all")
    return code, capsys.readouterr().out.splitlines()[-1]


def test_members_whose_exit_is_held_back(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """They are in the segment still, and nobody has to be told anything of them."""
    world.rows = people(1)
    assert world.run().held_back

    assert compared(world, capsys) == (ExitCode.DONE, "1 of 1 users are the same at Iterable and in the database")


def test_who_was_never_delivered(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A row that was rejected and has left is nobody of whom Iterable could say something."""
    world.rows = people(12)

    assert compared(world, capsys) == (ExitCode.DONE, "12 of 12 users are the same at Iterable and in the database")


def test_who_has_something_pending_is_not_compared(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A new event could not be sent: its user is counted apart, with all that Iterable has of it."""
    world.rows = [*people(12), person(1, page="further")]
    world.iterable.faults = lambda _request: UNAVAILABLE
    world.run()
    world.iterable.faults = None
    code, line = compared(world, capsys)

    assert (code, line.split(" users")[0]) == (ExitCode.DONE, "11 of 11")


def test_an_exit_that_was_rejected_is_not_compared(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Iterable refused to be told: what it has is no difference that another run could mend."""
    world.iterable.project.rules.forgotten.add("user12@example.com")
    world.rows = people(11)
    assert world.run().exit_code == ExitCode.INCOMPLETE
    world.iterable.project.rules.forgotten.clear()
    code, line = compared(world, capsys)

    assert (code, line.split(" users")[0]) == (ExitCode.DONE, "11 of 11")


def test_who_was_known_by_another_name(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Users are identified by ids now: what is on record of their addresses says nothing of them."""
    world.environ |= {"USER_ID_COLUMN": "id"}
    world.rows = people(12)
    world.run(new_event_ids=True)
    code, line = compared(world, capsys)

    assert (code, line.split(" users")[0]) == (ExitCode.DONE, "12 of 12")
