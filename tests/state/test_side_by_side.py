"""Two syncs over one file: whatever one of them does meanwhile, the other has what it has in a file of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.rows.mapping import Mapping
from sync.rows.source import Row
from sync.state.backlog import read_figures
from sync.state.exchange import PayloadResult, PendingUser
from sync.state.file import State
from tests.examples import examples
from tests.sample_rows import T0, person
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
    open_quickly,
)

rows = st.builds(
    lambda number, name, letter, seconds: person(
        number, first_name=name, email=f"{letter}@example.com", event_time=T0 + timedelta(seconds=seconds)
    ),
    st.sampled_from([1, 2]),
    st.sampled_from(["Ann", "Bob"]),
    st.sampled_from("aaabc"),
    st.sampled_from([1, 2]),
)
how = (
    st.lists(rows, min_size=1, max_size=3),
    st.sampled_from([{}, {}, {"full": True}, {"retry_rejected": True}, {"whole_window": False}]),
    st.sampled_from([0, 0, 0, 8, 100]),
    st.sampled_from([SEGMENT, SEGMENT, SEGMENT, "another", ""]),
)
begin, whole = st.tuples(st.just("begin"), *how), st.tuples(st.just("whole"), *how)
told = st.sampled_from([DELIVERED, DELIVERED, FAILED, FAILED._replace(sent=False), REJECTED])
claim, end = st.just(("claim",)), st.just(("end",))
answer, serve = (st.tuples(st.just(what), told) for what in ("answer", "serve"))
steps = st.tuples(st.sampled_from([0, 1]), st.one_of(whole, whole, begin, serve, serve, serve, claim, answer, end))


class Side:
    """One sync, a run at a time, as a process of its own would do it."""

    def __init__(self, path: Path, name: str, mapping: Mapping, stack: ExitStack) -> None:
        self.path, self.name, self.mapping, self.stack = path, name, mapping, stack
        self.today = TODAY
        self.begun = False
        self.held: list[PendingUser] = []
        self.open()

    def open(self) -> None:
        """A new process."""
        self.runs = Runs(self.stack.enter_context(closing(open_quickly(self.path))), self.name)

    def do(self, what: str, *more: Any) -> Any:
        """Take this step, and say what is seen of it."""
        if what in ("begin", "whole"):
            return getattr(self, what)(*more)
        return getattr(self, what)(*more) if self.begun else None

    def begin(self, result: Sequence[Row], policy: dict[str, Any], days: int, field: str) -> Any:
        """A run; one that had begun before has died."""
        if self.begun:
            self.runs.state.close()
            self.open()
        self.today += days
        self.runs.today, self.begun, self.held = self.today, True, []
        mapping = replace(self.mapping, segment_field=field)
        return vars(self.runs.begin(result, mapping, allow_mass_exit=True, **policy))

    def whole(self, *how: Any) -> Any:
        """A run that brings everything to its end."""
        seen = [self.begin(*how)]
        while users := self.serve(DELIVERED):
            seen.append(users)
        return [*seen, self.end()]

    def claim(self) -> Any:
        """The next users are claimed."""
        users = self.runs.outbox.claim(2, 9)
        self.held += users
        return [(user.identity, user.profile, user.leaves, [e.body for e in user.events], user.move) for user in users]

    def serve(self, told: PayloadResult) -> Any:
        """The next users are claimed, and have this outcome."""
        claimed = self.claim()
        self.answer(told)
        return claimed

    def answer(self, told: PayloadResult) -> None:
        """All that is claimed has this outcome."""
        moves = [told if user.move else None for user in self.held]
        outcomes = [answered(user, told)._replace(move=move) for user, move in zip(self.held, moves, strict=True)]
        self.runs.outbox.record(outcomes)
        self.held = []

    def end(self) -> Any:
        """The run comes to its end."""
        self.begun, self.held = False, []
        self.runs.outbox.remember()
        return self.on_record()

    def on_record(self) -> Any:
        """What the file holds of this sync, in numbers and in full."""
        found: list[Any] = [read_figures(self.runs.state, self.runs.sync, 86400.0 * self.today)]
        for table, columns in (
            ("known", "key, fingerprint, rejected, sent_as, seen"),
            ("member", "field, person"),
            ("name", "person, address, state, seen"),
            ("failer", "person, seen"),
            ("pending", "state, person, key, moment, inside, address, fingerprint, reason, since, body"),
        ):
            order = "place" if table == "pending" else "2, 1"
            query = f"SELECT {columns} FROM {table} WHERE sync = ? ORDER BY {order}"
            found.append((table, self.runs.state.db.execute(query, (self.runs.sync,)).fetchall()))
        return found


@pytest.mark.parametrize("mapping", [MAPPING, BOTH_NAMES], ids=["addresses", "addresses with ids"])
def test_each_has_what_it_has_alone(mapping: Mapping) -> None:
    """Two syncs with the same users and events, in turns and in the midst of each other's runs, some of which die."""

    @examples(15)
    @given(begin, begin, st.lists(steps, min_size=10, max_size=30))
    def hold(first: Any, second: Any, further: list[tuple[int, Any]]) -> None:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            together = [Side(Path(folder, "both"), name, mapping, stack) for name in ("one", "two")]
            alone = [Side(Path(folder, name), name, mapping, stack) for name in ("one", "two")]
            for which, step in [(0, first), (1, second), *further]:
                assert together[which].do(*step) == alone[which].do(*step)
            for which in (0, 1):
                assert together[which].on_record() == alone[which].on_record()

    hold()


def test_who_leaves_one_segment_stays_in_the_other(path: Path) -> None:
    """An exit is of one sync, though the other has the same user in a field of the same name, in another project."""
    with closing(State(path)) as state:
        one, other = Runs(state, "one"), Runs(state, "other")
        for runs in (one, other):
            runs.run([person(1), person(2)])
        assert [user.leaves for user in one.run([person(2)], allow_mass_exit=True)] == [True]

        assert [user.leaves for user in other.run([person(2)], allow_mass_exit=True)] == [True]
        assert one.run([person(2)]) == other.run([person(2)]) == []


def test_what_each_has_set_aside_is_its_own(path: Path) -> None:
    """The same change was rejected for both: what one asks for again, or tells of an exit, is not the other's."""
    changed = [person(1, first_name="New"), person(2)]
    with closing(State(path)) as state, closing(State(path)) as another:
        one, two = Runs(state, "one"), Runs(another, "two")
        for runs in (one, two):
            runs.run([person(1), person(2)])
            runs.run(changed, lambda _: REJECTED)
        one.run(changed, lambda _: REJECTED, retry_rejected=True)
        assert two.run(changed) == []
        one.run([person(2)])
        (user,) = two.run([person(2)], retry_rejected=True)
    assert (user.leaves, fields_of(user)["first_name"]) == (True, "New")
