"""--verify of users whose ids mean something in a URL, over a real socket: each is asked for by the very id."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

import main
from sync.run.connections import make_client
from sync.run.exit_codes import ExitCode
from tests.harness import World
from tests.sample_rows import person
from tests.stand_in.stand_in import StandIn

NO_PATH = (".", "..")
IDS = (
    "a/b",
    "/",
    "%2F",
    "a%20b",
    "a b",
    " lead",
    "a+b",
    "a?b=1#c",
    "007",
    "Abc",
    "abc",
    "?:5",
    "id:5",
    "...",
    "~",
    "*",
)


@pytest.fixture
def iterable() -> Iterator[StandIn]:
    """A project over a socket: its HTTP client is the one that a run has."""
    with StandIn() as running:
        yield running


@pytest.fixture
def world(iterable: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Users who were delivered by such ids, with an event each."""
    made = World(
        tmp_path, monkeypatch, ITERABLE_API_BASE_URL=iterable.url, USER_ID_COLUMN="plan_type", USER_FIELDS="page"
    )
    monkeypatch.setattr(main, "make_client", make_client)
    monkeypatch.setattr("sync.run.verify.VISIBLE_AFTER", 0.0)
    made.rows = [person(number, plan_type=name) for number, name in enumerate((*IDS, *NO_PATH), 1)]
    assert made.main() == ExitCode.DONE
    assert set(iterable.profiles) == {*IDS, *NO_PATH}
    return made


def test_each_is_read_back(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Every user is found as delivered; of those whom no URL leads to, the profile is compared, and the log says so."""
    assert world.main("--verify", "all") == ExitCode.DONE

    told = capsys.readouterr()
    everybody = len(IDS) + len(NO_PATH)
    assert f"{everybody} of {everybody} users are the same at Iterable and in the database" in told.out
    lines = [line for line in told.err.splitlines() if "No URL leads to this user's events" in line]
    assert sorted(line.rpartition("user_id=")[2] for line in lines) == [*NO_PATH]


def test_each_by_its_own_name(world: World, iterable: StandIn) -> None:
    """Each user who goes missing at Iterable is reported from then on, and nobody else is."""
    missing = set()
    for name in [*IDS, *NO_PATH]:
        iterable._project.delete_user(name)
        missing.add(name.removeprefix("?:"))  # which only says that an id follows

        assert world.main("--verify", "all") == ExitCode.INCOMPLETE
        (path,) = world.folder.glob("verify_*.csv")
        with path.open(encoding="utf-8-sig", newline="") as file:
            assert {row["user"] for row in csv.DictReader(file) if row["field"] == "(user)"} == missing
        path.unlink()
