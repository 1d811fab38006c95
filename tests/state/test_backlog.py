"""The backlog in the order of delivery, and what becomes of it when it is settled."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest

from sync.state.backlog import read_figures
from sync.state.exchange import PendingUser, UserOutcome
from sync.state.file import State
from tests.harness import sync_of
from tests.sample_rows import T0, address, people, person
from tests.state.runs import BOTH_NAMES, DELIVERED, FAILED, REJECTED, Runs, answered, fields_of, names, pages

LATE, EARLY = (person(1, page=f"{hour} h", event_time=T0 + timedelta(hours=hour)) for hour in (2, 1))


def answer(runs: Runs, users: list[PendingUser]) -> None:
    """All of it was delivered."""
    runs.outbox.record([answered(user, DELIVERED) for user in users])


def test_two_syncs_take_turns_in_one_file(runs: Runs) -> None:
    """Each has places of its own, whatever the other has delivered meanwhile, and touches no other's."""
    runs.begin([LATE, EARLY])
    first = runs.outbox.claim(1, 1)
    answer(runs, first)
    with closing(State(runs.state.path)) as state:
        other = Runs(state)
        other.sync = sync_of(state, "other", "another_field")
        other.begin([person(1, page="other")])
        places = state.db.execute("SELECT sync, COUNT(DISTINCT place) FROM pending GROUP BY sync").fetchall()
        assert places == [(runs.sync, 3), (other.sync, 2)]

        assert runs.outbox.count_rest(first[0]) == 1
        rest = runs.outbox.claim_rest(first, 9)
        answer(runs, rest)
        runs.outbox.remember()

        assert [pages(user) for user in rest] == [["2 h"]]
        assert state.db.execute("SELECT DISTINCT sync FROM pending").fetchall() == [(other.sync,)]
        assert [pages(user) for user in other.deliver()] == [["other"]]


def test_a_killed_run_s_deliveries_are_known(runs: Runs) -> None:
    """What it put on record stands, and what it had claimed is in doubt; the next run begins with that."""
    runs.begin(people(4))
    answer(runs, runs.outbox.claim(2, 9))
    runs.outbox.claim(1, 9)

    assert names(runs.run(people(4))) == ["user3", "user4"]
    assert runs.run(people(4)) == []


def test_who_may_be_in_the_segment_leaves_it(runs: Runs) -> None:
    """A killed run's users leave like all others: those who were delivered, and those who were only claimed."""
    runs.begin(people(4))
    answer(runs, runs.outbox.claim(1, 9))
    runs.outbox.claim(1, 9)

    left = runs.run(people(4)[2:], allow_mass_exit=True)

    assert sorted((user.identity, fields_of(user)["recent_page_view"]) for user in left) == [
        (address(1), False),
        (address(2), False),
        (address(3), True),
        (address(4), True),
    ]


@pytest.mark.parametrize("is_settled", [False, True])
def test_members_are_counted_before_they_are_settled(runs: Runs, is_settled: bool) -> None:
    """The figures of a run that was interrupted are those of any other; who may be a member counts as one."""
    runs.run(people(1))
    runs.begin(people(4), full=True)
    answer(runs, runs.outbox.claim(2, 9))
    runs.outbox.claim(1, 9)
    if is_settled:
        runs.outbox.remember()

    figures = read_figures(runs.state, runs.sync, 0.0)

    assert (figures.segment_users, figures.pending_users, figures.pending_events) == (3, 2, 2)


def test_who_was_told_to_leave_is_not_counted(runs: Runs) -> None:
    """Before that is settled, and after it."""
    runs.run(people(3))
    runs.begin(people(2))
    answer(runs, runs.outbox.claim(9, 9))
    before = read_figures(runs.state, runs.sync, 0.0)
    runs.outbox.remember()

    assert (before.segment_users, read_figures(runs.state, runs.sync, 0.0).segment_users) == (2, 2)


def test_the_order_of_the_backlog(runs: Runs) -> None:
    """Users whose rows have left come in the order that they had in the query."""
    runs.run([person(2), person(3), person(1)], lambda _: FAILED._replace(sent=False))
    runs.begin([])
    assert names(runs.outbox.claim(9, 9)) == ["user2", "user3", "user1"]


def test_the_age_of_the_backlog(runs: Runs) -> None:
    """A profile is pending since the first run that could not send it, also when its row changes or leaves."""
    for rows in (people(1), [person(1, first_name="New")], []):
        runs.today += 1
        runs.run(rows, lambda _: FAILED)

    assert read_figures(runs.state, runs.sync, 86400.0 * runs.today).oldest_pending == 2 * 86400


