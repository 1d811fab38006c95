"""METRICS_FILE: what a machine that watches is told, at the end of every run."""

from __future__ import annotations

import re
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from sync.delivery.stop import Stop
from sync.run import metrics
from sync.run.exit_codes import ExitCode
from sync.run.lock import lock_path, run_lock
from sync.run.metrics import last_success_in
from tests.harness import World
from tests.run.watched import watched_world
from tests.sample_rows import people, person
from tests.stand_in.answers import Request
from tests.stand_in.faults import page


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three users, and a folder for metrics."""
    return watched_world(tmp_path, monkeypatch)


def series(world: World) -> dict[str, float]:
    """Name and own labels -> value; the labels that all have are looked at, and left out."""
    found = {}
    for line in (world.folder / "metrics" / "sync.prom").read_text().splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"iterable_sync_(\w+)\{(.*)\} (\S+)", line).groups()  # type: ignore[union-attr]
            own = {label for label in labels.split(",") if not label.startswith(("sync=", "destination="))}
            assert 'sync="default"' in labels and 'destination="https://api.iterable.com#' in labels
            found[" ".join([name, *sorted(own)])] = float(value)
    return found


def test_after_a_good_run(world: World) -> None:
    """All series, readable by everybody, without anything personal."""
    before = time.time()
    world.run()
    told = series(world)

    assert before <= told.pop("last_run_timestamp_seconds") == told.pop("last_success_timestamp_seconds")
    assert told.pop("duration_seconds") > 0
    assert told == {
        "exit_code": 0,
        "rows": 3,
        "requests": 6,
        "segment_users": 3,
        "oldest_pending_seconds": 0,
        'pending kind="profile"': 0,
        'pending kind="event"': 0,
        'newly_rejected kind="profile"': 0,
        'newly_rejected kind="event"': 0,
        **{
            f'payloads kind="{kind}" outcome="{outcome}"': 3 if outcome == "delivered" else 0
            for kind in ("profile", "event")
            for outcome in ("delivered", "unchanged", "rejected", "failed")
        },
    }
    file = world.folder / "metrics" / "sync.prom"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert not any(word in file.read_text() for word in ("@example.com", world.environ["ITERABLE_API_KEY"]))
    assert [path.name for path in file.parent.iterdir()] == ["sync.prom"]


def test_after_a_run_that_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is told, and the last success stays; what is pending has its age."""
    monkeypatch.setattr("sync.run.steps.time.time", lambda: 1_000_000.0)
    world.run()
    world.rows = [*(person(number, first_name="New") for number in (1, 2)), person(3)]
    world.iterable.faults = lambda _request: page(503, "down")
    monkeypatch.setattr("sync.run.steps.time.time", lambda: 1_000_300.0)
    world.run()
    assert (series(world)["exit_code"], series(world)["oldest_pending_seconds"]) == (1, 0)
    monkeypatch.setattr("sync.run.steps.time.time", lambda: 1_000_900.0)
    world.run()
    told = series(world)

    assert (told["exit_code"], told["oldest_pending_seconds"], told['pending kind="profile"']) == (1, 600, 2)
    assert (told["last_run_timestamp_seconds"], told["last_success_timestamp_seconds"]) == (1_000_900, 1_000_000)
    assert told['retries reason="503"'] == 4
    world.iterable.faults = None
    world.run()
    assert (series(world)["exit_code"], series(world)["oldest_pending_seconds"]) == (0, 0)


