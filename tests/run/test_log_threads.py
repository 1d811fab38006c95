"""The log of many threads."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

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
