"""Who left the segment, and who may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sample_rows import address, people
from tests.state.runs import (
    FAILED,
    MAPPING,
    REJECTED,
    SEGMENT,
    Runs,
    fields_of,
    names,
)


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
    """An exit is pending until Iterable took it."""
    runs.run(people(3))
    runs.run(people(2), lambda _: FAILED)

    assert names(runs.run(people(2))) == ["user3"]


def test_an_exit_that_failed_is_one_however_users_are_named_then(runs: Runs) -> None:
    """Who left while the ids identified users is told so by the id, and counted as leaving."""
    by_id = replace(MAPPING, user_id_column="id")
    runs.begin(people(3), by_id)
    runs.deliver()
    runs.begin(people(2), by_id)
    runs.deliver(lambda _: FAILED)
    runs.begin(people(2))

    (left,) = [user for user in runs.deliver() if user.leaves]
    assert (left.identity, fields_of(left), runs.plan.leavers) == ("id:3", {SEGMENT: False}, 1)


def test_an_exit_that_is_rejected_is_over(runs: Runs) -> None:
    """A user who is forgotten at Iterable is not told to leave in every run."""
    runs.run(people(3))
    runs.run(people(2), lambda _: REJECTED)

    assert runs.run(people(2)) == []


def test_nobody_leaves_in_a_run_that_is_not_plain(runs: Runs) -> None:
    """--limit and --since do not see everybody, so absence says nothing."""
    runs.run(people(3))

    assert runs.run(people(1), whole_window=False) == []


def test_a_run_that_is_not_plain_forgets_nobody(runs: Runs) -> None:
    """Also after months without a run: it has not seen who else would be in the result."""
    runs.run(people(3))
    runs.today += 100
    runs.run(people(1), whole_window=False)

    assert runs.run(people(3)) == []


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


def test_an_exit_of_another_field(runs: Runs) -> None:
    """An exit that failed says nothing of the field of the next run, and goes out when the old field is back."""
    runs.run(people(3))
    runs.run(people(2), lambda _: FAILED)
    runs.begin(people(2), replace(MAPPING, segment_field="viewed"))
    assert names(runs.deliver()) == ["user1", "user2"]
    runs.outbox.remember()

    (left,) = [user for user in runs.run(people(2)) if user.leaves]
    assert (left.identity, fields_of(left)) == (address(3), {SEGMENT: False})
