"""The key, the base URL or DESTINATION change: the same project or another one, and who has to say so."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from tests import faults as catalogue
from tests.harness import KEY, World
from tests.run.rotating import BOTH_NAMES, EU, ROTATED, THIRD, change, project, refused
from tests.run.test_syncs import members
from tests.sample_rows import address, people


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A sync of twelve users that has not run yet."""
    made = World(tmp_path, monkeypatch, WORKERS="1")
    made.rows = people(12)
    return made


@pytest.fixture
def world(fresh: World) -> World:
    """The same after its first run."""
    assert fresh.run().requests == 24
    return fresh


# -- the question --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "switches",
    [{}, {"limit": 2}, {"full": True}, {"retry_rejected": True}, {"new_event_ids": True, "allow_mass_exit": True}],
    ids=str,
)
@pytest.mark.parametrize(
    "environ",
    [
        {"ITERABLE_API_KEY": ROTATED},
        {"ITERABLE_API_KEY": ROTATED, "DESTINATION": "shop"},
        {"ITERABLE_API_BASE_URL": EU},
        {"ITERABLE_API_BASE_URL": EU, "DESTINATION": "shop"},
        {"ITERABLE_API_KEY": ROTATED, "ITERABLE_API_BASE_URL": EU},
        {"ITERABLE_API_KEY": ROTATED, "ITERABLE_BULK": "true"},
        {"ITERABLE_API_KEY": ROTATED, "SEGMENT_FIELD": ""},
        {"ITERABLE_API_KEY": ROTATED, "SEGMENT_FIELD": "another"},
        {"ITERABLE_API_KEY": ROTATED, "USER_FIELDS": ""},
    ],
    ids=lambda environ: "-".join(environ) if isinstance(environ, dict) else None,
)
def test_a_run_that_nobody_can_judge_is_refused(
    world: World, environ: dict[str, str], switches: dict[str, Any]
) -> None:
    """It says what is at stake and the two ways forward, and asks again until it has its answer."""
    change(world, **environ)
    for _ in range(2):
        told = refused(world, **switches)
        assert f"{project(KEY)} with 12 users, 12 members of the segment and 12 events" in told
        assert "--same-project" in told and "--new-project" in told
        assert project(world.environ["ITERABLE_API_KEY"], world.environ["ITERABLE_API_BASE_URL"]) in told
        assert ROTATED not in world.log() and KEY not in world.log()
    assert "Run finished: exit_code=2 " in world.log().splitlines()[-1]


def test_another_name_of_this_machine_is_another_url(fresh: World) -> None:
    """Nobody can know that localhost is 127.0.0.1."""
    change(fresh, ITERABLE_API_BASE_URL="http://127.0.0.1:8080")
    fresh.run()
    change(fresh, ITERABLE_API_BASE_URL="http://localhost:8080")
    assert project(KEY, "http://127.0.0.1:8080") in refused(fresh)


@pytest.mark.parametrize(
    "url",
    [
        "https://API.Iterable.com",
        "https://api.iterable.com/",
        "https://api.iterable.com:443",
        "HTTPS://api.iterable.com:443//",
    ],
)
def test_another_spelling_is_no_other_url(world: World, url: str) -> None:
    """Case, a slash at the end and the usual port say nothing."""
    change(world, ITERABLE_API_BASE_URL=url)
    assert world.run().requests == 0


