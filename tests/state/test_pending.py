"""What is pending after a plan, for whom and in which order."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sync.rows.mapping import parse_fields
from sync.state.comparison import GROUP
from sync.state.exchange import Counts, UserOutcome
from sync.state.file import State, StateCopy
from tests.sample_rows import T0, address, people, person
from tests.state.runs import (
    BOTH_NAMES,
    DELIVERED,
    FAILED,
    MAPPING,
    REJECTED,
    Runs,
    answered,
    bodies,
    fields_of,
    many_events,
    names,
    pages,
)


def test_everything_is_pending_once(runs: Runs) -> None:
    """A profile and an event of each new user are pending, in the order of the result; then they are unchanged."""
    plan = runs.begin(people(4))
    assert (plan.pending_users, plan.pending_profiles, plan.pending_events) == (4, 4, 4)
    served = runs.deliver()
    assert names(served) == ["user1", "user2", "user3", "user4"]
    assert all(user.profile and len(user.events) == 1 for user in served)

    plan = runs.begin(people(4))
    assert (plan.pending_users, plan.users, plan.events) == (0, Counts(unchanged=4), Counts(unchanged=4))
    assert runs.deliver() == []


def test_only_what_changed_is_pending(runs: Runs) -> None:
    """A changed profile is pending without its event, and a new event without its profile."""
    runs.run(people(3))
    rows = [person(1, first_name="New"), person(2, page="settings"), person(3)]

    changed, viewed = runs.run(rows)

    assert (changed.identity, changed.events) == (address(1), ())
    assert fields_of(changed)["first_name"] == "New"
    assert (viewed.identity, viewed.profile, pages(viewed)) == (address(2), None, ["settings"])


def test_failed_is_pending_again(runs: Runs) -> None:
    """What failed is the next run's first business, and no longer once delivered."""
    assert len(runs.run(people(2), lambda _: FAILED)) == 2
    assert names(runs.run([person(2), person(1)])) == ["user2", "user1"]
    assert runs.run(people(2)) == []


def test_an_event_alone(runs: Runs) -> None:
    """A profile that was delivered is not pending again because its event failed."""
    runs.begin(people(1))
    (user,) = runs.outbox.claim(9, 9)
    runs.outbox.record([UserOutcome(user, DELIVERED, (FAILED,))])

    (again,) = runs.run(people(1))

    assert again.profile is None
    assert bodies(again) == bodies(user)


def test_what_is_pending_outlives_its_row(runs: Runs) -> None:
    """A payload whose row has left the result is delivered by the next plain run, and not by one with a limit."""
    mapping = replace(MAPPING, segment_field="")
    runs.begin(people(3), mapping)

    runs.begin([person(9)], mapping, whole_window=False)
    assert names(runs.deliver()) == ["user9"]
    runs.begin([person(9)], mapping)
    assert names(runs.deliver()) == ["user1", "user2", "user3"]
    runs.begin([person(9)], mapping)
    assert runs.deliver() == []


def test_a_row_whose_address_is_unusable_keeps_no_other_back(runs: Runs) -> None:
    """It is rejected, though it is the newest of its user: the profile and the event of the older row are sent."""
    rows = [person(1), person(1, email="none", event_time=T0 + timedelta(hours=1)), person(2)]

    plan = runs.begin(rows, BOTH_NAMES)
    assert (plan.users.newly_rejected, plan.events.newly_rejected) == (1, 1)
    assert [(user.identity, len(user.events)) for user in runs.deliver()] == [(address(1), 1), (address(2), 1)]


def test_a_row_replaces_what_was_pending_before(runs: Runs) -> None:
    """Of a user the newest profile alone is pending, with every event that Iterable lacks."""
    runs.run([person(1)], lambda _: FAILED)

    (user,) = runs.run([person(1, first_name="New", page="settings", event_time=T0 + timedelta(hours=1))])

    assert fields_of(user)["first_name"] == "New"
    assert pages(user) == ["pricing", "settings"]


def test_full_sends_everything(runs: Runs) -> None:
    """--full sends what is unchanged and what was rejected, the events under the ids they had."""
    first = runs.run(people(2), lambda user: REJECTED if user.identity == address(1) else DELIVERED)

    again = runs.run(people(2), full=True)

    assert list(map(bodies, again)) == list(map(bodies, first))
    assert names(again) == ["user1", "user2"]


def test_two_rows_of_a_user(runs: Runs) -> None:
    """One profile from the newest row; every event, oldest first."""
    rows = [
        person(1, first_name="Old", page="a"),
        person(1, first_name="Newest", page="b", event_time=T0 + timedelta(hours=2)),
        person(1, first_name="Between", page="c", event_time=T0 + timedelta(hours=1)),
    ]
    plan = runs.begin(rows)
    (user,) = runs.deliver()

    assert (plan.pending_profiles, plan.pending_events) == (1, 3)
    assert fields_of(user)["first_name"] == "Newest"
    assert pages(user) == ["a", "c", "b"]
    assert runs.run(rows) == []


def test_equal_times_are_settled_by_the_query(runs: Runs) -> None:
    """Of two rows with one time the first in the query is the profile."""
    (user,) = runs.run([person(1, first_name="First"), person(1, first_name="Second", page="settings")])

    assert fields_of(user)["first_name"] == "First"


def test_the_same_row_twice(runs: Runs) -> None:
    """A row that comes twice is one profile and one event, also across groups of rows."""
    rows = [*people(GROUP), person(1), person(1)]
    plan = runs.begin(rows)

    assert (plan.pending_profiles, plan.pending_events) == (GROUP,) * 2


