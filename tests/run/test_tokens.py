"""A run that signs in by JWT, and whose users were created a moment ago."""

from __future__ import annotations

from collections import Counter

import pytest

from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.harness import TRACK, Wire, World, counts, identity
from tests.sample_rows import address, people
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, Faults, on
from tests.stand_in.rules import ProjectRules

JWT_KEY, JWT_SECRET = "jwt-key-of-the-project", "s" * 32


@pytest.fixture
def jwt_world(world: World) -> World:
    """An installation that signs in by JWT."""
    world.environ.update(USE_JWT_AUTH="true", ITERABLE_JWT_SECRET=JWT_SECRET, ITERABLE_API_KEY=JWT_KEY)
    world.iterable = Wire(ProjectRules(jwt_api_key=JWT_KEY, jwt_secret=JWT_SECRET))
    world.rows = people(8)
    return world


def not_found(times: int) -> Faults:
    """The first *times* events of each user are answered that the token's user could not be found."""
    seen: Counter[str] = Counter()

    def fault(request: Request) -> Fault | None:
        seen[identity(request)] += 1
        return catalogue.JWT_UNKNOWN_USER if seen[identity(request)] <= times else None

    return on(TRACK, fault)


@pytest.mark.parametrize("times", [1, 2])
def test_a_token_of_a_user_who_is_not_found_yet(jwt_world: World, times: int) -> None:
    """A user who was just created may not be found for seconds: tried again with backoff, within MAX_RETRIES."""
    jwt_world.iterable.faults = not_found(times)
    summary = jwt_world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.DONE, ((8, 0, 0, 0), (8, 0, 0, 0)))
    assert summary.requests == 8 * (2 + times)
    assert len(jwt_world.waits) == 8 * times
    assert jwt_world.waits[0] == pytest.approx(0.05, rel=0.11)
    assert len(jwt_world.events) == 8


def test_a_token_of_a_user_who_is_never_found(jwt_world: World) -> None:
    """If it stays so, these events have failed and are pending; the run is not stopped and no profile is kept back."""
    jwt_world.iterable.faults = not_found(1000)
    summary = jwt_world.run()

    assert (summary.exit_code, summary.stopped_because) == (ExitCode.INCOMPLETE, None)
    assert counts(summary) == ((8, 0, 0, 0), (0, 0, 0, 8))
    assert summary.requests == 8 * (1 + 3)
    jwt_world.iterable.faults = None
    assert jwt_world.run().exit_code == ExitCode.DONE
    assert jwt_world.sent == [(TRACK, address(number)) for number in range(1, 9)]