def test_the_backlog_of_who_had_the_address_before(runs: Runs) -> None:
    """An event of somebody who has left goes with the user who has the address now: they are one user at Iterable."""
    runs.begin([person(1)], BOTH_NAMES)
    runs.deliver()
    runs.begin([person(1, first_name="New"), person(1, page="further")], BOTH_NAMES)
    runs.deliver(lambda _: FAILED)
    runs.begin([person(2, email=address(1))], BOTH_NAMES)

    (user,) = runs.outbox.claim(9, 9)
    assert (user.identity, fields_of(user)["first_name"]) == (address(1), "Name 2")
    assert sorted(pages(user)) == ["further", "pricing"]


def test_a_profile_whose_events_wait_is_not_in_doubt(runs: Runs) -> None:
    """It was delivered before the run was killed; the other event alone is pending."""
    runs.begin([LATE, EARLY])
    answer(runs, runs.outbox.claim(1, 1))

    assert [(user.profile, pages(user)) for user in runs.run([LATE, EARLY])] == [(None, ["2 h"])]


@pytest.mark.parametrize("attempted", [False, True], ids=["no request was made", "one was made before"])
def test_what_was_not_sent_is_not_in_doubt(runs: Runs, attempted: bool) -> None:
    """Iterable holds what it held, unless an attempt was made that may have reached it."""
    runs.run(people(1))
    runs.begin([person(1, first_name="New")])
    (user,) = runs.outbox.claim(1, 9)
    if attempted:
        runs.outbox.stay_in_doubt(user)
    runs.outbox.record([answered(user, FAILED._replace(sent=False))])

    assert len(runs.run(people(1))) == attempted


@pytest.mark.parametrize("attempted", [False, True], ids=["at once", "after an attempt"])
def test_who_was_rejected_is_no_member(runs: Runs, attempted: bool) -> None:
    """Nobody has to be told false who was never told true; but who may have been is."""
    runs.begin(people(2))
    users = runs.outbox.claim(2, 9)
    if attempted:
        runs.outbox.stay_in_doubt(users[0])
    runs.outbox.record([answered(users[0], REJECTED), answered(users[1], DELIVERED)])

    assert runs.begin(people(2)[1:], allow_mass_exit=True).leavers == attempted


def test_a_backlog_older_than_a_known_rejection_has_its_segment(runs: Runs) -> None:
    """The row says again what was rejected; what it said in between is pending still, for somebody of the result."""
    runs.run(people(1), lambda _: REJECTED)
    runs.run([person(1, first_name="Between")], lambda _: FAILED)

    (user,) = runs.run(people(1))

    assert fields_of(user)["first_name"] == "Between"
    assert fields_of(user)["recent_page_view"] is True


def test_a_leaver_whose_event_comes_back(runs: Runs) -> None:
    """It was rejected alone, and is asked for again when the user leaves: delivered, nothing is pending for anybody."""
    runs.begin(people(2))
    first, second = runs.outbox.claim(9, 9)
    runs.outbox.record([UserOutcome(first, DELIVERED, (REJECTED,)), answered(second, DELIVERED)])
    runs.outbox.remember()

    (leaver,) = runs.run(people(2)[1:], retry_rejected=True, allow_mass_exit=True)

    assert (leaver.leaves, len(leaver.events)) == (True, 1)
    runs.outbox.remember()
    assert runs.state.db.execute("SELECT person FROM pending").fetchall() == []


def test_what_was_set_aside_goes_with_the_exit(runs: Runs) -> None:
    """A change that was rejected of somebody who has left since is nothing that could come back."""
    runs.run(people(2))
    runs.run([person(1, first_name="New"), person(2)], lambda _: REJECTED)

    (leaver,) = runs.run(people(2)[1:], allow_mass_exit=True)

    assert (leaver.leaves, fields_of(leaver)) == (True, {"recent_page_view": False})
    runs.outbox.remember()
    assert runs.state.db.execute("SELECT person FROM pending").fetchall() == []


def test_who_comes_back_after_a_rejected_exit_leaves_again(runs: Runs) -> None:
    """A run that was killed may have told him true again: so he is told false once more."""
    runs.run(people(2))
    runs.run(people(2)[1:], lambda _: REJECTED, allow_mass_exit=True)
    assert runs.run(people(2)[1:], allow_mass_exit=True) == []
    runs.begin(people(2))
    runs.outbox.claim(1, 9)

    assert names(runs.run(people(2)[1:], allow_mass_exit=True)) == ["user1"]
