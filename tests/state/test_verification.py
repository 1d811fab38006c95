"""Whom Iterable should have as the database says, and what a repair puts back into the backlog."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC
from typing import Any

from sync.rows.mapping import Mapping
from sync.rows.read_back import MOST_EVENTS
from sync.rows.source import Row
from sync.state.file import StateCopy
from sync.state.verification import DeliveredUser, Repair, Verification, make_pending_again
from tests.sample_rows import address, person
from tests.state.runs import (
    BOTH_NAMES,
    DELIVERED,
    MAPPING,
    REJECTED,
    SEGMENT,
    TODAY,
    Runs,
    answered,
    bodies,
    many_events,
)

GONE = DeliveredUser(address(1), address(1), None, left=True)


def compared(runs: Runs, rows: Sequence[Row], mapping: Mapping = MAPPING, **policy: Any) -> dict[str, DeliveredUser]:
    """Who would be compared with Iterable for these rows, by the name that Iterable knows."""
    with closing(StateCopy(runs.state.path)) as copy:
        there = Runs(copy)
        there.begin(rows, mapping, keep_bodies=True, allow_mass_exit=True, **policy)
        verification = Verification(there.outbox)
        found = {user.identity: user for batch in verification.sample(100) for user in batch}
        assert verification.count() == (len(found), there.plan.pending_users + there.plan.leavers)
        return found


def test_of_whom_nothing_is_pending(runs: Runs) -> None:
    """A user is compared as delivered, with the segment field; who changed, is new or was rejected is not."""
    runs.run([person(1), person(2)])
    runs.run([person(1), person(2), person(3)], lambda _: REJECTED)
    found = compared(runs, [person(1), person(2, first_name="New"), person(3), person(4)])

    assert found.keys() == {address(1)}
    user = found[address(1)]
    assert (user.person, user.left) == (address(1), False)
    body = json.loads(str(user.body))
    assert (body["email"], body["dataFields"]["first_name"], body["dataFields"][SEGMENT]) == (
        address(1),
        "Name 1",
        True,
    )
    assert [json.loads(event.body)["id"] for event in user.events] == [event.id.hex() for event in user.events]


def test_the_newest_events(runs: Runs) -> None:
    """Of a user with many events so many are compared as one request can read."""
    rows = many_events(MOST_EVENTS + 2)
    runs.begin(rows)
    (user,) = runs.outbox.claim(1, len(rows))
    runs.outbox.record([answered(user, DELIVERED)])
    runs.outbox.remember()
    times = [json.loads(event.body)["createdAt"] for event in compared(runs, rows)[address(1)].events]

    assert len(times) == MOST_EVENTS
    assert times == sorted(times, reverse=True)
    assert times[0] == int(rows[-1]["event_time"].replace(tzinfo=UTC).timestamp())


def test_without_profiles(runs: Runs) -> None:
    """Where no profiles are sent the events alone are compared, and only of who has one."""
    mapping = replace(MAPPING, user_fields=(), segment_field="")
    runs.begin([person(1), person(2, event_time=None)], mapping, segment_field="")
    runs.deliver()
    runs.outbox.remember()
    found = compared(runs, [person(1), person(2, event_time=None)], mapping)

    assert {name: (user.body, len(user.events)) for name, user in found.items()} == {address(1): (None, 1)}


def test_who_has_left_the_segment(runs: Runs) -> None:
    """As soon as nothing is pending of who left, Iterable should know it; a part of the result says nothing of that."""
    runs.run([person(1), person(2)])
    assert compared(runs, [person(2)]).keys() == {address(2)}
    runs.run([person(2)], allow_mass_exit=True)

    assert compared(runs, [person(2)])[address(1)] == GONE
    assert compared(runs, [person(2)], whole_window=False).keys() == {address(2)}
    assert not compared(runs, [person(1), person(2)])[address(2)].left


def test_users_of_another_sync_have_not_left_this_one(runs: Runs) -> None:
    """Whom another sync of the file delivered is none of ours."""
    Runs(runs.state, "another").run([person(1)])
    runs.run([person(2)])

    assert compared(runs, [person(2)]).keys() == {address(2)}


def test_who_has_left_is_known_by_the_address(runs: Runs) -> None:
    """A user whose id is known, and whom the address names."""
    runs.begin([person(1), person(2)], BOTH_NAMES)
    runs.deliver()
    runs.outbox.remember()
    runs.begin([person(2)], BOTH_NAMES, allow_mass_exit=True)
    runs.deliver()
    runs.outbox.remember()

    assert compared(runs, [person(2)], BOTH_NAMES)[address(1)] == GONE._replace(person="id:1")


def test_what_differs_is_pending_again(runs: Runs) -> None:
    """The profile, or these events, and nothing else: the next run sends them."""
    rows = [*many_events(3), person(2)]
    runs.run(rows)
    user = compared(runs, rows)[address(1)]
    make_pending_again(runs.state, runs.sync, [Repair(user, True, [])], TODAY)
    assert [(who.profile is not None, bodies(who)) for who in runs.run(rows)] == [(True, [])]

    make_pending_again(runs.state, runs.sync, [Repair(user, False, [user.events[1].id])], TODAY)
    (sent,) = runs.run(rows)
    assert (sent.profile, [json.loads(body)["id"] for body in bodies(sent)]) == (None, [user.events[1].id.hex()])
    assert runs.run(rows) == []


def test_who_should_have_left_leaves_again(runs: Runs) -> None:
    """Iterable does not know of the exit: the next run tells it once more."""
    runs.run([person(1), person(2)])
    runs.run([person(2)], allow_mass_exit=True)
    make_pending_again(runs.state, runs.sync, [Repair(GONE, True, [])], TODAY)

    assert [(user.identity, user.leaves) for user in runs.run([person(2)], allow_mass_exit=True)] == [
        (address(1), True)
    ]
    assert runs.run([person(2)]) == []
