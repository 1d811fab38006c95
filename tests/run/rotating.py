"""A sync whose key, base URL or DESTINATION change, and what becomes of its state."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from sync.run.exit_codes import ExitCode
from sync.state.destinations import SyncName
from tests.harness import World

ROTATED, THIRD = "rotated-key-0123456789", "third-key-0123456789"
US, EU = "https://api.iterable.com", "https://api.eu.iterable.com"
BOTH_NAMES = {"USER_ID_COLUMN": "id", "IDENTIFY_BY": "email"}


def change(world: World, **environ: str) -> None:
    """Change settings; the project takes whatever key they hold."""
    world.environ |= environ
    world.iterable.project.rules.api_key = world.environ["ITERABLE_API_KEY"]


def project(key: str, url: str = US) -> str:
    """The name of a destination that DESTINATION has not named."""
    return SyncName("", url, key).project


def dump(world: World) -> list[str]:
    """All that the state holds."""
    with closing(sqlite3.connect(world.settings.state_file)) as state:
        return list(state.iterdump())


def refused(world: World, **switches: Any) -> str:
    """Why a run refuses; it sends nothing, writes no CSV and leaves no record."""
    before, files = dump(world), set(world.folder.glob("*.csv"))
    summary = world.run(**switches)
    assert (summary.exit_code, summary.requests) == (ExitCode.USAGE, 0)
    assert dump(world) == before
    assert set(world.folder.glob("*.csv")) == files
    return str(summary.stopped_because)
