"""Who is a repeat failure, for how long, and when such users have their turn."""

from __future__ import annotations

import pytest

from sync.state.exchange import Outcome, PayloadResult, UserOutcome
from tests.sample_rows import address, people, person
from tests.state.runs import DELIVERED, FAILED, REJECTED, Runs, many_events, names

NOT_SENT = PayloadResult(Outcome.FAILED, "stopped", sent=False)


def test_known_failers_come_last_and_by_themselves(runs: Runs) -> None:
    """Fresh users and the unsent backlog come in the query's order, then who leaves, then who failed before."""
    runs.run(people(4))
    changed = [person(n, first_name="New") for n in (1, 2, 3)]
    runs.run([*changed, person(4)], lambda user: FAILED if user.identity == address(1) else NOT_SENT)

    runs.begin([*changed, person(5)])
    assert names(runs.outbox.claim(9, 9)) == ["user2", "user3", "user5", "user4"]
    (failer,) = runs.outbox.claim(9, 9)
    assert (failer.identity, failer.failed_before) == (address(1), True)
    assert runs.outbox.claim(9, 9) == []


def test_a_leaver_who_failed_before_comes_last(runs: Runs) -> None:
    """An exit that failed waits behind the exits of others."""
    runs.run(people(3))
    runs.run([person(2), person(3)], lambda _: FAILED)
    assert names(runs.run([person(3), person(4)])) == ["user4", "user2", "user1"]


@pytest.mark.parametrize(
    ("profile", "events", "failed"),
    [
        ("DELIVERED", ["DELIVERED"], False),
        ("DELIVERED", ["FAILED"], True),
        ("DELIVERED", ["FAILED", "DELIVERED"], False),
        ("FAILED", ["FAILED"], True),
        ("NOT_SENT", ["NOT_SENT"], False),
        ("TOGETHER", ["TOGETHER"], False),
        ("REJECTED", ["REJECTED"], False),
    ],
)
def test_who_is_a_known_failer(runs: Runs, profile: str, events: list[str], failed: bool) -> None:
    """Whose own call failed, with nothing delivered since; not whom nothing was sent to, nor one of a failed batch."""
    results = {
        "DELIVERED": DELIVERED,
        "FAILED": FAILED,
        "REJECTED": REJECTED,
        "NOT_SENT": NOT_SENT,
        "TOGETHER": PayloadResult(Outcome.FAILED, "down", alone=False),
    }
    runs.begin(many_events(len(events)))
    (user,) = runs.outbox.claim(1, 9)
    derived = profile != "DELIVERED"
    outcome = UserOutcome(user, results[profile], tuple(results[event] for event in events), derived=derived)
    runs.outbox.record([outcome])
    assert runs.state.db.execute("SELECT COUNT(*) FROM failer").fetchone() == (failed,)


def test_a_failure_and_a_delivery_of_one_run(runs: Runs) -> None:
    """The first failure of all, and then the user's further event is delivered: no repeat failure."""
    runs.begin(many_events(2))
    (user,) = runs.outbox.claim(1, 1)
    runs.outbox.record([UserOutcome(user, DELIVERED, (FAILED,))])
    (rest,) = runs.outbox.claim_rest([user], 9)
    runs.outbox.record([UserOutcome(rest, None, (DELIVERED,))])
    assert runs.state.db.execute("SELECT person FROM failer").fetchall() == []


def test_a_bad_name_lasts_for_90_days_after_the_last_failure(runs: Runs) -> None:
    """Who fails in every run is a repeat failure for as long as that lasts."""
    for days, failed_before in ((0, False), (80, True), (80, True), (91, False)):
        runs.today += days
        assert [user.failed_before for user in runs.run(people(1), lambda _: FAILED)] == [failed_before]


def test_one_delivery_ends_the_bad_name(runs: Runs) -> None:
    """A known failer who gets something is as good as anybody in the next run; a rejection changes nothing."""
    runs.run(people(2), lambda _: FAILED)
    runs.run(
        [person(1), person(2, plan_type="free")], lambda user: DELIVERED if user.identity == address(1) else REJECTED
    )
    assert runs.state.db.execute("SELECT person FROM failer").fetchall() == [(address(2),)]


def test_who_failed_before_is_drawn_among_such_users(runs: Runs) -> None:
    """Whoever else waits."""
    runs.run(people(2), lambda _: FAILED)
    runs.begin(people(4))
    assert names(runs.outbox.claim_drawn([1], 2, failed_before=True)) == ["user2"]
    assert names(runs.outbox.claim_drawn([1], 2, failed_before=False)) == ["user4"]
