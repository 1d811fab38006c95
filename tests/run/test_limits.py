"""A run where the system lets it open few files at once."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from sync.run.limits import BESIDE, affordable
from tests.harness import World, people

Limit = tuple[int, int]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation."""
    return World(tmp_path, monkeypatch)


class System:
    """The limit of open files: `limit` is (soft, hard), -1 is none."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit

    def getrlimit(self, what: int) -> Limit:
        """The limit of now."""
        assert what == resource.RLIMIT_NOFILE
        return self.limit

    def setrlimit(self, what: int, limit: Limit) -> None:
        """As the system does it for somebody without privileges."""
        assert what == resource.RLIMIT_NOFILE
        if limit[1] != self.limit[1] or 0 <= limit[1] < limit[0]:
            raise ValueError("not allowed to raise maximum limit")
        self.limit = limit


@pytest.mark.parametrize(
    ("limit", "left", "fitting"),
    [
        ((1024, 4096), (1024, 4096), 128),
        ((64, 4096), (256 + BESIDE, 4096), 128),
        ((256, -1), (256 + BESIDE, -1), 128),
        ((64, 120), (120, 120), 40),
        ((64, 64), (64, 64), 12),
        ((20, 20), (20, 20), 1),
        ((-1, -1), (-1, -1), 128),
    ],
)
def test_workers_that_fit(monkeypatch: pytest.MonkeyPatch, limit: Limit, left: Limit, fitting: int) -> None:
    """The limit is raised as far as is needed and allowed; then there are as many workers as fit, at least one."""
    system = System(limit)
    monkeypatch.setattr(resource, "getrlimit", system.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", system.setrlimit)

    assert affordable(128) == fitting
    assert system.limit == left


def test_fewer_workers_are_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with fewer workers than wanted says so once, and delivers everything."""
    system = System((60, 60))
    monkeypatch.setattr(resource, "getrlimit", system.getrlimit)
    world.environ["WORKERS"] = "128"
    world.rows = people(30)

    assert world.run().exit_code == ExitCode.DONE
    assert world.log().count("10 of 128 WORKERS are started: raise the limit (ulimit -n") == 1
    assert len(world.events) == 30
