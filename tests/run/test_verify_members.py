"""--verify of those who are not in the result: who has left the segment, and who has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.run import differences as module
from sync.run.exit_codes import ExitCode
from tests.harness import World, people, person


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

    assert compared(world, capsys) == (ExitCode.DONE, "1 of 1 users are at Iterable as in the database")


def test_who_was_never_delivered(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A row that was rejected and has left is nobody of whom Iterable could say something."""
    world.rows = people(12)

    assert compared(world, capsys) == (ExitCode.DONE, "12 of 12 users are at Iterable as in the database")
