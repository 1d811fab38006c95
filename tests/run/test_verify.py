"""--verify: users read back from Iterable and held against the database; --repair, and the run after it."""

from __future__ import annotations

import csv
import os
import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from sync.rows.source import Column, Kind
from sync.run import verify as module
from sync.run.exit_codes import ExitCode
from sync.run.lock import lock_path, run_lock
from sync.state.outbox import Outbox
from tests.harness import Wire, World, counts
from tests.run.moving import BOTH_WAYS
from tests.sample_rows import T0, address, people, person
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, page, refused
from tests.stand_in.names import ProjectType
from tests.stand_in.rules import ProjectRules
from tests.stand_in.users import Profile


@BOTH_WAYS
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Twelve users who were delivered by their addresses, or by their ids with the addresses along."""
    by_id = {"USER_ID_COLUMN": "id", "EMAIL_COLUMN": "email"} if request.param else {}
    made = World(tmp_path, monkeypatch, **by_id)
    monkeypatch.setattr(module, "VISIBLE_AFTER", 0.0)
    monkeypatch.setattr(module, "make_client", made.client)
    made.rows = people(12)
    made.run()
    return made


def key(world: World, number: int) -> str:
    """The key of user `number` at Iterable."""
    return next(
        key for key, owner in world.iterable.project.users.names.owners().items() if owner.email == address(number)
    )


def change(world: World, number: int, **fields: Any) -> None:
    """Somebody changes fields of a user at Iterable; None removes one."""
    stored = world.iterable.project.users.stored
    data = {**stored[key(world, number)].data, **fields}
    stored[key(world, number)] = Profile({name: value for name, value in data.items() if value is not None}, 0.0, None)


def verified(world: World, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, list[str]]:
    """The exit code of a verify, and the lines that it prints."""
    capsys.readouterr()
    code = world.main("--verify", *(flags or ("all",)))
    return code, capsys.readouterr().out.splitlines()


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def writes(world: World) -> list[str]:
    """What was sent that is not a read."""
    return [request.path for request in world.iterable.requests if request.method != "GET"]


def test_nothing_wrong(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, one line, and nothing written anywhere."""
    before = sorted(path.name for path in world.folder.iterdir())
    tables = ("known", "member", "name", "pending", "run")
    state = [world.table(f"SELECT * FROM {table}") for table in tables]

    assert verified(world, capsys) == (ExitCode.DONE, ["12 of 12 users are the same at Iterable and in the database"])
    assert writes(world) == []
    assert sorted(path.name for path in world.folder.iterdir() if path.name != "env") == before
    assert state == [world.table(f"SELECT * FROM {table}") for table in tables]


