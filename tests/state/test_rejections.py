"""Rejections are remembered, and what nobody saw for long is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sync.rows.mapping import parse_fields
from sync.state.owed import Counts, UserOutcome
from tests.harness import address, people, person
from tests.state.runs import (
    DELIVERED,
    FAILED,
    MAPPING,
    REJECTED,
    TODAY,
    Runs,
    fields_of,
    names,
    pages,
)


def test_rejected_is_remembered(runs: Runs) -> None:
    """A rejected profile is not owed until its payload changes, and its event shares its outcome."""
    runs.run(people(1), lambda _: REJECTED)

    plan = runs.begin(people(1))
    assert (plan.owed_users, plan.users, plan.events) == (0, Counts(rejected=1), Counts(rejected=1))
    assert len(runs.run([person(1, first_name="New")])) == 1


def test_a_rejected_change_is_remembered(runs: Runs) -> None:
    """Also of who was delivered before, and of an event: nothing is sent until the row changes once more."""
    runs.run([person(1, browser="Firefox")])
    runs.run([person(1, browser="Lynx")], lambda _: REJECTED)
    runs.run([person(1, browser="Lynx", first_name="New")], lambda _: REJECTED)

    plan = runs.begin([person(1, browser="Lynx", first_name="New")])
    assert (plan.owed_users, plan.users, plan.events) == (0, Counts(rejected=1), Counts(rejected=1))


def test_a_rejected_event_is_remembered(runs: Runs) -> None:
    """A rejected event is not owed, and its profile is none the worse for it."""
    runs.begin(people(1))
    (user,) = runs.outbox.claim(9, 9)
    runs.outbox.record([UserOutcome(user, DELIVERED, (REJECTED,))])

    plan = runs.begin(people(1))
    assert (plan.owed_users, plan.users, plan.events) == (0, Counts(unchanged=1), Counts(rejected=1))
    (again,) = runs.run(people(1), retry_rejected=True)
    assert (again.profile, len(again.events)) == (None, 1)


def test_retry_rejected_sends_only_what_was_rejected(runs: Runs) -> None:
    """--retry-rejected sends the rejected ones again with their events, and nobody else."""
    runs.run(people(2), lambda user: REJECTED if user.identity == address(1) else DELIVERED)

    (user,) = runs.run(people(2), retry_rejected=True)

    assert (user.identity, len(user.events)) == (address(1), 1)
    assert runs.run(people(2), retry_rejected=True) == []


def test_a_rejected_profile_whose_exit_failed(runs: Runs) -> None:
    """Asked for again, both are one request: the profile, which says that the user is not in the segment."""
    runs.run(people(2))
    runs.run([person(1, first_name="New"), person(2)], lambda _: REJECTED)
    runs.run(people(2)[1:], lambda _: FAILED)
    (user,) = runs.run(people(2)[1:], retry_rejected=True)

    assert (user.leaves, fields_of(user)["first_name"], fields_of(user)["recent_page_view"]) == (True, "New", False)
    assert runs.run(people(2)[1:], retry_rejected=True) == []


def test_what_was_asked_for_again_is_pending(runs: Runs) -> None:
    """Also where its row had left the result, and comes back before any run has got to it."""
    runs.begin(people(1))
    (user,) = runs.outbox.claim(9, 9)
    runs.outbox.record([UserOutcome(user, DELIVERED, (REJECTED,))])
    runs.outbox.remember()
    runs.begin([], retry_rejected=True)

    (again,) = runs.run(people(1))

    assert (again.profile, len(again.events), runs.plan.events) == (None, 1, Counts())


def test_rows_that_cannot_be_sent_are_rejected_once(runs: Runs) -> None:
    """A row without a usable address is newly rejected, with its reason and line, and later known as such."""
    rows = [person(1), person(2, email="nobody"), person(3, email=None), person(4, event_time=None)]
    plan = runs.begin(rows)

    assert (plan.users.newly_rejected, plan.events.newly_rejected) == (2, 3)
    assert [line for line, _ in runs.outbox.refused_lines()] == [2, 3, 4]
    assert sorted(identity for identity, _ in runs.outbox.new_rejections())[-1] == address(4)
    assert names(runs.deliver()) == ["user1", "user4"]

    plan = runs.begin(rows)
    assert (plan.users.rejected, plan.users.newly_rejected, plan.events.newly_rejected) == (2, 0, 0)


def test_what_iterable_refused_is_told_with_its_line(runs: Runs) -> None:
    """The rows that Iterable refused are named by their place in the result, with its reason."""
    runs.run(people(3), lambda user: REJECTED if user.identity == address(2) else DELIVERED)

    assert list(runs.outbox.refused_lines()) == [(2, "forgotten")]


def test_an_older_event_of_a_row_that_broke(runs: Runs) -> None:
    """An event that failed is not forgotten when the user's row is unusable for a while and then leaves."""
    mapping = replace(MAPPING, segment_field="", user_fields=parse_fields("first_name:name:number"))
    runs.begin([person(1, first_name="1")], mapping)
    (user,) = runs.outbox.claim(9, 9)
    runs.outbox.record([UserOutcome(user, DELIVERED, (FAILED,))])
    runs.begin([person(1, page="settings")], mapping)
    assert runs.deliver() == []

    runs.begin([], mapping)
    (again,) = runs.deliver()

    assert (again.identity, pages(again)) == (address(1), ["pricing"])
    runs.begin([], mapping)
    assert runs.deliver() == []


def test_what_nobody_saw_for_90_days_is_forgotten(runs: Runs) -> None:
    """Those who left long ago go out of the state; members and those of the result stay, however old."""
    runs.run(people(3))
    runs.run(people(2))
    runs.today += 91
    runs.run(people(2))

    profiles = "SELECT key FROM known WHERE typeof(key) = 'text'"
    assert runs.state.db.execute(profiles).fetchall() == [(address(1),), (address(2),)]
    assert runs.state.db.execute("SELECT COUNT(*) FROM known WHERE typeof(key) = 'blob'").fetchone() == (2,)
    assert runs.run(people(2)) == []


def test_members_are_not_forgotten(runs: Runs) -> None:
    """Whose exit was held back is a member still after 90 days, and may then be let go."""
    runs.run(people(12))
    runs.today += 91
    runs.run([])

    assert len(runs.run([], allow_mass_exit=True)) == 12


@pytest.mark.parametrize("jump", [-400, -1, 3650])
def test_a_clock_that_jumps(runs: Runs, jump: int) -> None:
    """A clock that goes back, or far ahead and back, costs no request and loses nothing of who is in the result."""
    runs.run(people(3))
    runs.today += jump
    assert runs.run(people(3)) == []
    runs.today = TODAY + 1
    assert runs.run(people(3)) == []
    assert names(runs.run(people(2))) == ["user3"]


def test_an_unchanged_run_writes_next_to_nothing(runs: Runs) -> None:
    """Within a week of the last sighting a run without changes leaves the rows of the state alone."""
    runs.run(people(50))
    before = runs.state.db.total_changes
    runs.today += 3
    runs.begin(people(50))
    written = runs.state.db.total_changes - before

    assert written <= 100  # the rows of the scan, which are in temporary tables


def test_an_event_that_was_rejected_and_then_delivered_otherwise(runs: Runs) -> None:
    """Its rejection is forgotten with that: back as it was, it is tried again."""
    runs.run([person(1, browser="Firefox")])
    runs.run([person(1, browser="Lynx")], lambda _: REJECTED)
    runs.run([person(1, browser="Safari")])
    plan = runs.begin([person(1, browser="Lynx")])
    assert (plan.owed_events, plan.events.rejected) == (1, 0)
