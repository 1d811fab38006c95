"""Rows that are known by their fingerprints: nothing comes out otherwise than if every payload had been made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.rows.mapping import Mapping
from sync.rows.payloads import Reading
from sync.rows.source import Row
from sync.state import comparison
from sync.state.exchange import PayloadResult, PendingUser, Plan
from tests.examples import examples
from tests.sample_rows import COLUMNS, T0, people, person
from tests.state.runs import (
    BOTH_NAMES,
    DELIVERED,
    FAILED,
    MAPPING,
    REJECTED,
    TODAY,
    Runs,
    forget_raw_values,
    open_quickly,
)

BY_ID = replace(MAPPING, user_id_column="id", send_address=True)
EVENTS_OF_BOTH_NAMES = replace(BOTH_NAMES, user_fields=(), segment_field="")
NO_EVENTS = replace(MAPPING, event_name="")
NO_PROFILES = replace(MAPPING, user_fields=(), segment_field="")


@contextmanager
def two_states() -> Iterator[tuple[Runs, Runs]]:
    """Runs on two states."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_quickly(Path(folder, "a"))) as first,
        closing(open_quickly(Path(folder, "b"))) as second,
    ):
        yield Runs(first), Runs(second)


def whole(users: Sequence[PendingUser]) -> list[Any]:
    """All that was sent; a user's place is that of the first row that had to be looked at, and may differ."""
    return sorted(
        (user.identity, user.profile or "", user.leaves, [event.body for event in user.events]) for user in users
    )


def counted(plan: Plan) -> dict[str, Any]:
    """Everything that a run would say of its result."""
    return {name: value for name, value in vars(plan).items()}


rows = st.builds(
    lambda number, name, at, browser: person(
        number, first_name=name, browser=browser, event_time=at and T0 + timedelta(seconds=at)
    ),
    st.sampled_from([1, 1, 2]),
    st.sampled_from(["Ann", "Bob", None]),
    st.sampled_from([1, 2, 3, None]),
    st.sampled_from(["Firefox", "Firefox", "Lynx"]),
)
told = st.sampled_from([DELIVERED, DELIVERED, DELIVERED, FAILED, REJECTED])
one_run = st.tuples(
    st.lists(rows, max_size=6),
    st.booleans(),
    st.tuples(told, told, told),
    st.sampled_from([{}, {}, {}, {"full": True}, {"retry_rejected": True}, {"whole_window": False}]),
    st.sampled_from([0, 1, 9]),
    st.sampled_from(["clear", "clear", "keep"]),
)


