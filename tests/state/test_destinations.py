"""Which destination of its sync a run is at: what counts as something to lose, and any history of settings."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sync.state.destinations import RefusedError, SyncName
from sync.state.file import State, StateCopy
from sync.state.syncs import SyncRecord

URL, FIELD = "https://api.iterable.com", "recent_page_view"
NOWHERE = Path("there is no such state")
DELIVERED = "REPLACE INTO known (sync, key, fingerprint, seen) VALUES (?, 'a@example.com', x'00', 0)"


def number(state: State, key: str, destination: str = "", answer: str = "", name: str = "default") -> int:
    """The number of a sync at a destination."""
    answers = {answer: True} if answer else {}
    found: int = SyncRecord(state, SyncName(name, URL, key, destination), FIELD, **answers).id
    return found


PROFILE, EVENT = (
    f"known (sync, key, seen, fingerprint, rejected) VALUES (1, {key}, 0, {{}}, {{}})" for key in ("'a'", "x'00'")
)
PENDING = "pending (sync, state, person, key, moment, inside, since) VALUES (1, {}, 'a', {}, {}, {}, 0)"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (PROFILE.format("x'00'", "NULL"), "1 user, 0 members of the segment and 0 events"),
        (PROFILE.format("x'00'", "x'01'"), "1 user, 0 members of the segment and 0 events"),
        (PROFILE.format("NULL", "NULL"), "1 user, 0 members of the segment and 0 events"),
        (f"member VALUES (1, '{FIELD}', 'a')", "1 user, 1 member of the segment and 0 events"),
        ("member VALUES (1, 'another', 'a')", "1 user, 1 member of the segment and 0 events"),
        *(
            (PENDING.format(state, "'a'", "NULL", inside), f"1 user, {told} of the segment and 0 events")
            for state in (1, 2, 3)
            for inside, told in ((1, "1 member"), (0, "0 members"), (-1, "0 members"))
        ),
        (EVENT.format("x'00'", "NULL"), "0 users, 0 members of the segment and 1 event"),
        (EVENT.format("NULL", "NULL"), "0 users, 0 members of the segment and 1 event"),
        *(
            (PENDING.format(state, "x'00'", 0, 1), "0 users, 0 members of the segment and 1 event")
            for state in (1, 2, 3)
        ),
        *((PENDING.format(state, "'a'", "NULL", 1), "") for state in (0, 4, 5)),
        *((PENDING.format(state, "x'00'", 0, 1), "") for state in (0, 4, 5)),
        (PROFILE.format("NULL", "x'00'"), ""),
        (EVENT.format("NULL", "x'00'"), ""),
        ("failer VALUES (1, 'a', 0)", ""),
        ("name VALUES (1, 'id:1', 'a', 0, 0)", ""),
    ],
)
def test_what_is_something_to_lose(row: str, told: str) -> None:
    """All that is delivered, unconfirmed or a member, whichever table it waits in; a backlog and rejections are not."""
    with closing(StateCopy(NOWHERE)) as state:
        assert number(state, "key") == 1
        state.db.execute(f"INSERT INTO {row}")
        if told:
            with pytest.raises(RefusedError, match=f"with {told}, last used at an unknown time."):
                number(state, "rotated")
        else:
            assert number(state, "rotated") == 1


def test_another_syncs_state_is_no_question() -> None:
    """Nobody is asked about what another sync has delivered, or for what it has on record."""
    with closing(StateCopy(NOWHERE)) as state:
        first = number(state, "key", name="orders")
        state.db.execute(DELIVERED, (first,))
        own = number(state, "rotated")
        assert number(state, "key", "shop") == own
        assert number(state, "key", name="orders") == first


def test_its_own_destination_comes_before_that_of_1_0_0() -> None:
    """What 1.0.0 has left may be another sync's, of the same key."""
    with closing(StateCopy(NOWHERE)) as state:
        own = number(state, "rotated", "shop")
        state.db.execute(DELIVERED, (own,))
        old = "INSERT INTO sync (id, destination, project, segment_field) VALUES (9, 'old', ?, ?)"
        state.db.execute(old, (SyncName("", URL, "key").project, FIELD))
        state.db.execute(DELIVERED, (9,))
        assert number(state, "key", "shop") == own


Step = tuple[str, str, str, bool]
STEP = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from(("", "x", "y")),
    st.sampled_from(("", "same_project", "new_project")),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(STEP, max_size=9))
@example([("a", "x", "", True), ("b", "y", "new_project", False), ("b", "x", "", True), ("b", "", "", True)])
@example([("a", "", "", True), ("b", "", "new_project", False), ("c", "", "new_project", True), ("b", "", "", True)])
def test_any_history_of_settings(history: Sequence[Step]) -> None:
    """The key on record decides, then the name on record, then the operator; nothing that is held ever goes astray."""
    with closing(StateCopy(NOWHERE)) as state:
        for key, destination, answer, delivers in history:
            here = check_step(state, key, destination, answer)
            if delivers and here:
                state.db.execute(DELIVERED, (here,))


def check_step(state: State, key: str, destination: str, answer: str) -> int | None:
    """One run, held against the rules; returns the number of the sync, None for a run that is refused."""
    project = SyncName("", URL, key).project
    before = {row[0]: row[1:] for row in state.db.execute("SELECT id, destination, project FROM sync")}
    held = {row[0] for row in state.db.execute("SELECT DISTINCT sync FROM known")}
    by_key = {one for one, (_, its) in before.items() if its == project}
    by_name = {one for one, (name, _) in before.items() if name == (destination or project)}
    on_record = by_key & held or by_name or by_key
    is_asked = held and not on_record and (not answer or (answer == "same_project" and len(held) > 1))
    dump = list(state.db.iterdump())
    try:
        here = number(state, key, destination, answer)
    except RefusedError:
        assert is_asked
        assert list(state.db.iterdump()) == dump
        return None
    assert not is_asked
    if on_record:
        assert here in on_record
    elif answer == "same_project" and held:
        assert {here} == held
    else:
        assert here not in held
    after = {row[0]: row[1:] for row in state.db.execute("SELECT id, destination, project FROM sync")}
    assert after[here][1] == project
    assert {one: row for one, row in after.items() if one != here} == {
        one: row for one, row in before.items() if one != here
    }
    assert number(state, key, destination) == here, "no answer is needed twice"
    return here
