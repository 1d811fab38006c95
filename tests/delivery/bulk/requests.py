"""What the tests of bulk delivery ask: which items a request held, what was logged, for whom something is pending."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import faults as catalogue
from tests.harness import World
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, on

USERS, EVENTS = "/api/users/bulkUpdate", "/api/events/trackBulk"


TYPES = catalogue.TYPES_MISMATCHED


def bulk_world(folder: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> World:
    """An installation that delivers in bulk; the API is down only after more failures than a test makes."""
    return World(folder, monkeypatch, ITERABLE_BULK="true", **environ)


def items(request: Request) -> list[dict[str, Any]]:
    """The users or events of a bulk request."""
    (found,) = request.json().values()
    assert isinstance(found, list)
    return found


def whom(request: Request) -> list[str]:
    """The users of a bulk request, in its order."""
    return [item.get("email") or item["userId"] for item in items(request)]


def sent(world: World, path: str) -> list[list[str]]:
    """Whom each request to *path* was about."""
    return [whom(request) for request in world.iterable.requests if request.path == path]


def holding(who: str, fault: Fault, path: str = USERS) -> catalogue.Faults:
    """*fault* for each request that holds *who*."""
    return on(path, lambda request: fault if who in whom(request) else None)


def lines(world: World, *words: str) -> list[str]:
    """The log's lines with all these words."""
    return [line for line in world.log().splitlines() if all(word in line for word in words)]


def pending(world: World) -> set[str]:
    """For whom something is still pending."""
    rows = world.table("SELECT COALESCE(address, person) FROM pending WHERE state = 0 AND reason IS NULL")
    return {identity for (identity,) in rows}


def rejected(world: World) -> dict[str, str]:
    """Whose profile was rejected, and why."""
    query = "SELECT COALESCE(address, person), reason FROM pending WHERE moment IS NULL AND reason IS NOT NULL"
    return dict(world.table(query))
