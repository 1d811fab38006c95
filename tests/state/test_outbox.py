"""What one run owes: rows in, debts out, outcomes back; and what the state knows when a run dies in between."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest

from sync.rows.columns import Row
from sync.rows.mapping import Mapping, parse_fields
from sync.rows.payloads import PayloadBuilder
from sync.run.settings import defaults
from sync.state.debts import FORGET_AFTER
from sync.state.file import State, StateCopy
from sync.state.outbox import Outbox
from sync.state.owed import Counts, Outcome, OwedUser, PayloadResult, Plan, Policy, UserOutcome
from sync.state.scope import GROUP
from tests.harness import COLUMNS, T0, address, people, person

TODAY = 20_000
DELIVERED, FAILED, REJECTED = (
    PayloadResult(Outcome.DELIVERED),
    PayloadResult(Outcome.FAILED, "down"),
    PayloadResult(Outcome.REJECTED, "forgotten"),
)
NOT_SENT = PayloadResult(Outcome.FAILED, "stopped", sent=False)
SEGMENT = "recent_page_view"
MAPPING = Mapping(
    email_column="email",
    user_fields=parse_fields(defaults()["USER_FIELDS"]),
    segment_field=SEGMENT,
    event_name="page_view",
    event_fields=parse_fields(defaults()["EVENT_FIELDS"]),
    event_time_column="event_time",
    event_key=("event_time", "page"),
    user_id_column=None,
    timezone=UTC,
)


class Died(BaseException):
    """The process ended here."""


class Runs:
    """Runs on one state: `begin` gives the next one its rows, `deliver` serves it to the end."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.destination = state.destination("https://api.iterable.com", "key")
        self.outbox: Outbox
        self.today = TODAY

    def begin(self, rows: Sequence[Row], mapping: Mapping = MAPPING, **policy: Any) -> Plan:
        """Rows in; the debts are in the state when this returns."""
        for table in ("scan_user", "scan_event", "leaver", "turn", "refused_line"):
            self.state.db.execute(f"DROP TABLE IF EXISTS temp.{table}")  # those of the run before, which is over
        policy.setdefault("segment_field", mapping.segment_field)
        self.outbox = Outbox(self.state, self.destination, Policy(**policy), self.today)
        builder = PayloadBuilder(mapping, COLUMNS)
        assert self.outbox.load(builder.build(row) for row in rows) == len(rows)
        return self.outbox.plan()

    def deliver(self, told: Callable[[OwedUser], PayloadResult] = lambda _: DELIVERED) -> list[OwedUser]:
        """Serve everybody; `told` says what Iterable says of the profile, or of the events where there is none."""
        served = []
        while users := self.outbox.claim(3, 9):
            served += users
            self.outbox.record([answered(user, told(user)) for user in users])
        return served

    def run(
        self, rows: Sequence[Row], told: Callable[[OwedUser], PayloadResult] = lambda _: DELIVERED, **policy: Any
    ) -> list[OwedUser]:
        """A whole run; whom it served."""
        self.begin(rows, **policy)
        return self.deliver(told)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """Runs on a fresh state."""
    with closing(State(tmp_path / "state.sqlite3")) as state:
        yield Runs(state)


def answered(user: OwedUser, told: PayloadResult) -> UserOutcome:
    """What Iterable said of a user's profile; the events follow a profile that was accepted."""
    profile = told if user.profile is not None else None
    derived = profile is not None and told.outcome is not Outcome.DELIVERED
    return UserOutcome(user, profile, (told,) * len(user.events), derived=derived)


def names(users: Sequence[OwedUser]) -> list[str]:
    """Who was served, in order."""
    return [user.identity.split("@")[0] for user in users]


def fields_of(user: OwedUser) -> dict[str, Any]:
    """The data fields of the profile."""
    assert user.profile is not None
    fields: dict[str, Any] = json.loads(user.profile)["dataFields"]
    return fields


