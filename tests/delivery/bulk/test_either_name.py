"""Both names of a user in a bulk answer: a list of failures may use either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from tests.delivery.bulk.requests import EVENTS, USERS, bulk_world, items, lines, rejected, sent, whom
from tests.harness import Wire, World, counts
from tests.sample_rows import address, people, person
from tests.stand_in.answers import Request, json_answer
from tests.stand_in.faults import Fault, Faults, bulk_result, on, scripted
from tests.stand_in.names import ProjectType
from tests.stand_in.rules import ProjectRules

BY_ID = {"USER_ID_COLUMN": "id", "EMAIL_COLUMN": "email"}
BY_ADDRESS = {"USER_ID_COLUMN": "id", "IDENTIFY_BY": "email"}
WAYS = [pytest.param(BY_ID, "7", id="by id"), pytest.param(BY_ADDRESS, address(7), id="by address")]


def both_names(folder: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> World:
    """A sync in bulk that sends both names."""
    world = bulk_world(folder, monkeypatch, **environ)
    kind = ProjectType.HYBRID if environ is BY_ID else ProjectType.EMAIL
    world.iterable = Wire(ProjectRules(project_type=kind))
    return world


def listing(culprit: str, lists: dict[str, list[str]], path: str = USERS) -> Faults:
    """Iterable takes the others, and names the user in these lists, by whichever name."""

    def answer(request: Request) -> Fault | None:
        if culprit not in whom(request):
            return None
        (key,) = request.json()
        others = [item for item, who in zip(items(request), whom(request), strict=True) if who != culprit]
        request.body = json.dumps({key: others}).encode()
        body = {"successCount": len(others), "failCount": 1, "failedUpdates": lists}
        return Fault("listed", json_answer(200, body), applies=True)

    return on(path, answer)


@pytest.mark.parametrize(("environ", "culprit"), WAYS)
@pytest.mark.parametrize(
    "lists",
    [
        pytest.param({"conflictEmails": [address(7)]}, id="the address"),
        pytest.param({"conflictEmails": [f" {address(7).upper()}"]}, id="the address in other letters"),
        pytest.param({"conflictUserIds": ["7"]}, id="the id"),
        pytest.param({"conflictEmails": [address(7)], "conflictUserIds": ["7"]}, id="both"),
        pytest.param({"conflictUserIds": ["7", "7"]}, id="the id twice"),
    ],
)
def test_a_user_who_is_named_by_either_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], culprit: str, lists: dict[str, list[str]]
) -> None:
    """One request finds out: that user alone is rejected, with both names, and the others' events are sent."""
    world = both_names(tmp_path, monkeypatch, environ)
    world.rows = people(40)
    world.iterable.faults = listing(culprit, lists)

    assert counts(world.run()) == ((39, 0, 1, 0), (39, 0, 1, 0))
    assert len(sent(world, USERS)) == 2, "the canary's, and everybody else's"
    ((reason,),) = {(reason,) for reason in rejected(world).values()}
    assert reason.startswith("listed in conflict") and f", address {address(7)} and user id 7" in reason


@pytest.mark.parametrize(("environ", "culprit"), WAYS)
@pytest.mark.parametrize("lists", [{"forgottenEmails": [address(7)]}, {"forgottenUserIds": ["7"]}], ids=str)
def test_a_name_that_the_request_did_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], culprit: str, lists: dict[str, list[str]]
) -> None:
    """An event holds one name, and the list may use the other: halved until the user it must mean stands alone."""
    world = both_names(tmp_path, monkeypatch, environ)
    world.rows = people(40)
    world.iterable.faults = listing(culprit, lists, EVENTS)

    assert counts(world.run()) == ((40, 0, 0, 0), (39, 0, 1, 0))
    assert len(world.events) == 39
    world.iterable.faults = None
    assert world.run().requests == 0, "remembered"


def test_an_address_of_two_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two users of a batch have the address in the list, and one of them failed: each is asked for apart."""
    world = both_names(tmp_path, monkeypatch, BY_ID)
    world.iterable = Wire(ProjectRules(project_type=ProjectType.USER_ID))
    world.rows = [*people(12), person(13, email=address(5))]
    world.iterable.faults = listing("13", {"conflictEmails": [address(5)]})

    assert counts(world.run())[0] == (12, 0, 1, 0)
    assert list(rejected(world)) == ["id:13"]


def test_both_of_two_users_with_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two failures, and one name that is both of theirs: that explains them."""
    world = both_names(tmp_path, monkeypatch, BY_ID)
    world.rows = [*people(12), person(13, email=address(5))]
    world.iterable.faults = on(
        USERS, scripted([None, bulk_result(10, 2, failedUpdates={"conflictEmails": [address(5)]})])
    )

    assert counts(world.run())[0] == (11, 0, 2, 0)
    assert len(sent(world, USERS)) == 2


def test_ids_have_capitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the other name is an id, it is compared letter for letter: `Ann` is not `ann`."""
    world = both_names(tmp_path, monkeypatch, {**BY_ADDRESS, "USER_ID_COLUMN": "page"})
    world.rows = [person(n, page=page) for n, page in enumerate(("Bob", "Ann", "ann"))]
    world.iterable.faults = listing(address(1), {"conflictUserIds": ["Ann"]})

    assert counts(world.run())[0] == (2, 0, 1, 0)
    assert list(rejected(world)) == [address(1)]


def test_a_conflict_is_tried_every_run_and_new_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 3 for the first time, and then 0; the others are not sent again."""
    world = both_names(tmp_path, monkeypatch, BY_ID)
    world.rows = people(40)
    world.iterable.faults = listing("7", {"conflictEmails": [address(7)]})
    assert world.run().exit_code == ExitCode.INCOMPLETE
    assert world.run().exit_code == ExitCode.DONE
    assert [request.path for request in world.iterable.requests] == [USERS]
    assert len(lines(world, "users/bulkUpdate rejected: listed in conflictEmails", "user_id=7 ")) == 2
