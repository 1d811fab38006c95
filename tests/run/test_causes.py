"""Every exit code that is not 0 has its cause in the JSON summary and in the log; the bar counts all who are served."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import main
from sync.run.exit_codes import ExitCode
from sync.run.settings import Options
from sync.run.steps import Run, Screen
from tests.harness import World
from tests.sample_rows import people


@pytest.fixture
def emptied(world: World) -> World:
    """A segment of twelve, of whom eleven are no longer in the result."""
    world.rows = people(12)
    assert world.run().exit_code == ExitCode.DONE
    world.rows = people(1)
    return world


def test_held_back_exit_is_told(emptied: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A mass exit that is held back is the cause of exit code 3: in `--json`, in the last log line."""
    assert emptied.main("--json") == ExitCode.INCOMPLETE

    told = json.loads(capsys.readouterr().out)
    assert told["stopped_because"] is None
    assert told["held_back"].startswith("11 of the 12 users in the segment would leave it in one run")
    assert "held_back='11 of the 12 users" in emptied.log().splitlines()[-1]


def test_nothing_held_back_is_null(emptied: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is always there."""
    assert emptied.main("--json", "--allow-mass-exit") == ExitCode.DONE

    assert json.loads(capsys.readouterr().out)["held_back"] is None


def test_bar_counts_those_who_leave(emptied: World) -> None:
    """The bar's total is everybody who is served, those who leave too, and it is reached."""
    totals: list[int] = []
    served: list[int] = []

    class Watching(Screen):
        @contextmanager
        def counting(self, what: str, total: int | None = None) -> Iterator[Callable[[int], object]]:
            totals.append(total or 0)
            yield served.append if what == "users" else lambda _count: None

    switches = Options(allow_mass_exit=True)
    main.run(Run(emptied.settings, switches, Watching(), source=emptied.source))

    assert totals == [0, 0, 11]
    assert sum(served) == 11
