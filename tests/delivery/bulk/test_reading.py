"""A bulk answer as a table: what was sent and what is said of it, and what became of each item."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sync.api.answers import ApiResult, Verdict, read_answer
from sync.api.endpoints import EVENTS_TRACK_BULK, USERS_BULK_UPDATE
from sync.delivery.bulk_answer import Item, read_bulk_answer
from sync.state.exchange import PendingUser
from tests.sample_rows import address

ACCEPTED, REJECTED, BY_PROJECT, UNREADABLE = (
    Verdict.ACCEPTED,
    Verdict.REJECTED,
    Verdict.REJECTED_BY_PROJECT,
    Verdict.UNREADABLE,
)


def profiles(*numbers: int) -> list[Item]:
    """The profiles of these users, who are identified by ids and have their addresses with them."""
    bodies = (
        (number, json.dumps({"userId": str(number), "dataFields": {"email": address(number)}})) for number in numbers
    )
    return [(PendingUser(f"id:{number}", body, ()), body) for number, body in bodies]


def events(*numbers: int, name: str = "page_view") -> list[Item]:
    """An event of each of these users; a number that stands twice has two."""
    body = json.dumps({"eventName": name, "dataFields": {"email": "a field like any other"}})
    return [(PendingUser(address(number), None, ()), body) for number in numbers]


def read(items: list[Item], succeeded: int, failed: int, **said: Any) -> tuple[str | None, Verdict]:
    """What became of the items, a letter for each (+ delivered, r rejected, f failed; None: nobody can tell)."""
    lists = {key: names for key, names in said.items() if "noOp" not in key and "disallowed" not in key}
    more = {key: names for key, names in said.items() if key not in lists}
    body = json.dumps({"successCount": succeeded, "failCount": failed, "failedUpdates": lists, **more}).encode()
    endpoint = USERS_BULK_UPDATE if "userId" in items[0][1] else EVENTS_TRACK_BULK
    answer = read_bulk_answer(endpoint, items, ApiResult(read_answer(200, body, bulk=True), 1))
    letters = {"delivered": "+", "rejected": "r", "failed": "f"}
    told = None if answer.results is None else "".join(letters[result.outcome.value] for result in answer.results)
    return told, answer.verdict


ID, ADDRESS = "2", address(2)


@pytest.mark.parametrize(
    ("counts", "lists", "told"),
    [
        pytest.param((3, 0), {}, ("+++", ACCEPTED), id="all"),
        pytest.param((2, 1), {"forgottenUserIds": [ID]}, ("+r+", ACCEPTED), id="one by id"),
        pytest.param((2, 1), {"forgottenEmails": [ADDRESS]}, ("+r+", ACCEPTED), id="one by address"),
        pytest.param((2, 1), {"conflictEmails": [ADDRESS], "conflictUserIds": [ID]}, ("+r+", ACCEPTED), id="by both"),
        pytest.param(
            (1, 2), {"invalidEmails": [ADDRESS], "forgottenUserIds": ["3"]}, ("+rr", ACCEPTED), id="two lists"
        ),
        pytest.param((2, 1), {"notFoundUserIds": [ID]}, ("+f+", ACCEPTED), id="not known yet"),
        pytest.param((0, 3), {"forgottenUserIds": ["1", "2", "3"]}, ("rrr", REJECTED), id="all refused"),
        pytest.param((0, 3), {"invalidDataUserIds": ["1", "2", "3"]}, ("rrr", BY_PROJECT), id="all for their data"),
        pytest.param((0, 3), {"notFoundUserIds": ["1", "2", "3"]}, ("fff", UNREADABLE), id="nobody known yet"),
        pytest.param(
            (0, 3), {"notFoundUserIds": ["1", "2"], "forgottenUserIds": ["3"]}, ("ffr", REJECTED), id="one understood"
        ),
        pytest.param((3, 0), {"noOpUserIds": [ID]}, ("+++", ACCEPTED), id="unchanged, and counted"),
        pytest.param((2, 0), {"noOpUserIds": [ID]}, ("+++", ACCEPTED), id="unchanged, and not counted"),
        pytest.param(
            (2, 0), {"noOpUserIds": [ID], "noOpEmails": [ADDRESS]}, ("+++", ACCEPTED), id="unchanged, by both"
        ),
        pytest.param((1, 0), {"noOpUserIds": [ID], "noOpEmails": [address(3)]}, ("+++", ACCEPTED), id="two unchanged"),
        pytest.param((2, 0), {}, (None, UNREADABLE), id="one too few"),
        pytest.param((4, 0), {}, (None, UNREADABLE), id="one too many"),
        pytest.param((2, 1), {}, (None, UNREADABLE), id="a failure without a name"),
        pytest.param((2, 1), {"forgottenEmails": ["stranger@example.com"]}, (None, UNREADABLE), id="a stranger"),
        pytest.param((3, 0), {"forgottenUserIds": [ID]}, (None, UNREADABLE), id="named, and no failure"),
        pytest.param((0, 3), {"forgottenUserIds": [ID]}, (None, UNREADABLE), id="more failures than names"),
    ],
)
def test_profiles(counts: tuple[int, int], lists: dict[str, Any], told: tuple[str | None, Verdict]) -> None:
    """Three users; the second stands in the lists, by either name."""
    assert read(profiles(1, 2, 3), *counts, **lists) == told


@pytest.mark.parametrize(
    ("counts", "lists", "told"),
    [
        pytest.param((1, 3), {"forgottenEmails": [ADDRESS]}, ("+rrr", ACCEPTED), id="all of a user, named once"),
        pytest.param(
            (1, 3), {"forgottenEmails": [ADDRESS] * 3}, ("+rrr", ACCEPTED), id="all of a user, named each time"
        ),
        pytest.param((3, 1), {"forgottenEmails": [ADDRESS]}, (None, ACCEPTED), id="one of three, nobody knows which"),
        pytest.param((0, 2), {"forgottenEmails": [ADDRESS]}, (None, UNREADABLE), id="and the counts are wrong"),
        pytest.param((3, 1), {"invalidEmails": [address(1)]}, ("r+++", ACCEPTED), id="the only one of a user"),
    ],
)
def test_events(counts: tuple[int, int], lists: dict[str, Any], told: tuple[str | None, Verdict]) -> None:
    """One event of user 1, and three of user 2."""
    assert read(events(1, 2, 2, 2), *counts, **lists) == told


@pytest.mark.parametrize("counts", [(1, 1), (1, 0), (2, 0)], ids=["failed", "in no count", "succeeded"])
def test_disallowed_events(counts: tuple[int, int]) -> None:
    """No source says where they are counted: the event of that name is rejected, and no other."""
    items = [*events(1, name="old"), *events(2)]
    assert read(items, *counts, disallowedEventNames=["old"]) == ("r+", ACCEPTED)
    assert read(items[:1], 0, 1, disallowedEventNames=["old"]) == ("r", BY_PROJECT)


@pytest.mark.parametrize("counts", [(0, 1), (1, 0), (0, 0), (1, 1)])
@pytest.mark.parametrize("name", [ADDRESS, "another.name@example.com"])
def test_a_list_that_names_who_is_alone(counts: tuple[int, int], name: str) -> None:
    """Whatever the name, and whatever the counts: nobody else can be meant."""
    assert read(events(2), *counts, forgottenEmails=[name]) == ("r", REJECTED)


def test_an_event_s_own_fields_are_no_names() -> None:
    """A column that is called email says nothing of whose event it is."""
    assert read(events(1, 2), 1, 1, forgottenEmails=["a field like any other"]) == (None, UNREADABLE)
