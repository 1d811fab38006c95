"""A run as a process of its own, as cron would start it."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from db import MySQLParams
from sync.rows.source import Row
from tests.harness import PROJECT, write_env


def start(
    folder: Path, environ: Mapping[str, str], *flags: str, rows: Sequence[Row] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start a run as cron would; with *rows* instead of a database if they are given."""
    program = [str(PROJECT / "main.py")]
    if rows is not None:
        path = folder / "rows.json"
        path.write_text(json.dumps(rows, default=str), encoding="utf-8")
        program = ["-m", "tests.program", str(path)]
    return subprocess.Popen(
        [sys.executable, *program, "--env-file", str(write_env(folder, environ)), *flags],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@contextmanager
def started(*args: Any, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """As `start`, and killed at the end of the block if it still runs."""
    with start(*args, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def without_privilege() -> None:
    """Let file modes count for root, too: drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH before the program starts."""
    for capability in (1, 2) if os.geteuid() == 0 else ():
        assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0


def wait_until(what: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def params_environ(params: MySQLParams) -> dict[str, str]:
    """The settings that lead to a database."""
    return {
        "DB_HOST": params.host,
        "DB_PORT": str(params.port),
        "DB_USER": params.user,
        "DB_PASSWORD": params.password,
        "DB_NAME": params.database,
    }
