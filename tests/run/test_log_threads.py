"""The log of many threads: whoever is at it writes the lines of the others."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.run import log as logs
from sync.run.log import LineFormatter, start_logging, stop_logging


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Logging as it was before."""
    level = logging.getLogger().level
    yield
    stop_logging()
    logging.getLogger().setLevel(level)


def test_many_threads_lose_and_break_no_line(tmp_path: Path) -> None:
    """Each line is there once and whole, in the order of its thread, and what is logged last stands last."""
    path = tmp_path / "run.log"
    start_logging(path, "INFO", LineFormatter("r1"))

    def work(name: int) -> None:
        for number in range(200):
            logging.getLogger("worker").info("thread %d line %d", name, number)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logging.getLogger("main").info("Run finished")
    stop_logging()

    lines = path.read_text().splitlines()
    assert lines[-1].endswith("main - INFO - Run finished run=r1")
    found = [re.fullmatch(r".* worker - INFO - thread (\d+) line (\d+) run=r1", line) for line in lines[:-1]]
    told = [(int(match[1]), int(match[2])) for match in found if match]
    assert sorted(told) == [(name, number) for name in range(16) for number in range(200)]
    assert [number for name, number in told if name == 7] == list(range(200))


def test_a_signal_that_leaves_the_file_taken_silences_nobody(tmp_path: Path) -> None:
    """It may raise right after a line's turn was taken: what follows is written, and what others left at the end."""
    path = tmp_path / "run.log"
    file = start_logging(path, "INFO", LineFormatter("r1"))
    file._writing.acquire()  # and the signal raised
    other = threading.Thread(target=logging.getLogger("worker").info, args=("from a worker",))
    other.start()
    other.join()
    logging.getLogger("main").info("interrupted")
    logging.getLogger("main").info("Run finished")
    stop_logging()
    told = [line.split(" - ")[3] for line in path.read_text().splitlines()]
    assert told == ["from a worker run=r1", "interrupted run=r1", "Run finished run=r1"]
    assert file.failure == ""


def test_lines_do_not_pile_up_behind_one_that_is_not_written(tmp_path: Path) -> None:
    """A pipe that nobody reads: whoever comes when many lines wait, waits too."""
    file = start_logging(tmp_path / "run.log", "INFO", LineFormatter("r1"))
    told = 0

    def work() -> None:
        nonlocal told
        for _ in range(5 * logs.MOST_LINES):
            logging.getLogger("worker").info("x")
            told += 1

    with file._writing:
        other = threading.Thread(target=work)
        other.start()
        while told <= logs.MOST_LINES - 1:
            time.sleep(0.001)
        other.join(0.05)
        assert other.is_alive()
        assert len(file._lines) <= logs.MOST_LINES + 1
    other.join()
    stop_logging()
    assert told == 5 * logs.MOST_LINES


def test_the_end_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is still writing keeps the file open; that the log is not whole is told."""
    monkeypatch.setattr(logs, "LONGEST_WRITE", 0.01)
    file = start_logging(tmp_path / "run.log", "INFO", LineFormatter("r1"))
    taken, done = threading.Event(), threading.Event()

    def write() -> None:
        with file._writing:
            taken.set()
            done.wait(5)

    other = threading.Thread(target=write)
    other.start()
    taken.wait(5)
    stop_logging()
    assert "still being written" in file.failure
    done.set()
    other.join()
    file.close()
