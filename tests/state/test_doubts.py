"""Unconfirmed, so pending: what the state knows when a run dies in between."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from sync.state.exchange import Outcome, PayloadResult, Policy, UserOutcome
from sync.state.outbox import Outbox
from tests.harness import to_load
from tests.sample_rows import address, people, person
from tests.state.runs import (
    BOTH_NAMES,
    DELIVERED,
    MAPPING,
    SEGMENT,
    TODAY,
    Runs,
    answered,
    bodies,
    fields_of,
    names,
)


class Died(BaseException):
    """The process ended here."""


def test_the_hole_is_closed_for_profiles(runs: Runs) -> None:
    """A was delivered, B accepted, the process died unrecorded, the row is A again: A is sent."""
    runs.run([person(1, first_name="A")])
    runs.begin([person(1, first_name="B")])
    (sent,) = runs.outbox.claim(9, 9)
    assert fields_of(sent)["first_name"] == "B"  # Iterable takes it here, and the process dies

    (user,) = runs.run([person(1, first_name="A")])

    assert fields_of(user)["first_name"] == "A"
    assert runs.run([person(1, first_name="A")]) == []


def test_the_hole_is_closed_for_events(runs: Runs) -> None:
    """The same for an event whose fields went to and fro: it is sent again under its id."""
    (first,) = runs.run([person(1, device="A")])
    runs.begin([person(1, device="B")])
    (sent,) = runs.outbox.claim(9, 9)

    (user,) = runs.run([person(1, device="A")])

    assert sent.events[0].id == user.events[0].id == first.events[0].id
    assert bodies(user) == bodies(first)


def test_the_hole_is_closed_for_an_exit(runs: Runs) -> None:
    """An exit in doubt and the user is back: the profile is sent, with the segment field true."""
    runs.run([person(1), person(2)])
    runs.begin([person(2)])
    (sent,) = runs.outbox.claim(9, 9)
    assert fields_of(sent) == {SEGMENT: False}

    (user,) = runs.run([person(1), person(2)])

    assert (user.identity, fields_of(user)[SEGMENT]) == (address(1), True)


def test_the_hole_is_closed_for_an_entry(runs: Runs) -> None:
    """An entry in doubt and the user is gone: the exit is sent, with the profile that is still pending."""
    runs.begin([person(1), person(2)])
    runs.outbox.claim(9, 9)

    served = runs.run([person(2)])

    assert names(served) == ["user2", "user1"]
    assert fields_of(served[1]) == {**fields_of(served[0]), "first_name": "Name 1", SEGMENT: False}
    assert runs.run([person(2)]) == []


@pytest.mark.parametrize(
    "not_sent",
    [PayloadResult(Outcome.FAILED, "stopped", sent=False), PayloadResult(Outcome.FAILED, "401", turned_away=True)],
    ids=["stopped before", "the key was refused"],
)
def test_what_was_not_sent_is_not_in_doubt(runs: Runs, not_sent: PayloadResult) -> None:
    """Claimed, and nothing reached the project: the state knows what Iterable holds, and A costs no request."""
    runs.run([person(1, first_name="A", device="A")])
    assert len(runs.run([person(1, first_name="B", device="B")], lambda _: not_sent)) == 1

    assert runs.run([person(1, first_name="A", device="A")]) == []


def test_an_address_that_was_changed_and_goes_back(runs: Runs) -> None:
    """The run is stopped between the address change and the profile, and the row is as it was: it is changed back."""
    runs.begin([person(1)], BOTH_NAMES)
    runs.deliver()
    runs.begin([person(1, email="new@example.com")], BOTH_NAMES)
    (user,) = runs.outbox.claim(9, 9)
    runs.outbox.record([UserOutcome(user._replace(profile=None, events=()), None, (), move=DELIVERED)])
    runs.outbox.record([answered(user, PayloadResult(Outcome.FAILED, "stopped", sent=False))])

    runs.begin([person(1)], BOTH_NAMES)
    (back,) = runs.outbox.claim(9, 9)
    assert (back.identity, back.move and back.move.sources) == (address(1), ("new@example.com",))


def test_a_conflict_after_an_attempt_that_nobody_answered(runs: Runs) -> None:
    """The attempt may have been taken before the name was another's: back as it was, the profile is sent."""
    runs.run([person(1, first_name="A")])
    runs.begin([person(1, first_name="B")])
    (user,) = runs.outbox.claim(9, 9)
    runs.outbox.stay_in_doubt(user)
    conflict = PayloadResult(Outcome.REJECTED, "another's", over_a_name=True)
    runs.outbox.record([answered(user, conflict)])

    assert [fields_of(again)["first_name"] for again in runs.run([person(1, first_name="A")])] == ["A"]


def test_an_unconfirmed_address_change_that_went_back(runs: Runs) -> None:
    """The row has the old address again, and Iterable may have either: the plan counts a change."""
    runs.begin([person(1)], BOTH_NAMES)
    runs.deliver()
    for row in (person(1, email="new@example.com"), person(1)):
        assert runs.begin([row], BOTH_NAMES).moves == 1
        runs.outbox.claim(9, 9)  # and the process dies


def test_events_under_former_ids_are_known_at_once(runs: Runs) -> None:
    """The first run that knows the user ids dies after its plan: what Iterable has is unchanged in the next one."""
    runs.run(people(2))
    for _ in range(2):
        assert runs.begin(people(2), BOTH_NAMES).events.unchanged == 2


def test_an_entry_that_was_not_sent_is_no_entry(runs: Runs) -> None:
    """Claimed, never sent, and gone from the result: there is no exit of a user who never came in."""
    runs.run([person(2)])
    runs.run(people(2), lambda _: PayloadResult(Outcome.FAILED, "stopped", sent=False))

    assert runs.state.db.execute("SELECT person FROM member").fetchall() == [(address(2),)]


def test_a_group_is_claimed_before_it_is_given(runs: Runs) -> None:
    """When `claim` returns, another process reads that these users' payloads are claimed, and which are not."""
    runs.run(people(3))
    runs.begin([person(number, first_name="New") for number in (1, 2, 3)])
    runs.outbox.claim(2, 9)

    with closing(sqlite3.connect(runs.state.path)) as other:
        states = other.execute("SELECT person, state FROM pending ORDER BY place").fetchall()
    assert states == [(address(1), 1), (address(2), 1), (address(3), 0)]


def test_outcomes_are_recorded_together(runs: Runs) -> None:
    """A crash inside `record` leaves all of its users pending and unconfirmed."""
    runs.begin(people(2))
    users = runs.outbox.claim(9, 9)
    broken = UserOutcome(users[1], DELIVERED, ())  # an event without an outcome is a bug
    with pytest.raises(ValueError, match="zip"):
        runs.outbox.record([answered(users[0], DELIVERED), broken])

    assert names(runs.run(people(2))) == ["user1", "user2"]


@pytest.mark.parametrize("step", ["_known", "_user_rows", "_event_row"])
def test_a_signal_while_rows_come_in(runs: Runs, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Rows that were interrupted half way leave the state as it was, and usable."""
    box = Outbox(runs.state, runs.sync, Policy(), 86400.0 * TODAY)

    def interrupted(*_: Any) -> Any:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(box, step, interrupted)
        with pytest.raises(Died):
            box.load(*to_load(people(3), MAPPING))

    runs.state.begin_run("next", "2026-01-06 12:00:00")
    assert names(runs.run(people(2))) == ["user1", "user2"]
