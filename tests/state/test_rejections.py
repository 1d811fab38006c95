"""Rejections are remembered, and what nobody saw for long is forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sync.rows.mapping import Mapping, parse_fields
from sync.state.backlog import read_figures
from sync.state.exchange import Counts, UserOutcome
from tests.sample_rows import address, people, person
from tests.state.runs import (
    BOTH_NAMES,
    DELIVERED,
    FAILED,
    MAPPING,
    REJECTED,
    SEGMENT,
    TODAY,
    Runs,
    answered,
    fields_of,
    names,
    pages,
)


def test_rejected_is_remembered(runs: Runs) -> None:
    """A rejected profile is not pending until its payload changes, and its event shares its outcome."""
    runs.run(people(1), lambda _: REJECTED)

    plan = runs.begin(people(1))
    assert (plan.pending_users, plan.users, plan.events) == (0, Counts(rejected=1), Counts(rejected=1))
    assert len(runs.run([person(1, first_name="New")])) == 1


def test_the_events_of_who_was_rejected_are_set_aside(runs: Runs) -> None:
    """They have the profile's outcome, also when the row has left the result."""
    runs.run(people(1), lambda _: REJECTED)
    assert runs.run([]) == []


def test_a_rejected_change_is_remembered(runs: Runs) -> None:
    """Also of who was delivered before, and of an event: nothing is sent until the row changes once more."""
    runs.run([person(1, browser="Firefox")])
    runs.run([person(1, browser="Lynx")], lambda _: REJECTED)
    runs.run([person(1, browser="Lynx", first_name="New")], lambda _: REJECTED)

    plan = runs.begin([person(1, browser="Lynx", first_name="New")])
    assert (plan.pending_users, plan.users, plan.events) == (0, Counts(rejected=1), Counts(rejected=1))


def test_a_rejected_event_is_remembered(runs: Runs) -> None:
    """A rejected event is not pending, and its profile is none the worse for it."""
    runs.begin(people(1))
    (user,) = runs.outbox.claim(9, 9)
    runs.outbox.record([UserOutcome(user, DELIVERED, (REJECTED,))])
    assert list(runs.outbox.refused_lines()) == [(1, "forgotten")]

    plan = runs.begin(people(1))
    assert (plan.pending_users, plan.users, plan.events) == (0, Counts(unchanged=1), Counts(rejected=1))
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


@pytest.mark.parametrize("switch", ["retry_rejected", "full"])
def test_what_was_asked_for_again_is_pending(runs: Runs, switch: str) -> None:
    """Also where its row had left the result, and comes back before any run has got to it."""
    runs.begin(people(1))
    (user,) = runs.outbox.claim(9, 9)
    runs.outbox.record([UserOutcome(user, DELIVERED, (REJECTED,))])
    runs.outbox.remember()
    asked: dict[str, Any] = {switch: True}
    runs.begin([], whole_window=False, **asked)

    (again,) = runs.run(people(1))

    assert (again.profile, len(again.events), runs.plan.events) == (None, 1, Counts())


def test_what_a_full_run_did_not_get_to_is_pending(runs: Runs) -> None:
    """It was asked for: the next run sends it, though Iterable has it."""
    runs.run(people(2))
    runs.begin(people(2), full=True)
    (user,) = runs.outbox.claim(1, 9)
    runs.outbox.record([answered(user, DELIVERED)])

    (other,) = runs.run(people(2))
    assert (other.identity, other.profile is not None, len(other.events)) == (address(2), True, 1)
    assert runs.run(people(2)) == []


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


def test_a_row_that_broke_takes_its_backlog_along(runs: Runs) -> None:
    """What it said before is not sent any more, though it failed."""
    mapping = replace(MAPPING, event_name="", user_fields=parse_fields("first_name:name:number"))
    runs.begin([person(1, first_name="1")], mapping)
    runs.deliver(lambda _: FAILED)
    plan = runs.begin([person(1, first_name="x")], mapping)

    assert (plan.users.newly_rejected, plan.pending_users) == (1, 0)
    assert runs.state.db.execute("SELECT * FROM pending").fetchall() == []