def test_an_address_in_capitals_is_the_same_user(runs: Runs) -> None:
    """Addresses that differ in case or blanks are one user with one profile and one event."""
    plan = runs.begin([person(1), person(1, email=" USER1@Example.COM ")])
    assert (plan.pending_users, plan.pending_profiles, plan.pending_events) == (1, 1, 1)
    runs.deliver()

    assert runs.run([person(1, email="User1@EXAMPLE.com")]) == []


def test_other_user_fields_send_the_profiles_again(runs: Runs) -> None:
    """A changed USER_FIELDS changes every profile and no event."""
    runs.run(people(2))
    plan = runs.begin(people(2), replace(MAPPING, user_fields=parse_fields("first_name")))

    assert (plan.pending_profiles, plan.pending_events) == (2, 0)


def test_other_event_fields_keep_the_ids(runs: Runs) -> None:
    """A changed EVENT_FIELDS sends the events again under the ids they had: Iterable overwrites, nothing doubles."""
    first = runs.run(people(2))
    runs.begin(people(2), replace(MAPPING, event_fields=parse_fields("page")))
    second = runs.deliver()

    assert [user.profile for user in second] == [None, None]
    assert [user.events[0].id for user in second] == [user.events[0].id for user in first]
    assert pages(second[0]) == ["pricing"]


def test_many_events_come_in_parts(runs: Runs) -> None:
    """A user's events come a bounded number at a time, oldest first, each once."""
    runs.begin(many_events(10))
    users = runs.outbox.claim(9, 4)
    seen = list(users[0].events)
    assert len(seen) == 4
    while users[0].more:
        assert runs.outbox.count_rest(users[0]) == 10 - len(seen)
        runs.outbox.record([answered(users[0], DELIVERED)])
        users = runs.outbox.claim_rest(users, 4)
        assert users[0].profile is None
        seen += users[0].events
    runs.outbox.record([answered(users[0], DELIVERED)])

    times = [json.loads(event.body)["createdAt"] for event in seen]
    assert len(times) == 10
    assert times == sorted(set(times))
    assert runs.run(many_events(10)) == []


def test_a_failed_event_does_not_come_twice(runs: Runs) -> None:
    """Events of the first part that failed wait for the next run: the rest of this one goes on behind them."""
    runs.begin(many_events(10))
    users = runs.outbox.claim(9, 4)
    seen = list(users[0].events)
    while users[0].more:
        (user,) = users
        runs.outbox.record([UserOutcome(user, DELIVERED if user.profile else None, (FAILED,) * len(user.events))])
        users = runs.outbox.claim_rest(users, 4)
        seen += users[0].events
        assert len(seen) <= 10

    assert len({event.id for event in seen}) == 10


def test_events_are_shared_out_among_the_users_of_a_claim(runs: Runs) -> None:
    """So many events are in memory as were asked for, however many users have them: at least one for each user."""
    views = [person(n, event_time=T0 + timedelta(seconds=second)) for n in (1, 2, 3) for second in range(5)]
    runs.begin(views)
    assert [len(user.events) for user in runs.outbox.claim(2, 7)] == [3, 3]
    assert [len(user.events) for user in runs.outbox.claim(2, 0)] == [1]


def test_who_waits_may_be_drawn(runs: Runs) -> None:
    """Users far from their turn are claimed by their rank among those unclaimed, and do not come again."""
    runs.begin(people(6))
    assert names(runs.outbox.claim(1, 1)) == ["user1"]
    assert runs.outbox.count_unclaimed(failed_before=False) == 5
    assert names(runs.outbox.claim_drawn([4, 0], 2, failed_before=False)) == ["user6", "user2"]
    assert runs.outbox.count_unclaimed(failed_before=False) == 3
    assert names(runs.outbox.claim(9, 9)) == ["user3", "user4", "user5"]


def test_the_state_counts_runs_that_the_rule_stopped(runs: Runs) -> None:
    """Each run in a row that it stopped counts; one that was not stopped begins anew."""
    runs.begin(people(1))
    for stopped, count in ((True, 1), (True, 2), (False, 0), (True, 1)):
        runs.outbox.record_end(stopped_by_rule=stopped)
        assert runs.outbox.stops_in_a_row() == count


def test_a_copy_shows_what_a_run_would_send(runs: Runs) -> None:
    """A copy of the state gives the same users and leavers, and the state is as it was afterwards."""
    runs.run(people(3))
    rows = [person(1, first_name="New"), person(2), person(4)]
    before = list(runs.state.db.iterdump())
    with closing(StateCopy(runs.state.path)) as copy:
        shown = Runs(copy).run(rows)

    assert list(runs.state.db.iterdump()) == before
    assert shown == runs.run(rows)


@pytest.mark.parametrize(
    "before", ["nothing", "delivered", "pending", "gone", "other addresses", "pending other addresses"]
)
def test_a_plan_costs_each_user_the_same(tmp_path: Path, before: str) -> None:
    """Twice as many users are about twice as much work for SQLite, counted in steps of its machine."""

    def steps(count: int) -> int:
        taken = iter(range(10**9))
        with closing(State(tmp_path / str(count))) as state:
            begun = Runs(state)
            mapping = BOTH_NAMES if "addresses" in before else MAPPING
            if before in ("delivered", "gone", "other addresses"):
                begun.begin(people(count), mapping)
                begun.deliver()
                begun.outbox.remember()
            elif before != "nothing":
                begun.begin(people(count), mapping)
            now = (
                [row | {"email": f"new{row['email']}"} for row in people(count)] if "other" in before else people(count)
            )
            state.db.set_progress_handler(lambda: next(taken) < 0, 100)
            begun.begin(now[: 1 if before == "gone" else count], mapping, allow_mass_exit=True)
            return next(taken)

    assert steps(800) < 3 * steps(400)
