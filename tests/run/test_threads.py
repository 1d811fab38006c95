"""A run where the system starts few threads, or none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from tests.harness import World
from tests.sample_rows import people


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation."""
    return World(tmp_path, monkeypatch)


class Threads:
    """No more than `most` workers can be started."""

    def __init__(self, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most, self.started = most, 0
        self._start = threading.Thread.start
        monkeypatch.setattr(threading.Thread, "start", lambda thread: self.start(thread))

    def start(self, thread: threading.Thread) -> None:
        """As the interpreter refuses it."""
        if thread.name.startswith("worker-"):
            if self.started >= self.most:
                raise RuntimeError("can't start new thread")
            self.started += 1
        self._start(thread)


@pytest.mark.parametrize("most", [1, 5])
def test_fewer_threads(world: World, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Those that could be started do the work; the log says so."""
    threads = Threads(most, monkeypatch)
    world.environ["WORKERS"] = "8"
    world.rows = people(40)

    assert world.run().exit_code == ExitCode.DONE
    assert threads.started == most
    assert f"Only {most} of 8 workers can be started (can't start new thread): raise the limit" in world.log()
    assert len(world.profiles) == len(world.events) == 40


def test_no_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any the run stops and says what to do; everything is pending."""
    Threads(0, monkeypatch)
    world.rows = people(3)
    summary = world.run()

    assert summary.exit_code == ExitCode.STOPPED
    assert summary.stopped_because == (
        "Only 0 of 3 workers can be started (can't start new thread): raise the limit (ulimit -u, TasksMax=, a "
        "container's pids limit, its memory), or lower WORKERS"
    )