def test_what_nobody_saw_for_90_days_is_forgotten(runs: Runs) -> None:
    """Those who left long ago go out of the state; members and those of the result stay, however old."""
    runs.run(people(4), lambda user: REJECTED if user.identity == address(4) else DELIVERED)
    runs.run(people(2))
    runs.today += 91
    runs.run(people(2))

    assert runs.state.db.execute("SELECT COUNT(*) FROM pending").fetchone() == (0,)
    profiles = "SELECT key FROM known WHERE typeof(key) = 'text'"
    assert runs.state.db.execute(profiles).fetchall() == [(address(1),), (address(2),)]
    assert runs.state.db.execute("SELECT COUNT(*) FROM known WHERE typeof(key) = 'blob'").fetchone() == (2,)
    assert runs.run(people(2)) == []


def test_addresses_that_nobody_saw_for_90_days_are_forgotten(runs: Runs) -> None:
    """Of those who have left; a year later the file has not grown by everybody who was ever there."""
    for rows, days in ((people(3), 1), (people(2), 90), (people(2), 1)):
        runs.begin(rows, BOTH_NAMES)
        runs.deliver()
        runs.outbox.remember()
        runs.today += days
    assert runs.state.db.execute("SELECT person FROM name").fetchall() == [("id:1",), ("id:2",)]


@pytest.mark.parametrize("mapping", [MAPPING, BOTH_NAMES], ids=["addresses", "addresses with ids"])
def test_members_are_not_forgotten(runs: Runs, mapping: Mapping) -> None:
    """Whose exit was held back is a member still after 90 days, and may then be let go."""
    runs.begin(people(12), mapping)
    runs.deliver()
    runs.outbox.remember()
    runs.today += 91
    assert runs.begin([], mapping).exit_held_back

    assert (runs.begin([], mapping, allow_mass_exit=True).leavers, runs.plan.members_renamed) == (12, 0)
    assert sorted(user.identity for user in runs.deliver()) == sorted(map(address, range(1, 13)))


def test_an_unconfirmed_address_change_is_not_forgotten(runs: Runs) -> None:
    """Of who has left, and has a backlog: Iterable may know the user by either address, however long that takes."""
    mapping = replace(BOTH_NAMES, segment_field="")
    runs.begin([person(1)], mapping)
    runs.deliver()
    runs.begin([person(1, email="moved@example.com")], mapping)
    runs.outbox.claim(9, 9)
    for _ in range(2):
        runs.today += 91
        runs.begin([], mapping)

    (user,) = runs.outbox.claim(9, 9)
    assert user.move is not None
    assert (user.identity, user.move.sources, user.move.in_doubt) == (address(1), ("moved@example.com",), True)


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
    assert (plan.pending_events, plan.events.rejected) == (1, 0)


def test_what_was_rejected_and_then_delivered_otherwise_does_not_come_back(runs: Runs) -> None:
    """Asked for again when its row has left the result: Iterable has what the row said last."""
    runs.run([person(1, browser="Lynx")], lambda _: REJECTED)
    runs.run([person(1, browser="Safari", first_name="New")])
    (user,) = runs.run([], retry_rejected=True)

    assert (user.leaves, fields_of(user), user.events) == (True, {SEGMENT: False}, ())


def test_an_event_of_who_was_rejected_before_comes_back(runs: Runs) -> None:
    """It came while its user's profile was known to be rejected, and its row has left: asked for again, it is sent."""
    runs.run([person(1)], lambda _: REJECTED)
    assert runs.run([person(1), person(1, page="further")], lambda _: REJECTED) == []

    (user,) = runs.run([person(1)], retry_rejected=True)
    assert sorted(pages(user)) == ["further", "pricing"]


def test_a_conflict_over_a_name_is_new_once(runs: Runs) -> None:
    """It is tried in every run, counted as no backlog, and new again when the row says something else."""
    conflict = REJECTED._replace(over_a_name=True)
    for name, is_new in (("Ann", True), ("Ann", False), ("Bob", True), ("Bob", False)):
        assert len(runs.run([person(1, first_name=name)], lambda _: conflict)) == 1
        assert bool(list(runs.outbox.refused_lines())) is is_new
        figures = read_figures(runs.state, runs.sync, 0.0)
        assert (figures.pending_users, figures.pending_events) == (0, 0)


def test_what_was_set_aside_is_there_once(runs: Runs) -> None:
    """However many runs see the rejected row and its events."""
    for _ in range(3):
        runs.run(people(1), lambda _: REJECTED)
    keys = runs.state.db.execute("SELECT key FROM pending").fetchall()
    assert len(keys) == len(set(keys)) == 2
