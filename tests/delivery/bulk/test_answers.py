"""Reading a bulk answer: one outcome for each item of a 200 that holds its failures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.delivery.bulk.requests import (
    EVENTS,
    USERS,
    bulk_world,
    holding,
    items,
    lines,
    pending,
    rejected,
    sent,
    whom,
)
from tests.harness import World, counts
from tests.sample_rows import address, people
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, bulk_result, on, scripted


def naming(**lists: list[str]) -> dict[str, Any]:
    """The end of a bulk answer with these lists in `failedUpdates`."""
    return {"failedUpdates": lists}


def said(who: str, list_name: str, path: str = USERS, **more: object) -> catalogue.Faults:
    """The answer that one of the users stands in *list_name*, and all others were accepted."""

    def answer(request: Request) -> Fault | None:
        if who not in whom(request):
            return None
        failed = {"failedUpdates": {list_name: [who]}} | more
        return bulk_result(len(items(request)) - 1, 1, **failed)

    return on(path, answer)


@pytest.mark.parametrize(
    "list_name", ["conflictEmails", "forgottenEmails", "invalidDataEmails", "invalidEmails", "quarantinedEmails"]
)
def test_every_list_of_failed_profiles(world: World, list_name: str) -> None:
    """Each list in `failedUpdates`, also one nobody has heard of, rejects those it names and nobody else."""
    world.rows = people(6)
    world.iterable.faults = said(address(3), list_name)

    summary = world.run()
    assert counts(summary) == ((5, 0, 1, 0), (5, 0, 1, 0))
    assert summary.exit_code == ExitCode.INCOMPLETE
    names = f", address {address(3)}" if list_name.startswith("conflict") else ""
    assert rejected(world) == {address(3): f"listed in {list_name}{names}"}
    assert pending(world) == set()


@pytest.mark.parametrize("list_name", ["forgottenEmails", "invalidEmails", "quarantinedEmails"])
def test_every_list_of_failed_events(world: World, list_name: str) -> None:
    """The same for events: the profile stays delivered and the event alone is rejected."""
    world.rows = people(6)
    world.iterable.faults = said(address(3), list_name, EVENTS)

    assert counts(world.run()) == ((6, 0, 0, 0), (5, 0, 1, 0))
    assert world.table("SELECT reason FROM pending WHERE moment IS NOT NULL AND reason IS NOT NULL") == [
        (f"listed in {list_name}",)
    ]
    assert counts(world.run()) == ((0, 6, 0, 0), (0, 5, 1, 0))


@pytest.mark.parametrize("path", [USERS, EVENTS])
def test_a_user_nobody_knows_yet_is_pending_again(world: World, path: str) -> None:
    """`notFound...` is a matter of time: failed and pending, not rejected; the next run sends it."""
    world.rows = people(4)
    world.iterable.faults = said(address(3), "notFoundEmails", path)

    users, events = counts(world.run())
    assert users == ((3, 0, 0, 1) if path == USERS else (4, 0, 0, 0))
    assert events == (3, 0, 0, 1)
    assert pending(world) == {address(3)} and rejected(world) == {}
    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE
    assert len(world.events) == 4


@pytest.mark.parametrize(
    "nested", [{}, {"failedUpdates": {}}, {"failedUpdates": {"invalidEmails": []}}, {"failedUpdates": None}]
)
def test_the_older_lists_at_the_top(world: World, nested: dict[str, Any]) -> None:
    """An answer that names the failed only in the deprecated top-level lists is understood."""
    world.rows = people(3)
    old = {"invalidEmails": [address(2)], "invalidUserIds": []}
    world.iterable.faults = on(USERS, scripted([None, bulk_result(1, 1, **old, **nested)]))

    assert counts(world.run())[0] == (2, 0, 1, 0)
    assert rejected(world) == {address(2): "listed in invalidEmails"}


def test_names_come_back_in_other_letters(world: World) -> None:
    """Iterable may echo an address as it was sent or as it stores it: compared without case and outer space."""
    world.rows = people(3)
    named = naming(forgottenEmails=[f" {address(2).upper()} "])
    world.iterable.faults = on(USERS, scripted([None, bulk_result(1, 1, **named)]))

    assert counts(world.run())[0] == (2, 0, 1, 0)


@pytest.mark.parametrize(
    ("succeeded", "failed", "more"),
    [
        pytest.param(2, 0, {}, id="one too few"),
        pytest.param(4, 0, {}, id="one too many"),
        pytest.param(0, 0, {}, id="nothing"),
        pytest.param(2, 1, {}, id="a failure without a name"),
        pytest.param(2, 1, naming(forgottenEmails=["stranger@example.com"]), id="a stranger's name"),
        pytest.param(1, 2, naming(forgottenEmails=[address(2)]), id="one of two failures has a name"),
        pytest.param(2, 1, {"failedUpdates": {"forgottenEmails": address(2)}}, id="a name that is no list"),
        pytest.param(2, 0, {"noOpEmails": "none", "noOpUserIds": {"a": 1}}, id="lists that are none"),
    ],
)
def test_counts_that_do_not_add_up(world: World, succeeded: int, failed: int, more: dict[str, Any]) -> None:
    """When the counts do not explain every item, nobody counts as delivered or refused: the batch is halved."""
    world.rows = people(4)
    world.iterable.faults = on(USERS, scripted([None, bulk_result(succeeded, failed, **more)]))

    assert counts(world.run()) == ((4, 0, 0, 0), (4, 0, 0, 0))
    assert [len(batch) for batch in sent(world, USERS)] == [1, 3, 1, 2]
    assert len(lines(world, "WARNING", "its counts do not add up")) == 1
    assert [event["writes"] for event in world.events] == [1] * 4, "nothing lost, and each event once"


def test_counts_of_events_that_do_not_add_up(world: World) -> None:
    """The same for events."""
    world.rows = people(4)
    world.iterable.faults = on(EVENTS, scripted([None, bulk_result(2, 1)]))

    assert counts(world.run()) == ((4, 0, 0, 0), (4, 0, 0, 0))
    assert [len(batch) for batch in sent(world, EVENTS)] == [1, 3, 1, 2]


@pytest.mark.parametrize("path", [USERS, EVENTS])
def test_who_stands_alone_and_does_not_add_up_is_failed(world: World, path: str) -> None:
    """One user whose answers never add up is found, and alone pending again; all others are delivered."""
    world.rows = people(30)
    odd = address(17)
    world.iterable.faults = on(
        path, lambda request: bulk_result(len(items(request)), 1) if odd in whom(request) else None
    )

    assert counts(world.run())[path == EVENTS] == (29, 0, 0, 1)
    assert pending(world) == {odd}
    assert len(lines(world, f"its counts do not add up: sent 1, succeeded 1, failed 1, named 0 email={odd}")) == 1


@pytest.mark.parametrize(
    ("succeeded", "no_ops"), [(3, [address(2)]), (2, [address(2)]), (0, [address(2), address(3), address(4)])]
)
def test_who_changed_nothing_is_delivered(world: World, succeeded: int, no_ops: list[str]) -> None:
    """`noOpEmails`: Iterable holds it already; whether such users are in successCount is not documented."""
    world.rows = people(4)
    world.iterable.faults = on(USERS, scripted([None, bulk_result(succeeded, 0, noOpEmails=no_ops)]))

    assert counts(world.run())[0] == (4, 0, 0, 0)


@pytest.mark.parametrize("counted", [True, False])
def test_disallowed_events(world: World, counted: bool) -> None:
    """A disallowed event is in no list of users and perhaps in no count: rejected; three canaries stop the run."""
    world.rows = people(5)
    world.iterable.project.rules.disallowed_events = {"page_view"}
    world.iterable.project.rules.count_disallowed = counted

    summary = world.run()
    assert counts(summary) == ((3, 0, 0, 2), (0, 0, 3, 2))
    assert "the project disallows the event: page_view" in str(summary.stopped_because)
    assert summary.exit_code == ExitCode.STOPPED


@pytest.mark.parametrize("counted", [True, False])
def test_only_the_disallowed_name_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: bool) -> None:
    """Events that are pending from before EVENT_NAME was changed have the old name, which may be disallowed alone."""
    world = bulk_world(tmp_path, monkeypatch, EVENT_NAME="old_name")
    world.rows = people(4)
    world.iterable.faults = on(EVENTS, lambda _request: catalogue.SERVER_ERROR)
    world.run()
    world.environ["EVENT_NAME"] = "new_name"
    world.iterable.faults = None
    world.iterable.project.rules.disallowed_events = {"old_name"}
    world.iterable.project.rules.count_disallowed = counted
    world.rows = people(6)[4:] + people(2)

    told = world.run()
    reasons = world.table("SELECT reason FROM pending WHERE moment IS NOT NULL AND reason IS NOT NULL")
    assert reasons == [("the project disallows the event: old_name",)] * 4
    assert Counter(event["eventName"] for event in world.events) == {"new_name": 4}
    assert counts(told)[1][0] == 4
    assert pending(world) == set()


def test_dropped_fields_are_warned_of(world: World) -> None:
    """`filteredOutFields`: the users count as delivered, and the log says which fields the project dropped."""
    world.rows = people(3)
    world.iterable.project.rules.drop_unknown_fields = True

    assert world.run().exit_code == ExitCode.DONE
    assert lines(world, "WARNING", "users/bulkUpdate", "dropped", "plan_type")
    assert lines(world, "WARNING", "events/trackBulk", "dropped", "page_view.device")


def test_an_answer_without_counts_is_no_success(world: World) -> None:
    """A 200 that does not give both counts says nothing: everything in it is pending again."""
    world.rows = people(3)
    world.iterable.faults = holding(address(2), catalogue.raw("200", 200, b'{"code":"Success","msg":""}'))

    assert counts(world.run())[0] == (2, 0, 0, 1)
    assert pending(world) == {address(2)}
