"""A batch that fails is halved until the culprit stands alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.delivery.bulk.requests import (
    EVENTS,
    TYPES,
    USERS,
    bulk_world,
    holding,
    items,
    pending,
    rejected,
    sent,
    whom,
)
from tests.examples import examples
from tests.harness import World, counts
from tests.sample_rows import address, people, person
from tests.stand_in.answers import Request, json_answer
from tests.stand_in.faults import Fault, on


@pytest.mark.parametrize("path", [USERS, EVENTS])
def test_one_bad_row_among_a_thousand(world: World, path: str) -> None:
    """A batch that is refused whole is halved until the culprit stands alone: about 20 requests, everybody else's
    delivery untouched."""
    world.rows = people(1_001)
    culprit = address(700)
    world.iterable.faults = holding(culprit, TYPES, path)

    summary = world.run()
    assert counts(summary) == (
        ((1_000, 0, 1, 0), (1_000, 0, 1, 0)) if path == USERS else ((1_001, 0, 0, 0), (1_000, 0, 1, 0))
    )
    halved = sent(world, path)[1:]
    assert 15 <= len(halved) <= 24
    assert [culprit] in halved
    assert Counter(who for batch in halved if culprit not in batch for who in batch).total() == 999
    assert len(world.events) == 1_000


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(catalogue.refused(400, "BadJsonBody", "Invalid JSON body", {"obj.users[1].x": "no"}), id="400"),
        pytest.param(catalogue.CONFLICT, id="409"),
        pytest.param(catalogue.TYPES_MISMATCHED_500, id="types with status 500"),
        pytest.param(catalogue.refused(200, "BadParams", "no"), id="a code of the row inside a 200"),
        pytest.param(catalogue.BATCH_TOO_LARGE, id="BatchTooLarge"),
        pytest.param(catalogue.TOO_LARGE, id="413"),
    ],
)
def test_every_refusal_of_a_whole_batch(world: World, fault: Fault) -> None:
    """Wrong type, conflict, too large, also inside a 500 or a 200: the culprit alone is rejected."""
    world.rows = people(65)
    world.iterable.faults = holding(address(40), fault)

    assert counts(world.run()) == ((64, 0, 1, 0), (64, 0, 1, 0))
    assert len(sent(world, USERS)) == 1 + 1 + 2 * 6


def test_a_refusal_that_nobody_understands(world: World) -> None:
    """A 400 with an unknown code is halved too, and its culprit is failed, not rejected: unconfirmed, so pending."""
    world.rows = people(65)
    world.iterable.faults = holding(address(40), catalogue.UNKNOWN_CODE)

    assert counts(world.run())[0] == (64, 0, 0, 1)
    assert pending(world) == {address(40)}


def test_a_conflict_of_types_as_the_project_answers_it(world: World) -> None:
    """A row whose field has another type than the project's refuses its batch; it alone is rejected for it."""
    world.rows = people(200)
    world.iterable.project.rules.field_types.user["candidate"] = "date"
    for row in world.rows:
        row["candidate"] = "2026-01-06"
    world.rows[150]["candidate"] = "not a day"

    assert counts(world.run())[0] == (199, 0, 1, 0)
    assert "'candidate' already exists" in rejected(world)[address(151)]


@pytest.mark.parametrize("culprits", [[2], [2, 3], [150, 151], [2, 301], [3, 90, 200, 201, 280]])
def test_several_bad_rows(world: World, culprits: list[int]) -> None:
    """Every culprit is found, wherever it stands; nobody else is rejected."""
    world.rows = people(301)
    bad = {address(number) for number in culprits}
    world.iterable.faults = on(USERS, lambda request: TYPES if bad & set(whom(request)) else None)

    assert counts(world.run())[0] == (301 - len(bad), 0, len(bad), 0)
    assert set(rejected(world)) == bad
    assert len(sent(world, USERS)) <= 1 + 19 * len(bad)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(catalogue.BAD_API_KEY, id="401"),
        pytest.param(catalogue.refused(400, "BadApiKey", "Invalid API key"), id="BadApiKey with status 400"),
    ],
)
def test_what_concerns_the_key_is_not_halved(world: World, fault: Fault) -> None:
    """A refused key is nobody's fault in the batch: one request, and the run stops."""
    world.rows = people(101)
    world.iterable.faults = on(USERS, lambda request: fault if len(items(request)) > 1 else None)

    summary = world.run()
    assert summary.exit_code == ExitCode.STOPPED
    assert len(sent(world, USERS)) == 2
    assert counts(summary) == ((1, 0, 0, 100), (1, 0, 0, 100))
    assert len(pending(world)) == 100


FATES = ("fine", "forgotten", "invalid", "types", "notFound", "event forgotten", "event types")


mixes = st.lists(st.tuples(st.sampled_from(FATES), st.integers(0, 3)), min_size=1, max_size=25)


@examples(15)
@given(mix=mixes)
def test_any_mix_of_failures_gives_one_outcome_each(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, mix: list[tuple[str, int]]
) -> None:
    """Whatever becomes of each user, every profile and every event has exactly the outcome that is its own."""
    world = bulk_world(tmp_path_factory.mktemp("mix"), monkeypatch)
    fates = {address(n): fate for n, (fate, _) in enumerate(mix)}
    world.rows = [person(n, page=f"page {k}") for n, (_, events) in enumerate(mix) for k in range(events + 1)]
    # Refusals of the project's own making would stop a run whose first users all meet them.
    world.rows.insert(0, person(99))
    world.iterable.faults = _fate(fates)

    told = world.run()
    profiles = Counter(_expected(fate, "users") for fate in fates.values())
    events = Counter({"delivered": 1})
    for n, (fate, more) in enumerate(mix):
        events[_expected(fate, "events")] += more + 1
        assert address(n) in fates
    assert counts(told)[0] == (profiles["delivered"] + 1, 0, profiles["rejected"], profiles["failed"])
    assert counts(told)[1] == (events["delivered"], 0, events["rejected"], events["failed"])
    assert len(world.events) == events["delivered"]
    assert pending(world) == {who for who, fate in fates.items() if fate == "notFound"}


def _expected(fate: str, kind: str) -> str:
    if fate == "notFound":
        return "failed"
    spoiled = fate != "fine" and (kind == "events" or not fate.startswith("event"))
    return "rejected" if spoiled else "delivered"


def _fate(fates: dict[str, str]) -> Callable[[Request], Fault | None]:
    """A project to which the users have these fates; what it takes, it takes."""

    def answer(request: Request) -> Fault | None:
        prefix = "event " if request.path == EVENTS else ""
        mine = {who: fates.get(who, "fine") for who in whom(request)}
        parts = Counter(whom(request))
        if f"{prefix}types" in mine.values():
            return TYPES
        lists = {
            f"{fate.removeprefix(prefix)}Emails": [who for who, own in mine.items() if own == fate]
            for fate in (f"{prefix}forgotten", f"{prefix}invalid", f"{prefix}notFound")
        }
        named = {who for names in lists.values() for who in names}
        if not named:
            return None
        _keep(request, named)
        failed = sum(parts[who] for who in named)
        body = {"successCount": parts.total() - failed, "failCount": failed, "failedUpdates": lists}
        return Fault("told", json_answer(200, body), applies=True)

    return answer


def _keep(request: Request, without: set[str]) -> None:
    """Let the project take the others."""
    (key,) = request.json()
    request.body = json.dumps({key: [item for item in items(request) if item["email"] not in without]}).encode()