def pages(user: OwedUser) -> list[str]:
    """The pages of the events, in order."""
    return [json.loads(event.body)["dataFields"]["page"] for event in user.events]


# -- what is owed --------------------------------------------------------------------------------------------


def test_everything_is_owed_once(runs: Runs) -> None:
    """New users are owed a profile and an event each, in the order of the result; once delivered they are unchanged."""
    plan = runs.begin(people(4))
    assert (plan.owed_users, plan.owed_profiles, plan.owed_events) == (4, 4, 4)
    served = runs.deliver()
    assert names(served) == ["user1", "user2", "user3", "user4"]
    assert all(user.profile and len(user.events) == 1 for user in served)

    plan = runs.begin(people(4))
    assert (plan.owed_users, plan.users, plan.events) == (0, Counts(unchanged=4), Counts(unchanged=4))
    assert runs.deliver() == []


def test_only_what_changed_is_owed(runs: Runs) -> None:
    """A changed profile is owed without its event, and a new event without its profile."""
    runs.run(people(3))
    rows = [person(1, first_name="New"), person(2, page="settings"), person(3)]

    changed, viewed = runs.run(rows)

    assert (changed.identity, changed.events) == (address(1), ())
    assert fields_of(changed)["first_name"] == "New"
    assert (viewed.identity, viewed.profile, pages(viewed)) == (address(2), None, ["settings"])


def test_failed_is_owed_again(runs: Runs) -> None:
    """What failed is the next run's first business, and no longer once delivered."""
    assert len(runs.run(people(2), lambda _: FAILED)) == 2
    assert names(runs.run([person(2), person(1)])) == ["user2", "user1"]
    assert runs.run(people(2)) == []


def test_an_event_alone(runs: Runs) -> None:
    """A profile that was delivered is not owed again because its event failed."""
    runs.begin(people(1))
    (user,) = runs.outbox.claim(9, 9)
    runs.outbox.record([UserOutcome(user, DELIVERED, (FAILED,))])

    (again,) = runs.run(people(1))

    assert again.profile is None
    assert again.events == user.events


def test_what_is_owed_outlives_its_row(runs: Runs) -> None:
    """A payload whose row has left the result is delivered by the next plain run, and not by one with a limit."""
    mapping = replace(MAPPING, segment_field="")
    runs.begin(people(3), mapping)

    runs.begin([person(9)], mapping, whole_window=False)
    assert names(runs.deliver()) == ["user9"]
    runs.begin([person(9)], mapping)
    assert names(runs.deliver()) == ["user1", "user2", "user3"]
    runs.begin([person(9)], mapping)
    assert runs.deliver() == []


def test_a_row_replaces_what_was_owed_before(runs: Runs) -> None:
    """Of a user the newest profile alone is owed, with every event that Iterable lacks."""
    runs.run([person(1)], lambda _: FAILED)

    (user,) = runs.run([person(1, first_name="New", page="settings", event_time=T0 + timedelta(hours=1))])

    assert fields_of(user)["first_name"] == "New"
    assert pages(user) == ["pricing", "settings"]


def test_full_owes_everything(runs: Runs) -> None:
    """--full sends what is unchanged and what was rejected, the events under the ids they had."""
    first = runs.run(people(2), lambda user: REJECTED if user.identity == address(1) else DELIVERED)

    again = runs.run(people(2), full=True)

    assert [user.events for user in again] == [user.events for user in first]
    assert names(again) == ["user1", "user2"]


# -- rows that say the same, or speak of one user ------------------------------------------------------------


def test_two_rows_of_a_user(runs: Runs) -> None:
    """One profile from the newest row; every event, oldest first."""
    rows = [
        person(1, first_name="Old", page="a"),
        person(1, first_name="Newest", page="b", event_time=T0 + timedelta(hours=2)),
        person(1, first_name="Between", page="c", event_time=T0 + timedelta(hours=1)),
    ]
    plan = runs.begin(rows)
    (user,) = runs.deliver()

    assert (plan.owed_profiles, plan.owed_events) == (1, 3)
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

    assert (plan.owed_profiles, plan.owed_events) == (GROUP,) * 2


