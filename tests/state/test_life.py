"""The life of a payload: what the state says of it, every way between its states, and a crash at every statement."""

from __future__ import annotations

import os
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sync.state.exchange import PendingUser, UserOutcome
from sync.state.file import State, StateError
from sync.state.outcomes import settle
from tests.harness import PROJECT
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
    pages,
)

PROFILES_ALONE = replace(MAPPING, event_name="")


# -- what the state says of a payload ------------------------------------------------------------------------

KNOWN = {"nothing": "DELETE FROM known", "same": "", "other": "'other'", "unconfirmed": "NULL"}


@pytest.mark.parametrize("member", [False, True], ids=["no member", "member"])
@pytest.mark.parametrize("rejected", ["same", "other", "none"])
@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("there", [True, False], ids=["in the result", "not in the result"])
def test_the_comparison(runs: Runs, there: bool, known: str, rejected: str, member: bool) -> None:
    """What Iterable has costs no request; what was rejected is not sent again; everything else is pending. Who was in
    the segment and is not in the result leaves it, whatever else is known.
    """
    runs.begin([person(1)], PROFILES_ALONE)
    runs.deliver()
    runs.outbox.remember()
    db = runs.state.db
    if rejected != "none":
        db.execute("UPDATE known SET rejected = CASE ? WHEN 'same' THEN fingerprint ELSE x'00' END", (rejected,))
    if known == "nothing":
        db.execute("UPDATE known SET fingerprint = NULL" if rejected != "none" else "DELETE FROM known")
    elif known != "same":
        db.execute(f"UPDATE known SET fingerprint = {KNOWN[known]}")
    if not member:
        db.execute("DELETE FROM member")

    plan = runs.begin([person(1)] if there else [], PROFILES_ALONE)

    told = (plan.users.unchanged, plan.users.rejected, plan.pending_profiles, plan.leavers)
    if not there:
        assert told == (0, 0, 0, member)
    elif known == "same":
        assert told == (1, 0, 0, 0)
    else:
        assert told == ((0, 1, 0, 0) if rejected == "same" else (0, 0, 1, 0))


# -- from state to state -------------------------------------------------------------------------------------

WAYS: dict[str, dict[int, int | None]] = {
    "delivered": {1: 3, 2: 3},
    "rejected": {1: 4, 2: 4},
    "failed": {1: 2, 2: 2},
    "not sent": {0: 0, 1: 0, 2: 2, 3: 3, 4: 4, 5: 5},
    "attempted": {0: 0, 1: 2, 2: 2, 3: 3, 4: 4, 5: 5},
    "settled": {0: 0, 1: 0, 2: 0, 3: None, 4: 5, 5: 5},
    "claimed": {0: 1},
}
"""Verb -> state -> the state after it. None: it is gone; a state that is not there: refused, as a mistake."""

RESULTS = {"delivered": DELIVERED, "rejected": REJECTED, "failed": FAILED, "not sent": FAILED._replace(sent=False)}


def do(runs: Runs, verb: str, user: PendingUser) -> None:
    """Let this become of the user's profile."""
    if verb == "settled":
        settle(runs.state, runs.sync, TODAY)
    elif verb == "attempted":
        runs.outbox.stay_in_doubt(user)
        runs.outbox.record([])
    elif verb == "claimed":
        runs.outbox._after = 0
        runs.outbox.claim(1, 1)
    else:
        runs.outbox.record([answered(user, RESULTS[verb])])


@pytest.mark.parametrize("verb", WAYS)
@pytest.mark.parametrize("state", range(6))
def test_every_way(runs: Runs, state: int, verb: str) -> None:
    """An outcome comes from a payload that was claimed; every other one is a mistake that says so."""
    runs.begin([person(1)], PROFILES_ALONE)
    (user,) = runs.outbox.claim(1, 1)
    runs.state.db.execute("UPDATE pending SET state = ?", (state,))
    if state in WAYS[verb]:
        do(runs, verb, user)
        after = WAYS[verb][state]
    else:
        with pytest.raises((RuntimeError, IndexError)):
            do(runs, verb, user)
        after = state
    assert runs.state.db.execute("SELECT state FROM pending").fetchall() == ([] if after is None else [(after,)])


# -- a crash at every point that can differ ------------------------------------------------------------------


