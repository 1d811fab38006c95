"""The files of `deploy/` and the metrics, held against the programs that read them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from sync.run.settings import defaults
from tests.harness import PROJECT, World
from tests.run.watched import watched_world
from tests.stand_in.faults import page

DEPLOY = PROJECT / "deploy"


def program(name: str) -> str:
    """A program of Debian's packages; where it is missing the test is left out, and in CI it fails."""
    found = shutil.which(name)
    if found is None:
        assert not os.environ.get("REQUIRE_PROMETHEUS"), f"{name} is missing"
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three users, and a folder for metrics."""
    return watched_world(tmp_path, monkeypatch)


def test_promtool_has_nothing_to_say(world: World) -> None:
    """`promtool check metrics` takes the file as it is, also with retries in it."""
    world.iterable.faults = lambda request: page(503, "x") if b"user2" in request.body and not request.status else None
    world.run()
    text = (world.folder / "metrics" / "sync.prom").read_bytes()
    told = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)

    assert (told.returncode, told.stderr.decode(), told.stdout.decode()) == (0, "", "")


@pytest.mark.parametrize("what", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_alert_rules(what: tuple[str, str, str]) -> None:
    """The rules can be loaded, and each fires for the sync that it is about and for no other."""
    *command, file = what
    told = subprocess.run(
        [program("promtool"), *command, str(DEPLOY / file)], capture_output=True, text=True, check=False
    )

    assert told.returncode == 0, told.stdout + told.stderr


def test_alert_rules_name_series_that_there_are(world: World) -> None:
    """A series with another name would never fire."""
    world.run()
    written = (world.folder / "metrics" / "sync.prom").read_text()
    named = set(re.findall(r"iterable_sync_\w+", (DEPLOY / "alerts.yml").read_text()))

    assert all(f"# TYPE {name} gauge" in written for name in named - {"iterable_sync_"})


def test_alert_rules_are_tested_with_the_labels_of_the_series(world: World) -> None:
    """A series with an invented label would prove nothing: the text of an alert may use a label that is never there."""
    world.run()
    written = labelled((world.folder / "metrics" / "sync.prom").read_text())
    assumed = labelled((DEPLOY / "alerts_test.yml").read_text())

    assert assumed <= written


def labelled(text: str) -> set[tuple[str, frozenset[str]]]:
    """The series that the text names, each with the names of its labels."""
    found = re.findall(r"(iterable_sync_\w+)\{(.*?)\}", text)
    return {(name, frozenset(re.findall(r'(\w+)="', labels))) for name, labels in found}


@contextmanager
def node_exporter(folder: Path) -> Iterator[str]:
    """A real one that reads this folder; its URL."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [program("prometheus-node-exporter"), "--collector.disable-defaults", "--collector.textfile"]
    command += [f"--collector.textfile.directory={folder}", f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        try:
            yield f"http://127.0.0.1:{port}/metrics"
        finally:
            running.terminate()


def asked(url: str) -> str:
    """What the exporter says, as soon as it listens."""
    for _ in range(400):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read(), "utf-8")
        except OSError:
            time.sleep(0.025)
    raise AssertionError("the exporter does not listen")


def test_node_exporter_serves_them(world: World) -> None:
    """The series of two syncs, as they are in the files."""
    world.environ["METRICS_FILE"] = str(world.folder / "metrics")
    world.run()
    world.environ |= {"SYNC_NAME": "orders", "SEGMENT_FIELD": "orders"}
    world.iterable.faults = lambda _request: page(503, "down")
    world.run()
    with node_exporter(world.folder / "metrics") as url:
        served = asked(url)

    assert "node_textfile_scrape_error 0" in served
    codes = dict(re.findall(r'^iterable_sync_exit_code\{.*sync="(\w+)"\} (\d)$', served, re.MULTILINE))
    assert codes == {"default": "0", "orders": "1"}


def test_exit_codes_of_the_unit() -> None:
    """A run that could not be done is a failure of the unit; open ends, a lock and an ordered stop are none."""
    (codes,) = re.findall(r"^SuccessExitStatus=(.*)$", (DEPLOY / "iterable-sync@.service").read_text(), re.MULTILINE)

    assert {int(code) for code in codes.split()} == {ExitCode.INCOMPLETE, ExitCode.LOCKED, ExitCode.TERMINATED}


def systemd_analyze() -> str:
    """Systemd's own checker, on a machine that has one."""
    return shutil.which("systemd-analyze") or pytest.skip("there is no systemd")


def test_the_unit_gives_little_away() -> None:
    """`systemd-analyze security` says at most 3.0 of 10, and the program's own folder is read-only."""
    unit = DEPLOY / "iterable-sync@.service"
    asked = [systemd_analyze(), "security", "--offline=true", "--threshold=30", str(unit)]
    told = subprocess.run(asked, capture_output=True, text=True, check=False)

    assert told.returncode == 0, [*told.stdout.splitlines()[-1:], told.stderr]
    assert re.findall(r"^(?:ProtectSystem|ReadWritePaths)=.*$", unit.read_text(), re.MULTILINE) == [
        "ProtectSystem=strict"
    ]


def test_systemd_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, with a program that is there."""
    analyze = systemd_analyze()
    for name in ("iterable-sync@.service", "iterable-sync@.timer"):
        unit = (DEPLOY / name).read_text().replace("/opt/iterable-sync/.venv/bin/python", sys.executable)
        (tmp_path / name).write_text(unit.replace("User=iterable", "User=root"))
    units = [str(tmp_path / f"iterable-sync@orders.{kind}") for kind in ("service", "timer")]
    told = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, check=False)

    assert (told.returncode, told.stderr) == (0, "")


def test_the_service_outlasts_the_longest_run() -> None:
    """The unit ends a run that hangs, and no run that works: the query's time, and hours of delivery."""
    service = (DEPLOY / "iterable-sync@.service").read_text()
    (hours,) = re.findall(r"^TimeoutStartSec=(\d+)h$", service, re.MULTILINE)
    users = 15_000_000

    assert int(hours) * 3600 > float(defaults()["QUERY_TIMEOUT"]) + users / float(defaults()["USERS_PER_SECOND"])