def test_an_address_in_capitals_is_the_same_user(runs: Runs) -> None:
    """Addresses that differ in case or blanks are one user with one profile and one event."""
    plan = runs.begin([person(1), person(1, email=" USER1@Example.COM ")])
    assert (plan.owed_users, plan.owed_profiles, plan.owed_events) == (1, 1, 1)
    runs.deliver()

    assert runs.run([person(1, email="User1@EXAMPLE.com")]) == []


# -- in doubt, owed ------------------------------------------------------------------------------------------


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
    assert user.events == first.events


def test_the_hole_is_closed_for_an_exit(runs: Runs) -> None:
    """An exit in doubt and the user is back: the profile is sent, with the segment field true."""
    runs.run([person(1), person(2)])
    runs.begin([person(2)])
    (sent,) = runs.outbox.claim(9, 9)
    assert fields_of(sent) == {SEGMENT: False}

    (user,) = runs.run([person(1), person(2)])

    assert (user.identity, fields_of(user)[SEGMENT]) == (address(1), True)


def test_the_hole_is_closed_for_an_entry(runs: Runs) -> None:
    """An entry in doubt and the user is gone: the exit is sent, with the profile that is still owed."""
    runs.begin([person(1), person(2)])
    runs.outbox.claim(9, 9)

    served = runs.run([person(2)])

    assert names(served) == ["user2", "user1"]
    assert fields_of(served[1]) == {**fields_of(served[0]), "first_name": "Name 1", SEGMENT: False}
    assert runs.run([person(2)]) == []


def test_what_was_not_sent_is_not_in_doubt(runs: Runs) -> None:
    """Claimed, then stopped before any request: the state knows what Iterable holds, and A costs no request."""
    runs.run([person(1, first_name="A", device="A")])
    not_sent = PayloadResult(Outcome.FAILED, "stopped", sent=False)
    assert len(runs.run([person(1, first_name="B", device="B")], lambda _: not_sent)) == 1

    assert runs.run([person(1, first_name="A", device="A")]) == []


def test_an_entry_that_was_not_sent_is_no_entry(runs: Runs) -> None:
    """Claimed, never sent, and gone from the result: there is no exit of a user who never came in."""
    runs.run([person(2)])
    runs.run(people(2), lambda _: PayloadResult(Outcome.FAILED, "stopped", sent=False))
    inside = "SELECT identity FROM profile WHERE in_segment > 0"

    assert runs.state.db.execute(inside).fetchall() == [(address(2),)]


def test_a_group_is_forgotten_before_it_is_given(runs: Runs) -> None:
    """When `claim` returns, another process reads that nothing is known of these users."""
    runs.run(people(3))
    runs.begin([person(number, first_name="New") for number in (1, 2, 3)])
    runs.outbox.claim(2, 9)

    with closing(sqlite3.connect(runs.state.path)) as other:
        known = other.execute("SELECT identity, delivered IS NULL FROM profile ORDER BY identity").fetchall()
    assert known == [(address(1), 1), (address(2), 1), (address(3), 0)]


def test_outcomes_are_recorded_together(runs: Runs) -> None:
    """A crash inside `record` leaves all of its users owed and in doubt."""
    runs.begin(people(2))
    users = runs.outbox.claim(9, 9)
    broken = UserOutcome(users[1], DELIVERED, ())  # an event without an outcome is a bug
    with pytest.raises(ValueError, match="zip"):
        runs.outbox.record([answered(users[0], DELIVERED), broken])

    assert names(runs.run(people(2))) == ["user1", "user2"]


