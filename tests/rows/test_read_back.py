"""What was sent held against what Iterable gives back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sync.rows.read_back import (
    ABSENT,
    MOST_EVENTS,
    Difference,
    event_differences,
    profile_differences,
    segment_differences,
)

JAN = 1_767_700_000
JAN_TEXT = "2026-01-06 11:46:40 +00:00"


def differences(sent: Any, *found: Any) -> list[Difference]:
    """Of one field with this value, which was found as that, or not at all."""
    body = json.dumps({"email": "ann@example.com", "dataFields": {"x": sent}})
    fields = {"x": found[0]} if found else {}
    return profile_differences(body, {"email": "ann@example.com", "dataFields": fields})


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (None, (None,)),
        (None, ()),
        (1, (1.0,)),
        (1.5, (1.5,)),
        (True, (True,)),
        ("", ("",)),
        ("2026-01-06", ("2026-01-06 00:00:00 +00:00",)),
        ("2026-01-06 12:00:00", ("2026-01-06 12:00:00 +00:00",)),
        ("2026-01-06 14:00:00 +02:00", ("2026-01-06 12:00:00 +00:00",)),
        ("2026-01-06T12:00:00.000Z", ("2026-01-06 12:00:00 +00:00",)),
        ({"a": {"b": 1}}, ({"a": {"b": 1, "c": 2}},)),
        ({"a": None}, ()),
        (["a", 1], (["a", 1.0],)),
        ([{"a": 1}], ([{"a": 1}],)),
        ([], ([],)),
    ],
)
def test_the_same(sent: Any, found: tuple[Any, ...]) -> None:
    """Values that mean the same in the forms that Iterable has for them."""
    assert differences(sent, *found) == []


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (1, ("1",)),
        (1, (True,)),
        (0, (False,)),
        (False, (None,)),
        (1, (1.0000001,)),
        (None, ("",)),
        ("pro", ("Pro",)),
        ("2026-01-06", ("2026-01-06 00:00:01 +00:00",)),
        ("2026-13-06", ("2026-12-06",)),
        (["a"], (["a", "b"],)),
        (["a", "b"], (["b", "a"],)),
        ([], (None,)),
        ({"a": 1}, ("text",)),
        ("", ()),
    ],
)
def test_not_the_same(sent: Any, found: tuple[Any, ...]) -> None:
    """Another value, another type, another order."""
    (difference,) = differences(sent, *found)

    assert difference.field == "x"


def test_a_nested_field_is_named_with_dots() -> None:
    """And both values are told as JSON."""
    assert differences({"a": {"b": 1}}, {"a": {"b": "1"}}) == [Difference("x.a.b", "1", '"1"')]
    assert differences({"a": {"b": 1}}) == [Difference("x.a.b", "1", ABSENT)]


@pytest.mark.parametrize("kind", ["on top", "in dataFields"])
def test_names(kind: str) -> None:
    """A name is compared wherever it was sent; addresses without their case."""
    names = {"email": "Ann@Example.com"}
    body = json.dumps({"userId": "1", "dataFields": names} if kind != "on top" else {**names, "dataFields": {}})

    assert profile_differences(body, {"email": "ann@example.com", "userId": "1", "dataFields": {}}) == []
    assert [one.field for one in profile_differences(body, {"userId": "1", "dataFields": {}})] == ["email"]


def test_the_case_of_a_user_id_tells_two_users_apart() -> None:
    """Ab1 and aB1 are two."""
    body = json.dumps({"userId": "Ab1", "dataFields": {}})
    assert [one.field for one in profile_differences(body, {"userId": "aB1", "dataFields": {}})] == ["userId"]


def event(page: str, at: int = JAN) -> dict[str, Any]:
    """An event as it was sent."""
    return {"eventName": "page_view", "createdAt": at, "dataFields": {"page": page}}


def read(page: str, at: str = JAN_TEXT) -> dict[str, Any]:
    """An event as it is read."""
    return {"eventName": "page_view", "createdAt": at, "dataFields": {"page": page, "more": 1}}


def test_events_of_one_second_are_told_apart_by_their_fields() -> None:
    """Each that is read accounts for one that was sent."""
    assert event_differences([event("a"), event("b")], [read("b"), read("a")]) == [(), ()]
    missing = [Difference("event page_view 2026-01-06 11:46:40", "tracked", ABSENT)]
    assert event_differences([event("a"), event("a")], [read("a")]) == [(), missing]
    ((), (changed,)) = event_differences([event("a"), event("b")], [read("a"), read("c")])
    assert changed == Difference("event page_view 2026-01-06 11:46:40: page", '"b"', '"c"')


def test_what_is_older_than_all_that_one_call_gives_cannot_be_told() -> None:
    """A user with more events than that is not said to lack the older ones."""
    newest = [read("x", "2026-02-01 00:00:00 +00:00")] * MOST_EVENTS

    assert event_differences([event("a")], newest) == [()]
    assert event_differences([event("a")], newest[1:]) != [()]


@pytest.mark.parametrize(
    ("user", "told"),
    [
        (None, []),
        ({}, []),
        ({"dataFields": None}, []),
        ({"dataFields": {"recent": False}}, []),
        ({"dataFields": {"recent": "true"}}, []),
        ({"dataFields": {"recent": True}}, [Difference("recent", "false", "true")]),
    ],
)
def test_who_has_left_the_segment_is_not_in_it(user: dict[str, Any] | None, told: list[Difference]) -> None:
    """Only a field that is still true differs; who is unknown is in no segment."""
    assert segment_differences("recent", user) == told


def test_a_whole_user_and_a_field_are_told_apart() -> None:
    """Only of who is not there at all it says so, of an event likewise."""
    body = json.dumps({"email": "ann@example.com", "dataFields": {"x": 1}})
    (nobody,) = profile_differences(body, None)
    (field,) = profile_differences(body, {"email": "ann@example.com"})
    ((event,),) = event_differences([{"eventName": "view", "createdAt": JAN}], [])

    assert [one.is_absent for one in (nobody, field, event)] == [True, False, True]
    assert not Difference(nobody.field, nobody.sent, "(refused)").is_absent
