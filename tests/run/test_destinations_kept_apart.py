"""The key, the base URL or DESTINATION change: what goes along unasked, other syncs, and whoever looks ahead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from tests.harness import KEY, UPDATE, World, counts
from tests.run.rotating import BOTH_NAMES, ROTATED, THIRD, change, dump, project, refused
from tests.run.test_syncs import ORDERS, beside, members
from tests.sample_rows import address, people, person


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


# -- what is taken along without asking ----------------------------------------------------------------------


@pytest.mark.parametrize("environ", [{}, {"ITERABLE_BULK": "true"}, BOTH_NAMES], ids=["single", "bulk", "both names"])
def test_a_mere_backlog_is_taken_along(fresh: World, environ: dict[str, str]) -> None:
    """A first run with a wrong key, then the right one: all is sent, also what has left the result meanwhile."""
    fresh.environ |= environ
    change(fresh, ITERABLE_API_KEY=ROTATED)
    fresh.iterable.project.rules.api_key = KEY
    assert fresh.run().exit_code == ExitCode.STOPPED
    change(fresh, ITERABLE_API_KEY=KEY)
    del fresh.rows[0]

    assert fresh.run().exit_code == ExitCode.DONE
    assert {event["email"] for event in fresh.events} == {address(n) for n in range(1, 13)}
    assert members(fresh, "recent_page_view") == {address(n) for n in range(2, 13)}
    assert fresh.run().requests == 0
    assert fresh.table("SELECT COUNT(*) FROM sync") == [(1,)]


def test_what_one_project_rejected_another_may_take(fresh: World) -> None:
    """Mere rejections are nothing to lose: nobody is asked, and the rows have their turn in the new project."""
    fresh.rows = [*people(3), person(4, event_time=None)]
    forgotten = fresh.iterable.project.rules.forgotten
    forgotten |= {address(n) for n in range(1, 5)}
    assert fresh.run().users.rejected == 4
    assert fresh.run().requests == 0
    forgotten.clear()
    change(fresh, ITERABLE_API_KEY=ROTATED)
    fresh.rows = people(4)[1:3]

    assert fresh.run().exit_code == ExitCode.DONE
    assert {event["email"] for event in fresh.events} == {address(n) for n in range(1, 4)}
    assert members(fresh, "recent_page_view") == {address(2), address(3)}


def test_a_backlog_of_a_new_start_is_taken_along(world: World) -> None:
    """The key of a new start was wrong: asked about the old project once more, nothing of the new start is lost."""
    change(world, ITERABLE_API_KEY=ROTATED)
    world.iterable.project.rules.api_key = KEY
    world.run(new_project=True)
    gone = world.rows.pop(0)["email"]
    change(world, ITERABLE_API_KEY=THIRD)
    refused(world)
    world.run(new_project=True)

    assert (UPDATE, gone) in world.sent
    assert world.table("SELECT COUNT(*) FROM sync") == [(2,)]


# -- several syncs -------------------------------------------------------------------------------------------


def test_each_sync_is_asked_for_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one sync is told says nothing of another over the same state."""
    orders = beside(world, monkeypatch, people(12)[:3], **ORDERS)
    orders.run()
    for one in (world, orders):
        change(one, ITERABLE_API_KEY=ROTATED)
    world.run(same_project=True)

    assert "with 3 users, 3 members of the segment and 3 events" in refused(orders)
    assert orders.run(same_project=True).requests == world.run().requests == 0
    orders.environ["SEGMENT_FIELD"] = "recent_page_view"
    assert "set SYNC_NAME=default" in str(orders.run().stopped_because), "the field is still the other's"


def test_a_renamed_sync_is_told_its_old_name(world: World) -> None:
    """Also where the destination has a name, or has just been named, and the other sync stays in peace."""
    for environ in ({}, {"DESTINATION": "shop"}):
        world.environ |= environ
        world.environ["SYNC_NAME"] = "renamed"
        summary = world.run()
        told = str(summary.stopped_because)
        assert (summary.exit_code, summary.csv) == (ExitCode.USAGE, None), "before it asks the database"
        assert "the sync renamed" in told and "SYNC_NAME=default" in told
        world.environ["SYNC_NAME"] = "default"
        assert world.run().requests == 0


def test_another_spelling_opens_no_way_to_a_field(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the other sync's, however the same address is written."""
    orders = beside(world, monkeypatch, people(3), **ORDERS | {"SEGMENT_FIELD": "recent_page_view"})
    orders.environ["ITERABLE_API_BASE_URL"] = "https://api.iterable.com:443/"
    assert orders.run().exit_code == ExitCode.USAGE


def test_a_sync_is_not_in_its_own_way(world: World) -> None:
    """Its field at a destination that it left stands against nobody, least of all against itself."""
    change(world, ITERABLE_API_KEY=ROTATED)
    world.iterable.project.rules.api_key = KEY
    world.run(new_project=True)  # by mistake: the key is of the same project
    for name in (project(KEY), "shop"):
        change(world, DESTINATION=name)
        summary = world.run()
        assert (summary.exit_code, summary.requests) == (ExitCode.DONE, 0)


# -- before and beside a run ---------------------------------------------------------------------------------


def test_a_preview_is_asked_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run refuses as a run does; with an answer it shows what would follow, for this once."""
    change(world, ITERABLE_API_KEY=ROTATED)
    told = refused(world)
    before = dump(world)
    capsys.readouterr()

    assert world.main("--dry-run") == ExitCode.USAGE
    assert capsys.readouterr() == ("", f"{told}\n")
    assert world.main("--dry-run", "--same-project") == ExitCode.DONE
    assert capsys.readouterr().out == ""
    assert world.main("--dry-run", "--new-project") == ExitCode.DONE
    assert len(capsys.readouterr().out.splitlines()) == 24
    assert dump(world) == before and refused(world) == told


@pytest.mark.parametrize("flags", [(), ("all", "--repair")], ids=str)
def test_reading_back_is_asked_too(world: World, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]) -> None:
    """--verify refuses as a run does, and reads nobody."""
    change(world, ITERABLE_API_KEY=ROTATED)
    told = refused(world)
    capsys.readouterr()

    assert world.main("--verify", *flags) == ExitCode.USAGE
    assert capsys.readouterr() == ("", f"{told}\n")
    assert not world.iterable.requests


def test_from_the_command_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Cron mails the question; either flag answers it."""
    change(world, ITERABLE_API_KEY=ROTATED)
    assert world.main() == ExitCode.USAGE
    mailed = capsys.readouterr().err
    assert len(mailed.splitlines()) == 3 and "--same-project" in mailed and "--new-project" in mailed
    assert world.main("--same-project", "--json") == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["requests"] == 0
    change(world, ITERABLE_API_KEY=THIRD)
    assert world.main("--new-project") == ExitCode.DONE
    assert len(world.iterable.requests) == 24


def test_the_state_moves_to_another_machine(world: World, tmp_path: Path) -> None:
    """Copied with its settings it goes on; beside another key, as on a staging machine, it asks."""
    copy = tmp_path / "copy.sqlite3"
    copy.write_bytes(world.settings.state_file.read_bytes())
    world.environ["STATE_FILE"] = str(copy)
    assert world.run().requests == 0
    change(world, ITERABLE_API_KEY=ROTATED)
    refused(world)
    assert counts(world.run(new_project=True)) == ((12, 0, 0, 0), (12, 0, 0, 0))