@pytest.mark.parametrize("step", ["_known", "_user_row", "_event_row"])
def test_a_signal_while_rows_come_in(runs: Runs, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Rows that were interrupted half way leave the state as it was, and usable."""
    box = Outbox(runs.state, runs.destination, Policy(), TODAY)
    builder = PayloadBuilder(MAPPING, COLUMNS)

    def interrupted(*_: Any) -> Any:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(box._comparison, step, interrupted)
        with pytest.raises(Died):
            box.load(builder.build(row) for row in people(3))

    runs.state.begin_run("next", "2026-01-06 12:00:00")
    assert names(runs.run(people(2))) == ["user1", "user2"]


# -- rejections ----------------------------------------------------------------------------------------------


def test_rejected_is_remembered(runs: Runs) -> None:
    """A rejected profile is not owed until its payload changes, and its event shares its outcome."""
    runs.run(people(1), lambda _: REJECTED)

    plan = runs.begin(people(1))
    assert (plan.owed_users, plan.users, plan.events) == (0, Counts(rejected=1), Counts(rejected=1))
    assert len(runs.run([person(1, first_name="New")])) == 1


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


# -- leaving the segment -------------------------------------------------------------------------------------


def test_who_left_is_told_once(runs: Runs) -> None:
    """A member who is no longer in the result gets the field false, once; after a return and an exit, once more."""
    runs.run(people(3))

    (left,) = runs.run(people(2))
    assert (left.identity, fields_of(left), left.leaves) == (address(3), {SEGMENT: False}, True)
    assert runs.run(people(2)) == []
    (back,) = runs.run(people(3))
    assert fields_of(back)[SEGMENT] is True
    assert len(runs.run(people(2))) == 1


def test_an_exit_that_failed_is_tried_again(runs: Runs) -> None:
    """An exit is owed until Iterable took it."""
    runs.run(people(3))
    runs.run(people(2), lambda _: FAILED)

    assert names(runs.run(people(2))) == ["user3"]


def test_an_exit_that_is_rejected_is_over(runs: Runs) -> None:
    """A user who is forgotten at Iterable is not told to leave in every run."""
    runs.run(people(3))
    runs.run(people(2), lambda _: REJECTED)

    assert runs.run(people(2)) == []


def test_nobody_leaves_in_a_run_that_is_not_plain(runs: Runs) -> None:
    """--limit and --since do not see everybody, so absence says nothing."""
    runs.run(people(3))

    assert runs.run(people(1), whole_window=False) == []


def test_without_a_segment_nobody_leaves(runs: Runs) -> None:
    """An empty SEGMENT_FIELD: absence means nothing."""
    runs.begin(people(3), replace(MAPPING, segment_field=""))
    runs.deliver()
    runs.begin(people(1), replace(MAPPING, segment_field=""))

    assert runs.deliver() == []


@pytest.mark.parametrize(
    ("size", "stay", "held_back"),
    [
        pytest.param(9, 0, False, id="a small segment may empty itself"),
        pytest.param(10, 5, False, id="half may leave"),
        pytest.param(10, 4, True, id="more than half may not"),
        pytest.param(10, 0, True, id="an empty table upstream"),
        pytest.param(11, 5, True, id="six of eleven"),
    ],
)
def test_mass_exit(runs: Runs, size: int, stay: int, held_back: bool) -> None:
    """More than half of a segment of 10 or more does not leave at once, unless that is allowed."""
    runs.run(people(size))
    plan = runs.begin(people(stay))

    assert (plan.exit_held_back, plan.leaving, plan.segment_size) == (held_back, size - stay, size)
    assert len(runs.deliver()) == (0 if held_back else size - stay)
    assert len(runs.run(people(stay), allow_mass_exit=True)) == (size - stay if held_back else 0)


def test_another_segment_field(runs: Runs) -> None:
    """After a change of SEGMENT_FIELD the profiles are sent with the new one, and nobody leaves either."""
    runs.run(people(3))
    renamed = replace(MAPPING, segment_field="viewed")

    plan = runs.begin(people(2), renamed)
    assert (plan.segment_renamed_from, plan.leaving) == (SEGMENT, 0)
    assert ["viewed" in fields_of(user) for user in runs.deliver()] == [True, True]
    assert runs.begin(people(2), renamed).segment_renamed_from == ""


# -- settings that change ------------------------------------------------------------------------------------


def test_other_user_fields_send_the_profiles_again(runs: Runs) -> None:
    """A changed USER_FIELDS changes every profile and no event."""
    runs.run(people(2))
    plan = runs.begin(people(2), replace(MAPPING, user_fields=parse_fields("first_name")))

    assert (plan.owed_profiles, plan.owed_events) == (2, 0)


def test_other_event_fields_keep_the_ids(runs: Runs) -> None:
    """A changed EVENT_FIELDS sends the events again under the ids they had: Iterable overwrites, nothing doubles."""
    first = runs.run(people(2))
    runs.begin(people(2), replace(MAPPING, event_fields=parse_fields("page")))
    second = runs.deliver()

    assert [user.profile for user in second] == [None, None]
    assert [user.events[0].id for user in second] == [user.events[0].id for user in first]
    assert pages(second[0]) == ["pricing"]


# -- time ----------------------------------------------------------------------------------------------------


def test_what_nobody_saw_for_90_days_is_forgotten(runs: Runs) -> None:
    """Those who left long ago go out of the state; members and those of the result stay, however old."""
    runs.run(people(3))
    runs.run(people(2))
    runs.today += FORGET_AFTER + 1
    runs.run(people(2))

    assert runs.state.db.execute("SELECT identity FROM profile").fetchall() == [(address(1),), (address(2),)]
    assert runs.state.db.execute("SELECT COUNT(*) FROM event").fetchone() == (2,)
    assert runs.run(people(2)) == []


def test_members_are_not_forgotten(runs: Runs) -> None:
    """Whose exit was held back is a member still after 90 days, and may then be let go."""
    runs.run(people(12))
    runs.today += FORGET_AFTER + 1
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


# -- many events of one user ---------------------------------------------------------------------------------


def many_events(count: int) -> list[Row]:
    """Rows of one user, each a view a second later."""
    return [person(1, event_time=T0 + timedelta(seconds=second)) for second in range(count)]


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
    """So many events are in memory as were asked for, however many users owe them: at least one for each user."""
    views = [person(n, event_time=T0 + timedelta(seconds=second)) for n in (1, 2, 3) for second in range(5)]
    runs.begin(views)
    assert [len(user.events) for user in runs.outbox.claim(2, 7)] == [3, 3]
    assert [len(user.events) for user in runs.outbox.claim(2, 0)] == [1]


# -- whose turn it is ----------------------------------------------------------------------------------------


def test_known_failers_come_last_and_by_themselves(runs: Runs) -> None:
    """Fresh users and unsent debts come in the query's order, then who leaves, then who failed before."""
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


def test_one_delivery_ends_the_bad_name(runs: Runs) -> None:
    """A known failer who gets something is as good as anybody in the next run; a rejection changes nothing."""
    runs.run(people(2), lambda _: FAILED)
    runs.run(
        [person(1), person(2, plan_type="free")], lambda user: DELIVERED if user.identity == address(1) else REJECTED
    )
    assert runs.state.db.execute("SELECT identity FROM failer").fetchall() == [(address(2),)]


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


# -- looking -------------------------------------------------------------------------------------------------


def test_a_copy_shows_what_a_run_would_send(runs: Runs) -> None:
    """A copy of the state gives the same users and leavers, and the state is as it was afterwards."""
    runs.run(people(3))
    rows = [person(1, first_name="New"), person(2), person(4)]
    before = list(runs.state.db.iterdump())
    with closing(StateCopy(runs.state.path)) as copy:
        shown = Runs(copy).run(rows)

    assert list(runs.state.db.iterdump()) == before
    assert shown == runs.run(rows)
