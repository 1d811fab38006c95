"""A signal ends a run wherever it is: in a long statement, while the result is compared, in the middle of a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sync.delivery.stop import Stop
from sync.run.signals import Interrupted, Interruption
from sync.state.backlog import Backlog
from sync.state.file import State, StateError
from tests import faults as catalogue
from tests.harness import PROJECT, World, about, counts
from tests.sample_rows import address, people, person

DOWN = catalogue.UNAVAILABLE


SIGTERM = 128 + signal.SIGTERM


Way = Callable[[pytest.MonkeyPatch], Callable[..., None]]


def _raised(_: pytest.MonkeyPatch) -> Callable[..., None]:
    """What a handler does."""

    def interrupted(*_: object) -> None:
        raise Interrupted(signal.SIGTERM)

    return interrupted


def _struck(_: pytest.MonkeyPatch) -> Callable[..., None]:
    """A real signal."""
    return lambda *_: signal.raise_signal(signal.SIGTERM)


COUNTING = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n{}) SELECT MAX(x) FROM n"


def _signal_soon() -> None:
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()


def test_a_signal_ends_a_long_statement(tmp_path: Path) -> None:
    """A statement of the state's that would run for ever is ended by the signal, and what it did is taken back."""
    stop = Stop()
    with closing(State(tmp_path / "state.sqlite3")) as state:
        state.hear_signals()
        interruption = Interruption(stop)
        with interruption.listening(), pytest.raises((Interrupted, StateError)), state.transaction():
            state.db.execute("INSERT INTO run (id, started) VALUES ('half', '')")
            _signal_soon()
            state.db.execute(COUNTING.format(""))
        assert interruption.signum == signal.SIGTERM
        assert state.history(1) == []
        assert stop.wait(5) and stop.reason == "interrupted by SIGTERM"


def test_a_signal_in_a_long_statement_of_the_delivery(tmp_path: Path) -> None:
    """While requests are made, a statement of the state's goes on to its end, and who waits is woken before that."""
    stop = Stop()
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(stop.wait(30)))
    with closing(State(tmp_path / "state.sqlite3")) as state:
        state.hear_signals()
        state.db.create_function("woken", 0, lambda: len(woken))
        interruption = Interruption(stop)
        waiter.start()
        with interruption.listening(), interruption.delivering(), state.transaction():
            _signal_soon()
            (last,) = state.db.execute(COUNTING.format(" WHERE NOT woken() AND x < 20000000")).fetchone()
    assert last > 1
    assert (interruption.signum, woken) == (signal.SIGTERM, [True])


def test_a_signal_in_the_middle_of_a_stop() -> None:
    """A signal that comes while its own thread stops the run does not wait for what it interrupted: no deadlock."""
    program = (
        "import signal, sys; from sync.delivery.stop import Stop; from sync.run.signals import Interruption\n"
        "def strike(frame, event, _):\n"
        "    global left\n"
        "    if frame.f_code.co_filename.endswith('stop.py') and not frame.f_back.f_code.co_name == '_handle':\n"
        "        left -= event == 'line'\n"
        "        if left == 0: left = -1; sys.settrace(None); signal.raise_signal(signal.SIGTERM)\n"
        "        return strike\n"
        "for line in range(1, 9):\n"
        "    stop, left = Stop(), line; interruption = Interruption(stop)\n"
        "    with interruption.listening(), interruption.delivering():\n"
        "        sys.settrace(strike); stop.set('by a rule'); sys.settrace(None)\n"
        "    print(left, stop.wait(5), stop.wait(5), interruption.signum)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=10, check=False)
    lines = done.stdout.splitlines()
    assert lines.count("-1 True True 15") >= 6, (lines, done.stderr)  # the lines of `set`, each struck once
    assert all(" True True " in line for line in lines) and len(lines) == 8


def tables(world: World) -> Iterator[list[tuple[Any, ...]]]:
    """All that the state holds but the runs."""
    for table in ("sync", "known", "member", "pending"):
        yield world.table(f"SELECT * FROM {table} ORDER BY 1, 2, 3")


@pytest.mark.parametrize("way", [_raised, _struck], ids=["raised", "a real signal"])
@pytest.mark.parametrize("switches", [{}, {"full": True}, {"retry_rejected": True}], ids=["plain", "full", "retry"])
def test_a_signal_while_the_result_is_settled(
    world: World, monkeypatch: pytest.MonkeyPatch, way: Way, switches: dict[str, bool]
) -> None:
    """The result is settled whole or not at all: backlog, exits, rejections, a renamed segment wait."""
    world.rows = people(6)
    world.iterable.project.rules.forgotten.add(address(5))
    world.iterable.faults = about(address(4), DOWN)
    world.run()
    world.iterable.project.rules.forgotten.clear()
    world.iterable.faults = None
    before = list(tables(world))
    world.rows = [person(1, first_name="New"), person(2, email="nobody"), *people(9)[2:]]
    world.environ["SEGMENT_FIELD"] = "viewed"
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Backlog, "_count", way(interrupted))
        summary = world.run(**switches)

    assert (summary.exit_code, summary.requests, world.sent) == (SIGTERM, 0, [])
    assert "SIGTERM" in str(summary.stopped_because)
    assert list(tables(world)) == before
    assert json.loads(world.table("SELECT summary FROM run ORDER BY number DESC")[0][0])["exit_code"] == SIGTERM

    world.environ["SEGMENT_FIELD"] = "recent_page_view"
    assert counts(world.run())[0] == (5, 2, 2, 0)
    assert world.profiles[address(2)]["recent_page_view"] is False
