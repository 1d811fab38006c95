"""From the first row to the last request, a person at a terminal sees that the program is at work."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import main
from sync.console.options import parse_options
from sync.console.screen import Terminal
from sync.run.steps import Run, Screen
from tests.console.test_screens import written
from tests.harness import KEY, PROJECT, World
from tests.sample_rows import people
from tests.stand_in.stand_in import StandIn


@pytest.mark.parametrize(("what", "words"), [("rows", "rows"), ("comparison", "comparing with what Iterable has")])
def test_what_is_shown(
    what: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The words are on standard error, and gone at the end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Terminal(parse_options([])).counting(what) as done:
        done(3)
    told = capsys.readouterr()

    assert told.out == ""
    assert words in told.err
    assert told.err.rpartition("\r")[2].strip() == ""


def test_every_row_is_counted(world: World) -> None:
    """Reading counts each row once, in groups, and has ended before the comparison, which comes before delivery."""
    seen: list[tuple[str, int]] = []

    class Watching(Screen):
        @contextmanager
        def counting(self, what: str, total: int | None = None) -> Iterator[Callable[[int], object]]:
            yield lambda count: seen.append((what, count))
            seen.append((f"{what} ended", total or 0))

    world.rows = people(250)
    main.run(Run(world.settings, screen=Watching(), source=world.source))

    assert seen[:5] == [("rows", 100), ("rows", 100), ("rows", 50), ("rows ended", 0), ("comparison ended", 0)]
    assert sum(count for what, count in seen if what == "users") == 250
    assert seen[-1] == ("users ended", 250)


def test_on_a_terminal(tmp_path: Path) -> None:
    """A run whose standard error is a terminal shows rows read, the comparison and the delivery, in this order."""
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"a terminal needs a /dev/pts, as a machine has and a bare root has not: {error}")
    termios.tcsetwinsize(theirs, (24, 100))
    with StandIn(api_key=KEY) as iterable:
        written(tmp_path, iterable, ["ada@example.com"])
        program = ["-m", "tests.program", str(tmp_path / "rows.json"), "--env-file", str(tmp_path / "env")]
        environ = {"PATH": os.environ["PATH"], "TERM": "dumb"}
        with subprocess.Popen(
            [sys.executable, *program], cwd=PROJECT, env=environ, stdout=theirs, stderr=theirs
        ) as run:
            os.close(theirs)
            text = _all_of(ours)

    assert run.returncode == 0
    assert re.search(r"read: .*rows.*comparing with what.*users.*DONE", text, re.DOTALL)


def _all_of(descriptor: int) -> str:
    text = b""
    try:
        while part := os.read(descriptor, 65536):
            text += part
    except OSError:  # the other side is closed
        pass
    os.close(descriptor)
    return text.decode()
