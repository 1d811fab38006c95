"""The file of METRICS_FILE: whose it may be, what can be read of a damaged one, and that no run fails by it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.run import metrics
from sync.run.exit_codes import ExitCode
from sync.run.metrics import last_success_in, may_be_replaced, write_metrics
from sync.run.summary import Summary
from tests.examples import examples
from tests.harness import World
from tests.run.watched import watched_world

SUCCESS = 'iterable_sync_last_success_timestamp_seconds{sync="default",destination="d"}'
DAMAGED = {
    "no value": f"{SUCCESS}\n",
    "no number": f"{SUCCESS} 12x4\n",
    "half a number": f"{SUCCESS} 1.7e\n",
    "no quotes": "iterable_sync_last_success_timestamp_seconds{sync=default} 5\n",
    "a quote too few": 'iterable_sync_last_success_timestamp_seconds{sync="default} 5\n',
    "NaN": f"{SUCCESS} NaN\n",
    "infinite": f"{SUCCESS} +Inf\n",
    "before 1970": f"{SUCCESS} -5\n",
    "another script's digits": f"{SUCCESS} \u0661x\n",
    "cut": "iterable_sync_last_su",
    "bytes": "iterable_sync_exit_code\0\ufffd\x1b[31m",
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three users, and a folder for metrics."""
    return watched_world(tmp_path, monkeypatch)


def file_of(world: World) -> Path:
    """Where the metrics are."""
    return Path(world.environ["METRICS_FILE"])


# -- damaged -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", DAMAGED)
def test_what_cannot_be_read_counts_as_absent(tmp_path: Path, how: str) -> None:
    """A damaged file tells of no success, unless another line of it does; it is ours still."""
    file = tmp_path / "sync.prom"
    file.write_text(DAMAGED[how])
    assert last_success_in(file) == 0 and may_be_replaced(file)
    file.write_text(f"{DAMAGED[how]}\n{SUCCESS} 17.5\n")
    assert last_success_in(file) == 17.5


@pytest.mark.parametrize("broken", [False, True], ids=["good", "failed"])
@pytest.mark.parametrize("how", ["no number", "bytes"])
def test_a_run_over_a_damaged_file(world: World, how: str, broken: bool) -> None:
    """A trial and a failed run, which look for the last success, end as they would, and leave whole metrics."""
    file_of(world).write_text(DAMAGED[how])
    world.breaks_after = 1 if broken else None
    summary = world.run(limit=2)

    assert summary.exit_code == (ExitCode.STOPPED if broken else ExitCode.DONE)
    assert f"Run finished: exit_code={summary.exit_code:d} " in world.log().splitlines()[-1]
    assert "last_success_timestamp_seconds{" in file_of(world).read_text() and last_success_in(file_of(world)) == 0


@examples(60)
@given(st.binary(max_size=300), st.text(max_size=30))
def test_whatever_it_holds(tmp_path_factory: pytest.TempPathFactory, some: bytes, value: str) -> None:
    """Any bytes and any value: the last success is a moment or none, and the file is replaced by a whole one."""
    file = tmp_path_factory.getbasetemp() / "any.prom"
    file.write_bytes(some + f"\n{SUCCESS} {value}\n".encode("utf-8", "replace"))
    assert math.isfinite(last_success_in(file)) and last_success_in(file) >= 0
    write_metrics(file, {"sync": "default", "destination": "d"}, Summary("r1", exit_code=1), 5.0, trial=False)
    assert "iterable_sync_exit_code{" in file.read_text()


# -- no run fails by it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("odd k3y"), ImportError("no k3y"), OSError(28, "No space left on device")]
)
def test_metrics_change_no_exit_code(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Whatever goes wrong there is a warning before the last line, without a secret; the run is what it was."""

    def broken(*_: object) -> None:
        raise error

    world.environ["DB_PASSWORD"] = "k3y"
    monkeypatch.setattr(metrics, "write_to_textfile", broken)
    assert world.run().exit_code == ExitCode.DONE
    world.breaks_after = 1
    assert world.run().exit_code == ExitCode.STOPPED
    warned, last = world.log().splitlines()[-2:]
    assert "Housekeeping failed, the metrics are those of an earlier run" in warned and "k3y" not in warned
    assert "Run finished: exit_code=1 " in last


# -- whose it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["mine\n", "# HELP iterable_sync_x\n", " iterable_sync_rows 1\n", "\0"],
)
def test_a_file_of_somebody_else_stays(world: World, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """A file without a line of ours is a settings error for a run, and a finding of --check; in a folder, too."""
    folder = file_of(world).parent
    for named, file in ((folder / "sync.prom",) * 2, (folder, folder / "iterable_sync_default.prom")):
        world.environ["METRICS_FILE"] = str(named)
        file.write_text(text)
        assert world.main() == ExitCode.USAGE
        told = capsys.readouterr().err
        assert f"METRICS_FILE would replace {file}, which has no line that begins with iterable_sync_" in told
        assert world.main("--check") == ExitCode.STOPPED
        assert "which has no line that begins with iterable_sync_" in capsys.readouterr().out
        assert file.read_text() == text and not (world.folder / "run.log").exists()


@pytest.mark.parametrize("text", ["", "iterable_sync_", "# of another\nup 1\niterable_sync_rows 5"])
def test_a_file_of_ours_is_replaced(world: World, text: str) -> None:
    """An empty file, and one with a line of ours, whatever else it holds."""
    file_of(world).write_text(text)
    assert world.run().exit_code == ExitCode.DONE
    assert "iterable_sync_exit_code{" in file_of(world).read_text()


def test_a_file_that_becomes_somebody_elses(world: World) -> None:
    """What was put there while the run went on stays as well: a warning, and the exit code is the run's."""

    def put(_request: object) -> None:
        file_of(world).write_text("mine")

    world.iterable.faults = put
    assert world.run().exit_code == ExitCode.DONE
    assert "Housekeeping failed, the metrics" in (world.folder / "run.log").read_text()
    assert file_of(world).read_text() == "mine"