class Iterable:
    """What was sent, on record in a file that outlives the process that sent it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, runs: Runs, mapping: Any, rows: list[Any]) -> None:
        """A whole run; what is answered is written down before it is recorded."""
        runs.begin(rows, mapping, allow_mass_exit=True)
        while users := runs.outbox.claim(2, 9):
            with self.path.open("a", encoding="utf-8") as file:
                for user in users:
                    inside = fields_of(user).get(SEGMENT) if user.profile else ""
                    name = fields_of(user).get("first_name") if user.profile else ""
                    file.write(f"{user.identity}\t{inside}\t{name}\t{','.join(pages(user))}\n")
            runs.outbox.record([answered(user, DELIVERED) for user in users])
        runs.outbox.remember()

    def lines(self) -> list[list[str]]:
        """Each user as often as he was sent."""
        return [line.split("\t") for line in self.path.read_text("utf-8").splitlines()]


BEFORE = [person(1), person(2), person(3), person(4)]
AFTER = [person(1, first_name="New"), person(2, page="further"), person(4), person(5)]


def end_at(state: State, number: int) -> None:
    """From here on the process ends before the commit, or the statement outside a transaction, of this number.

    Within a transaction, any statement is as good as the last one: SQLite takes all of it back.
    """
    left = iter(range(number))

    def count(statement: str) -> None:
        if (not state.db.in_transaction or statement == "COMMIT") and next(left, None) is None:
            os._exit(9)

    state.db.set_trace_callback(count)


def crash(path: Path, log: Path, mapping: Any, number: int) -> bool:
    """A run in a process of its own that ends at this point; whether it had so many."""
    child = os.fork()
    if not child:
        try:
            with closing(State(path)) as state:
                end_at(state, number)
                Iterable(log).run(Runs(state), mapping, AFTER)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_crash_at_every_point(tmp_path: Path) -> None:
    """The next run opens the file, nothing is claimed, and it brings everything to its end: each user is told what the
    rows say last, nothing is lost, and only what was in flight is sent once more.
    """
    first = tmp_path / "first"
    log = tmp_path / "log"
    with closing(State(first)) as state:
        Iterable(log).run(Runs(state), BOTH_NAMES, BEFORE)
    sent_before = log.read_text("utf-8")
    number, crashed = 0, True
    while crashed:
        path = tmp_path / f"{number}"
        path.write_bytes(first.read_bytes())
        log.write_text(sent_before, "utf-8")
        crashed = crash(path, log, BOTH_NAMES, number)
        with closing(State(path)) as state:
            Iterable(log).run(Runs(state), BOTH_NAMES, AFTER)
            assert state.db.execute("SELECT * FROM pending").fetchall() == [], number
            assert runs_quietly(state, BOTH_NAMES), number
        _check(Iterable(log).lines(), number)
        path.unlink()
        number += 1
    assert number > 30


def runs_quietly(state: State, mapping: Any) -> bool:
    """Whether another run has nothing to do."""
    return Runs(state).begin(AFTER, mapping).pending_users == 0


def _check(lines: list[list[str]], number: int) -> None:
    last = {who: (inside, name) for who, inside, name, _ in lines if inside}
    assert last == {
        address(1): ("True", "New"),
        address(2): ("True", "Name 2"),
        address(3): ("False", last[address(3)][1]),
        address(4): ("True", "Name 4"),
        address(5): ("True", "Name 5"),
    }, number
    seen = [(who, page) for who, _, _, events in lines for page in events.split(",") if page]
    assert set(seen) == {(address(n), "pricing") for n in range(1, 6)} | {(address(2), "further")}, number
    assert len(lines) - 4 <= 4 + 2, f"{number}: more was sent again than was in flight"


def test_a_disk_that_fills_at_any_page(tmp_path: Path) -> None:
    """The run says so, and the next one brings everything to its end: nobody is left out, and nothing is half there."""
    rows = [person(number, first_name=f"{number}" * 3000) for number in range(1, 7)]
    room, is_full = 0, True
    while is_full:
        path, log = tmp_path / f"{room}", tmp_path / f"log{room}"
        with closing(State(path)) as state:
            Iterable(log).run(Runs(state), MAPPING, BEFORE)
            state.db.execute(f"PRAGMA max_page_count={state.db.execute('PRAGMA page_count').fetchone()[0] + room}")
            try:
                Iterable(log).run(Runs(state), MAPPING, rows)
                is_full = False
            except StateError as error:
                assert "cannot grow: the disk is full" in str(error)
        with closing(State(path)) as state:
            Iterable(log).run(Runs(state), MAPPING, rows)
            assert state.db.execute("SELECT * FROM pending").fetchall() == [], room
            assert Runs(state).begin(rows).pending_users == 0, room
        told = {who: name for who, _, name, _ in Iterable(log).lines() if name}
        assert told == {row["email"]: row["first_name"] for row in rows}, room
        room += 1
    assert room > 3


# -- the shape of the package --------------------------------------------------------------------------------

WRITERS = {
    "sync": {"syncs.py", "destinations.py", "outbox.py", "backlog.sql", "from_1_0_0.sql"},
    "segment_claim": {"syncs.py"},
    "known": {"settle.sql", "backlog.sql", "addresses.sql", "outcomes.py", "verification.py", "from_1_0_0.sql"}
    | {"destinations.py"},
    "member": {"settle.sql", "backlog.sql", "addresses.sql", "outcomes.py", "verification.py", "from_1_0_0.sql"},
    "name": {"settle.sql", "backlog.sql", "addresses.sql", "outcomes.py"},
    "pending": {"settle.sql", "backlog.sql", "addresses.sql", "outcomes.py", "claims.py", "from_1_0_0.sql"}
    | {"destinations.py"},
    "failer": {"backlog.sql", "outcomes.py"},
    "run": {"file.py", "from_1_0_0.sql"},
}


@pytest.mark.parametrize("table", WRITERS)
def test_who_writes_a_table(table: str) -> None:
    """A table of the file is written where a reader expects it, and nowhere else."""
    writes = re.compile(rf"(?:INSERT(?: OR \w+)? INTO|UPDATE(?: OR \w+)?|DELETE FROM) {table}\b")
    files = [path for kind in ("*.py", "*.sql") for path in (PROJECT / "sync/state").glob(kind)]
    assert {path.name for path in files if writes.search(path.read_text("utf-8"))} == WRITERS[table]


def test_nothing_grows_with_the_number_of_users(runs: Runs) -> None:
    """What the tables know is not kept beside them: a run over many users holds no more than who is in flight."""
    runs.begin(people(1000))
    while users := runs.outbox.claim(10, 10):
        for user in users[:2]:
            runs.outbox.stay_in_doubt(user)
        runs.outbox.record([UserOutcome(user, DELIVERED, (DELIVERED,)) for user in users])
    runs.outbox.remember()
    sizes = {name: len(value) for name, value in vars(runs.outbox).items() if hasattr(value, "__len__")}
    assert max(sizes.values()) < 20, sizes
