"""Rows of which another one counts, though they differ from it: they are counted and named."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sync.run.exit_codes import ExitCode
from tests.harness import World, counts
from tests.run.moving import moving_world
from tests.sample_rows import T0, address, person

PROFILES = "Rows with the same user and event time as another row, but other profile values: "
EVENTS = "Rows with the same EVENT_KEY as another row, but other values: "
ADDRESS: dict[str, str] = {}
BY_ID = {"USER_ID_COLUMN": "id"}
ID_AND_ADDRESS = {"USER_ID_COLUMN": "id", "EMAIL_COLUMN": "email"}
ADDRESS_AND_ID = {"USER_ID_COLUMN": "id", "IDENTIFY_BY": "email"}
MODES = pytest.mark.parametrize(
    "mode", [ADDRESS, BY_ID, ID_AND_ADDRESS, ADDRESS_AND_ID], ids=["address", "id", "id, address", "address, id"]
)


def world_of(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: dict[str, str], **environ: str) -> World:
    """A sync that names users in this way."""
    if mode is ADDRESS_AND_ID:
        return moving_world(folder, monkeypatch, **environ)
    return World(folder, monkeypatch, **mode, **environ)


def two_customers(mode: dict[str, str], **changes: Any) -> list[dict[str, Any]]:
    """Two rows of one user at one time: Ann's, and Bob's with the address in another case, or with Ann's id."""
    number = 2 if mode in (ADDRESS, ADDRESS_AND_ID) else 1
    ann = person(1, first_name="Ann", event_time=T0)
    return [
        ann,
        person(1, id=number, first_name="Bob", email="USER1@Example.com", page="docs", event_time=T0) | changes,
    ]


def said(world: World, sentence: str) -> list[str]:
    """The warnings of the last run that begin so."""
    run = world.log().rpartition("Run started")[2]
    return [line.partition(" - WARNING - ")[2] for line in run.splitlines() if f" - WARNING - {sentence}" in line]


@MODES
def test_two_customers_with_one_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: dict[str, str]
) -> None:
    """In every run, also when nothing changed: how many, the first one's row, and the user; the first row counts."""
    world = world_of(tmp_path, monkeypatch, mode)
    world.rows = [person(3), *two_customers(mode), person(4)]
    who = "user_id=1" if mode in (BY_ID, ID_AND_ADDRESS) else f"email={address(1)}"
    assert world.main("--dry-run") == ExitCode.DONE
    assert f"{PROFILES}1 (the first is row 3 of the result); " in capsys.readouterr().err
    for _ in range(3):
        summary = world.run()
        assert (summary.exit_code, summary.merged_rows, summary.as_json()["merged_rows"]) == (ExitCode.DONE, 1, 1)
        (line,) = said(world, PROFILES)
        assert line.startswith(
            f"{PROFILES}1 (the first is row 3 of the result); only the first row of each user is used; "
        )
        assert f" {who} " in line
        assert said(world, EVENTS) == []
    assert {profile["first_name"] for profile in world.profiles.values()} == {"Ann", "Name 3", "Name 4"}
    assert counts(summary) == ((0, 3, 0, 0), (0, 4, 0, 0))


@MODES
@pytest.mark.parametrize(
    "changes",
    [{"event_time": T0 + timedelta(seconds=1)}, {"event_time": T0 - timedelta(seconds=1)}, {"first_name": "Ann"}],
    ids=["newer", "older", "same"],
)
def test_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: dict[str, str], changes: dict[str, Any]
) -> None:
    """The newest row is the profile's by rule, and rows that say the same are no news."""
    world = world_of(tmp_path, monkeypatch, mode)
    same = {"id": 1, "email": address(1)} if "first_name" in changes else {}
    world.rows = two_customers(mode, **changes, **same)
    for _ in range(2):
        assert world.run().merged_rows == 0
        assert said(world, PROFILES) == []


@MODES
def test_only_the_newest_rows_make_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: dict[str, str]
) -> None:
    """What older rows say does not matter, whether or not they agree."""
    world = world_of(tmp_path, monkeypatch, mode)
    world.rows = [*two_customers(mode), person(1, event_time=T0 + timedelta(hours=1))]
    assert world.run().merged_rows == 0


def test_a_row_counts_once(world: World) -> None:
    """One that is neither its event's nor its user's is told in both sentences, and is one of `merged_rows`."""
    world.environ["EVENT_KEY"] = "event_time"
    ann, bob = two_customers(ADDRESS)
    world.rows = [ann, bob, {**bob, "first_name": "Cat", "page": "pricing"}, {**ann, "page": "docs"}]
    summary = world.run()
    assert summary.merged_rows == 3
    assert said(world, PROFILES)[0].startswith(f"{PROFILES}2 (the first is row 2 ")
    assert said(world, EVENTS)[0].startswith(f"{EVENTS}2 (the first is row 2 ")


@pytest.mark.parametrize("times", [{}, {"event_time": None}], ids=["no events", "no time"])
def test_rows_without_a_time(world: World, times: dict[str, Any]) -> None:
    """Where no time tells which row is newer, they are as new as each other."""
    if not times:
        world.environ |= {"EVENT_NAME": "", "EVENT_TIME_COLUMN": ""}
    world.rows = [row | times for row in two_customers(ADDRESS)]
    assert world.run().merged_rows == 1
    assert len(said(world, PROFILES)) == 1


def test_a_profile_that_is_rejected(world: World) -> None:
    """The first row counts, whatever is wrong with it, and the other one is named."""
    world.environ["USER_FIELDS"] = "first_name:first_name:json"
    ann, bob = two_customers(ADDRESS)
    world.rows = [{**ann, "first_name": "{"}, {**bob, "first_name": "{}"}]
    summary = world.run()
    assert (summary.users.rejected, summary.merged_rows) == (1, 1)


def test_the_row_that_counts_comes_and_goes(world: World) -> None:
    """Which of the two is at Iterable does not matter: the result alone says what is merged."""
    ann, bob = two_customers(ADDRESS)
    for rows, merged in (([bob], 0), ([ann, bob], 1), ([bob, ann], 1), ([ann], 0), ([bob, ann, bob, ann], 2)):
        world.rows = rows
        assert world.run().merged_rows == merged
        assert world.profiles[address(1)]["first_name"] == rows[0]["first_name"]
