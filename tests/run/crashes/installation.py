"""An installation whose runs are processes that a test kills."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import main
from sync.rows.source import Row
from sync.run.settings import load_settings
from sync.run.steps import Run
from tests.harness import KEY, environment, identity
from tests.process import start, started
from tests.sample_rows import Rows, address, people
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault
from tests.stand_in.stand_in import StandIn


class Installation:
    """A folder with settings, rows for the program, and the Iterable that it speaks to."""

    def __init__(self, folder: Path, iterable: StandIn, **environ: str) -> None:
        self.folder, self.iterable = folder, iterable
        self.rows: list[Row] | None = people(6)
        self.environ = {
            **environment(folder),
            "ITERABLE_API_KEY": KEY,
            "ITERABLE_API_BASE_URL": iterable.url,
            "WORKERS": "1",
            **environ,
        }

    def start(self, *flags: str, **options: Any) -> subprocess.Popen[str]:
        """Start a run."""
        return start(self.folder, self.environ, *flags, rows=self.rows, **options)

    def started(self, *flags: str) -> Any:
        """Start a run that is killed with the block."""
        return started(self.folder, self.environ, *flags, rows=self.rows)

    def run(self, *flags: str, **options: Any) -> tuple[int, str, str]:
        """A run to its end: exit code, standard output, standard error."""
        with self.start(*flags, **options) as process:
            out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def summary(self) -> dict[str, Any]:
        """The summary of a run that nobody disturbs, in this process."""
        source = None if self.rows is None else partial(Rows, self.rows)
        return main.run(Run(load_settings(Path(os.devnull), self.environ), source=source)).as_json()

    def table(self, query: str) -> list[tuple[Any, ...]]:
        """What the state says."""
        with closing(sqlite3.connect(self.folder / "state.sqlite3")) as state:
            return state.execute(query).fetchall()

    def log(self) -> str:
        """The log so far."""
        path = self.folder / "run.log"
        return path.read_text("utf-8") if path.exists() else ""


def strike(
    place: Installation, at: Callable[[Request], bool], number: signal.Signals, fault: Fault | None = None
) -> subprocess.Popen[str]:
    """A run that gets the signal when the first request that fits `at` arrives; that request ends in `fault`."""
    struck: list[subprocess.Popen[str]] = []

    def faults(request: Request) -> Fault | None:
        if waiting and at(request):
            struck.append(waiting.pop())
            struck[0].send_signal(number)
            if number is signal.SIGKILL:
                struck[0].wait()
            return fault
        return None

    waiting: list[subprocess.Popen[str]] = []
    place.iterable.faults = faults
    process = place.start()
    waiting.append(process)
    with process:
        process.communicate(timeout=30)
    place.iterable.faults = None
    assert struck, "the request did not come"
    return process


def about(number: int, path: str) -> Callable[[Request], bool]:
    """Requests to *path* about this user."""
    return lambda request: request.path == path and identity(request) == address(number)