def test_an_exit_that_is_pending_has_its_age(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has left the result and could not be told has a pending exit."""
    world.run()
    world.rows = people(2)
    world.iterable.faults = lambda request: page(503, "down") if b"user3@" in request.body else None
    for now in (1_000_000.0, 1_000_300.0):
        monkeypatch.setattr("sync.run.steps.time.time", lambda now=now: now)
        world.run()
    world.breaks_after = 1
    monkeypatch.setattr("sync.run.steps.time.time", lambda: 1_000_900.0)
    world.run()
    assert (series(world)['pending kind="profile"'], series(world)["oldest_pending_seconds"]) == (1, 900)
    world.iterable.faults, world.breaks_after = None, None
    world.run()
    assert (series(world)['pending kind="profile"'], series(world)["oldest_pending_seconds"]) == (0, 0)


def test_newly_rejected(world: World) -> None:
    """A row that cannot be sent is told of once."""
    world.rows = [person(1, email="no address"), *people(3)[1:]]
    world.run()
    assert series(world)['newly_rejected kind="profile"'] == 1
    world.run()
    assert series(world)['newly_rejected kind="profile"'] == 0


def test_a_destination_with_odd_characters(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The last success and the name of the sync are found again, whatever the label before them holds."""
    world.environ["DESTINATION"] = 'prod{eu}, "sync="'
    world.run()
    file = world.folder / "metrics" / "sync.prom"
    before = last_success_in(file)
    assert before > 0
    world.breaks_after = 1
    world.run()
    assert last_success_in(file) == before
    world.environ |= {"SYNC_NAME": "orders", "SEGMENT_FIELD": "orders"}
    assert world.main() == ExitCode.USAGE
    assert "holds the series of the sync default" in capsys.readouterr().err


def test_after_a_run_that_was_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal in the middle of the delivery: its exit code, what is pending, and the last success as it was."""
    world.run()
    success = series(world)["last_success_timestamp_seconds"]
    world.rows = [person(n, first_name="New") for n in (1, 2, 3)]
    world.environ["WORKERS"] = "1"
    heard, stop = threading.Event(), Stop.set

    def hear(self: Stop, reason: str, grace: float | None = None) -> None:
        stop(self, reason, grace)
        heard.set()

    monkeypatch.setattr(Stop, "set", hear)
    signals = iter([signal.SIGTERM])  # one: a second would end the process, and the tests with it

    def strike(_request: Request) -> None:
        for signum in signals:
            signal.raise_signal(signum)
            assert heard.wait(5)

    world.iterable.faults = strike
    assert world.run().exit_code == 128 + signal.SIGTERM
    told = series(world)

    assert (told["exit_code"], told["last_success_timestamp_seconds"]) == (143, success)
    assert told['pending kind="profile"'] >= 1


def test_database_down(world: World) -> None:
    """It is a run like any other, with the figures of the state."""
    world.run()
    world.breaks_after = 1
    world.run()

    assert (series(world)["exit_code"], series(world)["segment_users"], series(world)["rows"]) == (1, 3, 0)


def test_a_log_that_cannot_be_written(world: World) -> None:
    """The metrics tell of it: nothing else may."""
    world.run()
    world.environ["LOG_FILE"] = str(world.folder)
    world.run()

    assert series(world)["exit_code"] == ExitCode.STOPPED


def test_a_run_that_met_a_lock(world: World) -> None:
    """It leaves the file to the run that holds the lock."""
    world.run()
    before = (world.folder / "metrics" / "sync.prom").read_bytes()
    with run_lock(lock_path(world.settings.state_file)):
        assert world.run().exit_code == ExitCode.LOCKED

    assert (world.folder / "metrics" / "sync.prom").read_bytes() == before


@pytest.mark.parametrize("flags", [("--check",), ("--dry-run",), ("--history",)])
def test_modes_that_are_no_runs(world: World, flags: tuple[str, ...]) -> None:
    """They never write it."""
    world.main(*flags)

    assert list((world.folder / "metrics").iterdir()) == []


def test_a_trial_run_is_no_success(world: World) -> None:
    """A part of the result says nothing of the sync."""
    world.run(limit=1)
    assert (series(world)["exit_code"], series(world)["last_success_timestamp_seconds"]) == (0, 0)
    world.run()
    success = series(world)["last_success_timestamp_seconds"]
    world.run(limit=1)

    assert series(world)["last_success_timestamp_seconds"] == success > 0


def test_a_folder_gets_a_file_for_each_sync(world: World) -> None:
    """Each is named after its sync."""
    world.environ["METRICS_FILE"] = f"{world.folder / 'metrics'}/"
    world.run()
    world.environ |= {"SYNC_NAME": "orders", "SEGMENT_FIELD": "orders"}
    world.run()

    names = {path.name for path in (world.folder / "metrics").iterdir()}
    assert names == {"iterable_sync_default.prom", "iterable_sync_orders.prom"}


def test_the_file_of_another_sync(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Two syncs may not take turns in one file: a settings error, with the remedy."""
    world.run()
    world.environ |= {"SYNC_NAME": "orders", "SEGMENT_FIELD": "orders"}

    assert world.main() == ExitCode.USAGE
    assert "holds the series of the sync default, and this is orders: name a folder" in capsys.readouterr().err


def test_a_folder_that_is_not_there(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a settings error, before anything is done."""
    world.environ["METRICS_FILE"] = str(world.folder / "gone" / "x.prom")

    assert world.main() == ExitCode.USAGE
    assert "there is no folder" in capsys.readouterr().err


def test_a_folder_that_is_named_and_not_there(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The slash says that it is one: a file of that name would be in its way."""
    world.environ["METRICS_FILE"] = f"{world.folder}/none/"
    assert world.main() == ExitCode.USAGE
    assert "there is no such folder" in capsys.readouterr().err


def test_a_file_that_cannot_be_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning, and the run is what it was; the old file stays whole."""
    world.run()
    before = (world.folder / "metrics" / "sync.prom").read_bytes()

    def full(_path: str, _registry: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metrics, "write_to_textfile", full)
    assert world.run().exit_code == ExitCode.DONE
    assert "Housekeeping failed, the metrics are those of an earlier run" in world.log()
    assert (world.folder / "metrics" / "sync.prom").read_bytes() == before


def test_a_link_leads_to_the_file(world: World) -> None:
    """The link stays, and nothing half written has a name that a collector reads."""
    real = world.folder / "real.prom"
    (world.folder / "metrics" / "sync.prom").symlink_to(real)
    world.run()

    assert (world.folder / "metrics" / "sync.prom").is_symlink()
    assert "iterable_sync_exit_code" in real.read_text()


# -- read by the programs that will read it
