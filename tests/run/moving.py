"""A sync that identifies users by addresses and knows their ids: rows, and what Iterable has of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.rows.source import Column, Kind, Row
from sync.run.exit_codes import ExitCode
from tests.harness import Wire, World
from tests.sample_rows import person
from tests.stand_in.answers import Request
from tests.stand_in.faults import UNAVAILABLE, Fault
from tests.stand_in.names import Owner, ProjectType
from tests.stand_in.rules import ProjectRules
from tests.stand_in.users import Profile

MOVE = "/api/users/updateEmail"
ANN, BOB, CAT, DAN = (f"{name}@example.com" for name in ("ann", "bob", "cat", "dan"))
BOTH_WAYS = pytest.fixture(params=[False, True], ids=["one by one", "bulk"])


def moving_world(folder: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> World:
    """A sync into an email-based project."""
    made = World(
        folder,
        monkeypatch,
        **{"USER_ID_COLUMN": "id", "IDENTIFY_BY": "email", "MOVE_SETTLE_SECONDS": "0", **environ},
    )
    made.iterable = Wire(ProjectRules(project_type=ProjectType.EMAIL))
    return made


def rows_of(*addresses: str | None) -> list[Row]:
    """User 1 with the first address, user 2 with the second, and so on."""
    return [person(number, email=name) for number, name in enumerate(addresses, start=1)]


def moves(world: World) -> list[tuple[str, str]]:
    """The moves of the last run, in order."""
    bodies = [request.json() for request in world.iterable.requests if request.path == MOVE]
    return [(body["currentEmail"], body["newEmail"]) for body in bodies]


def names(world: World) -> dict[str, str | None]:
    """Address -> user id, as Iterable has them."""
    owners = world.iterable.project.users.names.owners()
    return {str(owner.email): owner.user_id for owner in owners.values()}


def pages(world: World) -> dict[str, set[str]]:
    """Owner -> the ids of the events, as Iterable has them."""
    found: dict[str, set[str]] = {}
    for event, owner in world.iterable.project.owner_of.items():
        found.setdefault(owner, set()).add(event)
    return found


def members(world: World) -> set[str]:
    """Who is in the segment, by the state."""
    return {who for (who,) in world.table("SELECT address FROM member JOIN name USING (sync, person) WHERE state = 0")}


def a_stranger(world: World, address: str) -> None:
    """Somebody of whom this program knows nothing has the address at Iterable."""
    world.iterable.project.users.names.put(address, Owner(address, "77"))
    world.iterable.project.users.stored[address] = Profile({"first_name": "Stranger"}, 0.0, None)


def quiet(world: World) -> bool:
    """Whether another run sends nothing, and ends well."""
    return (world.run().exit_code, world.sent) == (ExitCode.DONE, [])


def lost(request: Request) -> Fault | None:
    """The project takes the move, and the answer is lost."""
    return UNAVAILABLE.applied() if request.path == MOVE else None


def as_text(column: Column) -> Column:
    """The id as a column of text."""
    return column._replace(kind=Kind.TEXT) if column.name == "id" else column