def test_it_says_when_the_destination_was_last_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of this machine, as the log has it; a run that only failed or was refused did not use it."""
    used = "SELECT json_extract(settings, '$.used') BETWEEN started AND datetime() FROM sync, run"
    assert world.table(used) == [(1,)]
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        with closing(sqlite3.connect(world.settings.state_file)) as state, state:
            state.execute("UPDATE sync SET settings = json_set(settings, '$.used', '2026-01-13 14:31:22')")
        world.breaks_after = 1
        world.run()
        change(world, ITERABLE_API_KEY=ROTATED)
        for _ in range(2):
            assert "last used 2026-01-13 09:31." in refused(world)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_single_user_is_not_many(fresh: World) -> None:
    """The sentence is English for one user, too."""
    fresh.rows = people(1)
    fresh.run()
    change(fresh, ITERABLE_API_KEY=ROTATED)
    assert "with 1 user, 1 member of the segment and 1 event, last used" in refused(fresh)


def test_events_alone_are_something_to_lose(fresh: World) -> None:
    """Without profiles no user is on record, and the events are."""
    fresh.environ["USER_FIELDS"] = ""
    fresh.run()
    change(fresh, ITERABLE_API_KEY=ROTATED)
    assert "with 0 users, 0 members of the segment and 12 events" in refused(fresh)


@pytest.mark.parametrize("environ", [{}, BOTH_NAMES], ids=["address", "both names"])
def test_what_is_unconfirmed_is_something_to_lose(fresh: World, environ: dict[str, str]) -> None:
    """Iterable may have taken what it did not answer, and its user may be in the segment."""
    fresh.environ |= environ
    fresh.rows = people(1)
    fresh.iterable.faults = lambda _: catalogue.NO_ANSWER_APPLIED
    fresh.run()
    fresh.iterable.faults = None
    change(fresh, ITERABLE_API_KEY=ROTATED)
    assert "with 1 user, 1 member of the segment and 0 events" in refused(fresh)


# -- the answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "shop"])
@pytest.mark.parametrize("environ", [{"ITERABLE_API_KEY": ROTATED}, {"ITERABLE_API_BASE_URL": EU}], ids=["key", "URL"])
def test_the_same_project_goes_on(world: World, environ: dict[str, str], name: str) -> None:
    """--same-project takes over what is on record: nothing is sent again, and who left is told so. Once is enough."""
    change(world, **environ, **({"DESTINATION": name} if name else {}))
    del world.rows[:2]

    summary = world.run(same_project=True)
    assert (summary.exit_code, summary.requests, summary.left_segment) == (ExitCode.DONE, 2, 2)
    assert members(world, "recent_page_view") == {address(n) for n in range(3, 13)}
    assert world.run().requests == 0
    assert world.table("SELECT COUNT(*) FROM sync") == [(1,)]


def test_another_project_starts_anew(world: World) -> None:
    """--new-project leaves what is on record where it is; the old key finds it again, members and all."""
    change(world, ITERABLE_API_KEY=ROTATED)
    assert world.run(new_project=True).requests == 24
    del world.rows[0]
    assert world.run().left_segment == 1
    change(world, ITERABLE_API_KEY=KEY)
    assert world.run().left_segment == 1
    change(world, ITERABLE_API_KEY=ROTATED)
    assert world.run().requests == 0


@pytest.mark.parametrize("answer", ["same_project", "new_project"])
def test_an_answer_counts_though_its_run_fails(world: World, answer: str) -> None:
    """It was given once, and need not be given again because the database went away."""
    change(world, ITERABLE_API_KEY=ROTATED)
    world.breaks_after = 1
    assert world.run(**{answer: True}).exit_code == ExitCode.STOPPED
    world.breaks_after = None
    assert world.run().requests == (0 if answer == "same_project" else 24)


def test_a_key_that_is_rotated_twice(world: World) -> None:
    """Each time it is asked, and the first key is one of those that are not on record any more."""
    for key in (ROTATED, THIRD, KEY):
        change(world, ITERABLE_API_KEY=key)
        refused(world)
        assert world.run(same_project=True).requests == 0


@pytest.mark.parametrize("answer", ["same_project", "new_project"])
def test_where_nothing_is_to_be_decided_the_flags_do_nothing(fresh: World, answer: str) -> None:
    """In a first run, and while key and base URL are those on record."""
    assert fresh.run(**{answer: True}).requests == 24
    assert fresh.run(**{answer: True}).requests == 0
    change(fresh, DESTINATION="shop")
    assert fresh.run(**{answer: True}).requests == 0
    assert fresh.table("SELECT destination FROM sync") == [("shop",)]


# -- names ---------------------------------------------------------------------------------------------------


def test_the_painless_way(world: World) -> None:
    """Name the destination, run once, rotate the key: nobody is asked."""
    change(world, DESTINATION="shop")
    assert world.run().requests == 0
    for environ in ({"ITERABLE_API_KEY": ROTATED}, {"ITERABLE_API_BASE_URL": EU}, {"ITERABLE_API_KEY": THIRD}):
        change(world, **environ)
        assert world.run().requests == 0


def test_a_name_may_change_and_go(world: World) -> None:
    """While key and base URL are those on record it is the same project; a name that is gone is still known."""
    for name in ("shop", "store", "", "Shop"):
        change(world, DESTINATION=name)
        summary = world.run()
        assert summary.requests == 0
        assert summary.figures and summary.figures.segment_users == 12
        assert world.table("SELECT destination FROM sync") == [(name or "store",)]
    change(world, DESTINATION="")
    world.run()
    change(world, DESTINATION="Shop", ITERABLE_API_KEY=ROTATED)
    assert world.run().requests == 0


def test_a_name_on_record_is_not_asked_about(world: World) -> None:
    """DESTINATION chooses, whatever the key; a name of another case is another."""
    change(world, DESTINATION="shop")
    world.run()
    change(world, DESTINATION="test", ITERABLE_API_KEY=ROTATED)
    assert world.run(new_project=True).requests == 24
    change(world, DESTINATION="SHOP", ITERABLE_API_KEY=THIRD)
    assert f"shop ({project(KEY)})" in refused(world)
    change(world, DESTINATION="shop")
    assert world.run().requests == 0
    change(world, DESTINATION="test", ITERABLE_API_KEY=ROTATED)
    assert world.run().requests == 0


def test_the_key_counts_more_than_the_name_of_another_project(world: World) -> None:
    """The name of one project beside the key of another: the run goes where the key goes, and says so."""
    change(world, DESTINATION="shop")
    world.run()
    change(world, DESTINATION="test", ITERABLE_API_KEY=ROTATED)
    world.run(new_project=True)
    change(world, DESTINATION="shop")
    world.rows = people(11)
    assert world.run().left_segment == 1
    assert "DESTINATION=shop names another project on record" in world.log()
    change(world, DESTINATION="test")
    assert world.run().requests == 0
    change(world, DESTINATION="shop", ITERABLE_API_KEY=KEY)
    assert world.run().left_segment == 1


def test_of_several_destinations_one_is_chosen_by_its_name(world: World) -> None:
    """Each is listed with its own figures and its own day; --same-project cannot tell which is meant."""
    change(world, ITERABLE_API_KEY=ROTATED)
    world.rows = people(9)
    world.run(new_project=True)
    with closing(sqlite3.connect(world.settings.state_file)) as state, state:
        state.execute("UPDATE sync SET settings = json_set(settings, '$.used', '2026-01-1' || id || ' 12:00:00')")
    change(world, ITERABLE_API_KEY=THIRD)

    for switches in ({}, {"same_project": True}):
        told = refused(world, **switches)
        first, second = told.index(f"{project(KEY)} with 12 users"), told.index(f"{project(ROTATED)} with 9 users")
        assert "last used 2026-01-11" in told[first:second] and "last used 2026-01-12" in told[second:]
        assert all(word in told for word in ("DESTINATION", "--same-project", "--new-project"))
    change(world, DESTINATION=project(KEY))
    assert world.run().left_segment == 3
    world.environ["DESTINATION"] = ""
    assert world.run().requests == 0
    change(world, ITERABLE_API_KEY=ROTATED)
    assert world.run().requests == 0