def test_every_kind_of_difference(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A field changed, one removed, a user deleted, an event missing, one changed: found, repaired, and right again."""
    project = world.iterable.project
    change(world, 1, first_name="Somebody")
    change(world, 2, plan_type=None)
    project.delete_user(key(world, 3))
    ((gone, _),) = [(event, owner) for event, owner in project.owner_of.items() if owner == key(world, 4)]
    del project.events[gone], project.owner_of[gone]
    ((changed, _),) = [(event, owner) for event, owner in project.owner_of.items() if owner == key(world, 5)]
    project.events[changed] = {**project.events[changed], "dataFields": {"page": "other"}}
    change(world, 6, recent_page_view=False)
    code, lines = verified(world, capsys)

    assert code == ExitCode.INCOMPLETE
    told = "\n".join(lines)
    assert 'first_name: sent "Name 1", found "Somebody"' in told
    assert 'plan_type: sent "pro", found (absent)' in told
    assert "(user): not found at Iterable" in told
    assert told.count(": not found at Iterable") == 3  # the deleted user's as well
    assert 'page: sent "pricing", found "other"' in told
    assert "recent_page_view: sent true, found false" in told
    assert lines[-1] == "6 of 12 users are the same at Iterable and in the database"
    (path,) = world.folder.glob("verify_*.csv")
    assert path.stat().st_mode & 0o777 == 0o600
    assert {row["user"] for row in rows_of(path)} == {rows_name(world, number) for number in range(1, 7)}

    code, lines = verified(world, capsys, "all", "--repair")
    assert (code, writes(world)) == (ExitCode.INCOMPLETE, [])
    assert "pending again: 6 users; the next run sends what differs" in lines
    summary = world.run()
    assert counts(summary) == ((4, 8, 0, 0), (3, 9, 0, 0))
    assert verified(world, capsys) == (ExitCode.DONE, ["12 of 12 users are the same at Iterable and in the database"])


def test_repair_after_a_run_that_was_ended(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run delivered, and had no time to sort in, is pending again like all else."""
    project = world.iterable.project
    world.rows = people(13)
    with monkeypatch.context() as ended:
        ended.setattr(Outbox, "remember", lambda _self: None)
        world.run()
    ((gone, _),) = [(event, owner) for event, owner in project.owner_of.items() if owner == key(world, 13)]
    del project.events[gone], project.owner_of[gone]

    assert verified(world, capsys, "all", "--repair")[0] == ExitCode.INCOMPLETE
    assert counts(world.run())[1] == (1, 12, 0, 0)


def rows_name(world: World, number: int) -> str:
    """How the program names the user."""
    return str(number) if "USER_ID_COLUMN" in world.environ else address(number)


def test_who_should_have_left(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A user who has left and is still true at Iterable is a difference; after the repair he is told false."""
    world.rows = people(12)[1:]
    world.run()
    assert verified(world, capsys)[0] == ExitCode.DONE
    change(world, 1, recent_page_view=True)
    code, lines = verified(world, capsys, "all", "--repair")

    assert (code, lines[0]) == (
        ExitCode.INCOMPLETE,
        f"{rows_name(world, 1)}: recent_page_view: sent false, found true",
    )
    assert (world.run().left_segment, verified(world, capsys)[0]) == (1, ExitCode.DONE)


def test_the_other_name(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Both names are compared, where both were sent."""
    if "USER_ID_COLUMN" not in world.environ:
        return
    names = world.iterable.project.users.names
    where = key(world, 1)
    names.put(where, names[where]._replace(email="other@example.com"))
    code, lines = verified(world, capsys)

    assert (code, lines[0]) == (3, f'1: email: sent "{address(1)}", found "other@example.com"')


def test_who_is_pending_something_is_counted_apart(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """What the next run sends anyway is no difference."""
    world.rows = [*people(11), person(12, first_name="New"), person(13)]
    code, lines = verified(world, capsys)

    assert (code, lines[-1]) == (ExitCode.DONE, "11 of 11 users are the same at Iterable and in the database")
    assert "not compared: 2 users with something pending; the next run sends it" in lines


def test_a_sample(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """N users at random; more than there are is all."""
    assert verified(world, capsys, "5")[1] == ["5 of 5 users are the same at Iterable and in the database"]
    assert verified(world, capsys, "500")[1] == ["12 of 12 users are the same at Iterable and in the database"]


def test_many_differences(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty lines at most on the screen, and all in the file; verify files are kept as exports are."""
    world.environ["CSV_KEEP"] = "1"
    for number in range(1, 13):
        change(world, number, first_name="x", last_name="y", plan_type="z")
    verified(world, capsys)
    code, lines = verified(world, capsys)

    assert (code, lines[20]) == (ExitCode.INCOMPLETE, "... and 16 more")
    (path,) = world.folder.glob("verify_*.csv")
    assert len(rows_of(path)) == 36


def test_what_is_visible_later(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run has just sent is looked at once more when a minute is over, and then it is there."""
    monkeypatch.setattr(module, "VISIBLE_AFTER", 60.0)
    waits: list[float] = []
    stored = world.iterable.project.users.stored
    right = stored[key(world, 1)]
    change(world, 1, first_name="not yet")

    def wait(seconds: float) -> None:
        waits.append(seconds)
        stored[key(world, 1)] = right

    monkeypatch.setattr(module.verify, "__kwdefaults__", {"sleep": wait})

    assert verified(world, capsys)[0] == ExitCode.DONE
    assert 50 < waits[0] <= 60


def test_a_key_with_jwt_may_not_read(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a settings error that says so, and nothing is asked."""
    world.environ |= {"USE_JWT_AUTH": "true", "ITERABLE_JWT_SECRET": "s" * 32}
    world.environ.pop("ITERABLE_BULK", None)

    assert world.main("--verify") == ExitCode.USAGE
    assert "a JWT-enabled key may not read users" in capsys.readouterr().err
    assert world.iterable.requests == []


def test_a_key_that_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 with the answer."""
    world.iterable.faults = lambda _request: refused(401, "BadApiKey", "Invalid API key")

    assert world.main("--verify") == ExitCode.STOPPED
    assert "Iterable cannot be read: 401 BadApiKey" in capsys.readouterr().err


def test_a_user_whom_iterable_refuses_to_show(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """He differs, with the reason; the others are compared."""
    change(world, 2, first_name="x")

    def refuse(request: Request) -> Fault | None:
        asked = unquote(f"{request.path}?{request.query}")
        named = request.method == "GET" and re.search(r"user1@|byUserId/1\b|userId=1\b", asked)
        return refused(400, "ForgottenUserError", "User is forgotten") if named else None

    world.iterable.faults = refuse
    code, lines = verified(world, capsys)

    assert code == ExitCode.INCOMPLETE
    assert sum("Iterable refuses to show this user" in line for line in lines) == 1
    assert lines[-1] == "10 of 12 users are the same at Iterable and in the database"


def test_a_run_that_was_killed_long_ago_is_not_waited_for(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sent may be seen by now."""
    monkeypatch.setattr(module, "VISIBLE_AFTER", 60.0)
    state = world.settings.state_file
    with closing(sqlite3.connect(state)) as db, db:
        db.execute("UPDATE run SET summary = NULL, started = '2026-01-01 03:00:00'")
    for path in state.parent.glob(f"{state.name}*"):
        os.utime(path, (1_767_300_000, 1_767_300_000))
    lock_path(state).write_text("pid 99999999, started 2026-01-01 03:00:00\n")
    change(world, 1, first_name="x")
    waits: list[float] = []
    monkeypatch.setattr(module.verify, "__kwdefaults__", {"sleep": waits.append})

    assert verified(world, capsys)[0] == ExitCode.INCOMPLETE
    assert waits == []


def test_nobody_to_compare(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Another sync, of which the state knows nothing: it is said."""
    world.environ |= {"SYNC_NAME": "another", "SEGMENT_FIELD": "another"}
    code, lines = verified(world, capsys)

    assert (code, lines[-1][:20]) == (ExitCode.DONE, "nobody to compare: a")


def test_an_api_that_is_down(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 with the answer, after the attempts that every call has."""
    world.iterable.faults = lambda request: page(502, "Bad Gateway") if request.method == "GET" else None

    assert world.main("--verify") == ExitCode.STOPPED
    assert "Iterable cannot be read: 502" in capsys.readouterr().err


def test_repair_needs_the_lock(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """While a run holds it nothing is repaired: exit 4."""
    change(world, 1, first_name="x")
    with run_lock(lock_path(world.settings.state_file)):
        assert verified(world, capsys)[0] == ExitCode.INCOMPLETE
        assert world.main("--verify", "all", "--repair") == ExitCode.LOCKED


@pytest.mark.parametrize("flags", [("--repair",), ("--verify", "--full"), ("--verify", "--json"), ("--verify", "x")])
def test_wrong_usage(world: World, flags: tuple[str, ...]) -> None:
    """What --verify would ignore, and --repair alone, are wrong usage."""
    with pytest.raises(SystemExit) as ended:
        world.main(*flags)
    assert ended.value.code == ExitCode.USAGE


def test_types_as_iterable_gives_them_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dates, numbers, nested fields, null and arrays are compared by what they mean."""
    world = World(
        tmp_path,
        monkeypatch,
        USER_FIELDS="first_name,seen,born,paid:address.paid,none:address.none,tags:tags:json,ok",
    )
    monkeypatch.setattr(module, "make_client", world.client)
    monkeypatch.setattr(module, "VISIBLE_AFTER", 0.0)
    world.iterable = Wire(ProjectRules(project_type=ProjectType.EMAIL))
    kinds = {"seen": Kind.DATETIME, "born": Kind.DATE, "paid": Kind.INTEGER, "none": Kind.TEXT, "tags": Kind.TEXT}
    world.columns = [*world.columns, *(Column(name, kind) for name, kind in kinds.items()), Column("ok", Kind.BOOLEAN)]
    values = {"seen": T0, "born": T0.date(), "paid": 3, "none": None, "tags": '["a", 1]', "ok": True}
    world.rows = [person(1, **values), person(1, **values, page="b", event_time=T0 + timedelta(seconds=1))]
    world.run()
    stored = world.iterable.project.users.stored
    profile = stored[address(1)]
    data = {
        **profile.data,
        "born": f"{profile.data['born'][:10]} 00:00:00 +00:00",
        "address": {"paid": 3.0, "other": 1},
    }
    stored[address(1)] = profile._replace(data=data)

    assert world.main("--verify") == ExitCode.DONE
    stored[address(1)] = profile._replace(data={**data, "ok": 1, "tags": ["a"]})
    assert world.main("--verify") == ExitCode.INCOMPLETE