@pytest.mark.parametrize(
    "mapping", [MAPPING, BOTH_NAMES, BY_ID, NO_EVENTS, NO_PROFILES, EVENTS_OF_BOTH_NAMES], ids=range(6)
)
def test_the_same_as_without(mapping: Mapping, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the rows, their order and groups, the outcomes, the days between and NULL_MEANS: plan and requests are
    as if no row were known, and every payload made.
    """
    monkeypatch.setattr(comparison, "GROUP", 2)

    @examples(12)
    @given(st.lists(one_run, min_size=2, max_size=5))
    def hold(runs: list[tuple[list[Row], bool, tuple[PayloadResult, ...], dict[str, Any], int, str]]) -> None:
        with two_states() as both:
            before: list[Row] = []
            for more, again, outcomes, policy, days, null in runs:
                now = replace(mapping, null_means=null)
                result = [*before, *more] if again else more
                quick = _run(both[0], result, now, outcomes, policy, days)
                with monkeypatch.context() as patched:
                    patched.setattr(comparison, "_is_known", lambda *_: False)
                    slow = _run(both[1], result, now, outcomes, policy, days)
                assert quick == slow
                before = result

    hold()


def _run(
    runs: Runs,
    result: Sequence[Row],
    mapping: Mapping,
    outcomes: Sequence[PayloadResult],
    policy: dict[str, Any],
    days: int,
) -> tuple[dict[str, Any], list[Any]]:
    """One run, some days after the last: what it says of its result, and what it sends."""
    runs.today += days
    plan = runs.begin(result, mapping, **policy)
    served = runs.deliver(lambda user: outcomes[int(_number(user)) - 1])
    runs.outbox.remember()
    return counted(plan), whole(served)


def _number(user: PendingUser) -> str:
    return user.identity.removeprefix("id:").removeprefix("user").split("@")[0]


@pytest.mark.parametrize(
    "mapping", [MAPPING, BOTH_NAMES, BY_ID], ids=["addresses", "addresses with ids", "ids with addresses"]
)
def test_known_rows_are_not_made(runs: Runs, monkeypatch: pytest.MonkeyPatch, mapping: Mapping) -> None:
    """A run in which nothing changed makes no payload, however users are named."""
    monkeypatch.setattr(comparison, "GROUP", 5)
    runs.begin(people(12), mapping)
    runs.deliver()
    runs.outbox.remember()
    monkeypatch.setattr(Reading, "payloads", lambda *_: pytest.fail("a payload was made"))
    plan = runs.begin(people(12), mapping)

    assert (plan.users.unchanged, plan.events.unchanged, plan.pending_users) == (12, 12, 0)


def test_rows_that_were_made_once_are_known_then(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade or a change of settings every payload is made, and found to be at Iterable: once."""
    runs.run(people(3))
    forget_raw_values(runs)
    assert runs.run(people(3)) == []

    monkeypatch.setattr(Reading, "payloads", lambda *_: pytest.fail("a payload was made"))
    assert runs.begin(people(3)).users.unchanged == 3


@pytest.mark.parametrize("column", ["first_name", "page", "email", "event_time", "browser"])
def test_a_mapped_column_that_changes_is_seen(runs: Runs, column: str) -> None:
    """One row of many, in one of its columns."""
    runs.run(people(50))
    changed: dict[str, Any] = {"email": "new@example.com", "event_time": T0 + timedelta(hours=9)}
    runs.begin([*people(49), person(50, **{column: changed.get(column, "new")})], allow_mass_exit=True)

    assert "50" in {_number(user) if column != "email" else "50" for user in runs.deliver()}


def test_a_row_without_a_fingerprint_is_always_made(runs: Runs) -> None:
    """Without an event time a row has none: its profile is compared as it is sent."""
    for name, sent in (("Ann", 1), ("Ann", 0), ("Bob", 1)):
        runs.begin([person(1, first_name=name, event_time=None)], NO_EVENTS)
        assert len(runs.deliver()) == sent


def test_a_user_without_the_other_name_is_counted_in_every_run(runs: Runs) -> None:
    """Also where nothing changed."""
    for _ in range(3):
        assert runs.begin([person(1, email=None), person(2)], BY_ID).second_name_missing == 1
        runs.deliver()
        runs.outbox.remember()


def test_a_column_that_is_not_mapped_is_not(runs: Runs) -> None:
    """It may be the time of the query."""
    runs.run(people(3))
    assert runs.begin([person(number, id=number + 100) for number in (1, 2, 3)]).users.unchanged == 3


def test_what_changed_and_changed_back_while_nobody_answered(runs: Runs) -> None:
    """Unconfirmed, so pending: the fingerprint of what was delivered before says nothing any more."""
    runs.run([person(1)])
    runs.begin([person(1, first_name="New")])
    runs.outbox.claim(9, 9)  # and the process dies

    assert [user.profile is not None for user in runs.run([person(1)])] == [True]


def test_what_was_delivered_and_is_not_remembered(runs: Runs) -> None:
    """The run died at its end: the fingerprints of what was delivered before went when it was claimed."""
    runs.run([person(1)])
    runs.begin([person(1, first_name="New", browser="Lynx")])
    runs.deliver()  # and the process dies
    (user,) = runs.run([person(1)])

    assert (user.profile is not None, len(user.events)) == (True, 1)


def test_what_is_pending_and_no_longer_so(runs: Runs) -> None:
    """A row that went back before anything was sent of it: it is no longer pending."""
    runs.run([person(1)])
    runs.begin([person(1, first_name="New", browser="Lynx")])

    assert runs.run([person(1)]) == []
    assert runs.state.db.execute("SELECT COUNT(*) FROM pending").fetchone() == (0,)


def at(seconds: int, **changes: Any) -> Row:
    """A row of user 1 at this second."""
    return person(1, event_time=T0 + timedelta(seconds=seconds), **changes)


def test_an_older_row_alone_keeps_its_user(runs: Runs) -> None:
    """The newest row has left the result; the user has not."""
    runs.run([at(3), at(1)])
    plan = runs.begin([at(1)])
    assert (plan.users.unchanged, plan.events.unchanged, plan.leaving) == (1, 1, 0)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_newest_row_that_is_there_makes_the_profile(runs: Runs, backwards: bool) -> None:
    """The newest one that the state knows has left; of the others a changed one is newer than a known one."""
    runs.run([at(3, first_name="Ann"), at(1, first_name="Ann")])
    result = [at(1, first_name="Ann"), at(2, first_name="Bob")]
    (user,) = runs.run(result[::-1] if backwards else result)
    assert user.profile is not None
    assert '"Bob"' in user.profile


@pytest.mark.parametrize("backwards", [False, True])
def test_a_changed_row_that_is_older_makes_no_profile(runs: Runs, backwards: bool) -> None:
    """A new event from yesterday, in whose row the profile looks otherwise, comes beside the known newest row."""
    runs.run([at(3, first_name="Ann")])
    result = [at(3, first_name="Ann"), at(2, first_name="Bob")]
    (user,) = runs.run(result[::-1] if backwards else result)
    assert (user.profile, len(user.events)) == (None, 1)


def test_two_rows_that_are_one_event(runs: Runs) -> None:
    """The known one comes first and counts; the other is counted as merged, and nothing is sent."""
    runs.run([at(1)])
    plan = runs.begin([at(1), at(1, browser="Lynx")])
    assert (plan.merged_rows, plan.events.unchanged, plan.pending_events) == (1, 1, 0)


def test_new_rules_of_a_time_zone_know_no_row() -> None:
    """The same wall clock is another moment then; the zone's name is as before."""

    class Zone(tzinfo):
        def __init__(self, hours: int) -> None:
            self.hours = hours

        def utcoffset(self, _moment: datetime | None) -> timedelta:
            return timedelta(hours=self.hours)

        def dst(self, _moment: datetime | None) -> timedelta:
            return timedelta()

        def tzname(self, _moment: datetime | None) -> str:
            return "Zone"

        def __repr__(self) -> str:
            return "Zone"

    row = tuple(person(1)[column.name] for column in COLUMNS)
    old, again, new = (Reading(replace(MAPPING, timezone=zone), COLUMNS) for zone in (Zone(1), Zone(1), Zone(2)))
    assert old.fingerprint(row) == again.fingerprint(row)
    assert old.fingerprint(row) != new.fingerprint(row)


def test_a_move_in_doubt_of_whom_nobody_has_seen_for_long(runs: Runs) -> None:
    """The run died before its answer; 91 days later the user is not in the result: the exit goes out."""
    runs.begin([person(1)], BOTH_NAMES)
    runs.deliver()
    runs.begin([person(1, email="moved@example.com")], BOTH_NAMES)
    runs.outbox.claim(9, 9)
    runs.today += 91
    assert runs.begin([person(2)], BOTH_NAMES).leavers == 1
    assert [user.leaves for user in runs.deliver()].count(True) == 1


def test_events_stay_delivered_under_a_new_address(runs: Runs) -> None:
    """An event is its user's, whose id is known: it is compared under the id, not under the address of the day."""
    runs.begin([person(1)], BOTH_NAMES)
    runs.deliver()
    runs.outbox.remember()
    plan = runs.begin([person(1, email="new@example.com")], BOTH_NAMES)
    assert (plan.events.unchanged, plan.pending_events) == (1, 0)


def test_a_changed_mapping_knows_no_row(runs: Runs) -> None:
    """Every payload is made anew, and compared."""
    runs.run(people(3))
    runs.begin(people(3), replace(MAPPING, segment_field="other"))
    assert len(runs.deliver()) == 3


@pytest.mark.parametrize("table", ["known", "name"])
def test_seen_is_written_once_a_week(runs: Runs, table: str) -> None:
    """Who is in every result is never forgotten, whatever is skipped, and keeps the address."""
    for _ in range(20):
        runs.today += 6
        runs.begin(people(3), BOTH_NAMES)
        runs.deliver()
        runs.outbox.remember()
    assert runs.state.db.execute(f"SELECT MIN(seen) FROM {table}").fetchone()[0] > TODAY + 100


def test_what_a_killed_run_delivered_is_as_old_as_the_run_that_finds_it(runs: Runs) -> None:
    """It counts as seen on that day, and is forgotten 90 days later like anything else."""
    runs.begin(people(2))
    runs.deliver()
    runs.today += 3
    runs.begin(people(2))

    assert runs.state.db.execute("SELECT DISTINCT seen FROM known").fetchall() == [(TODAY + 3,)]
