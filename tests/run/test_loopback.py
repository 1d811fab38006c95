"""What is meant for this machine stays on it, where the environment names a proxy."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest

import main
from iterable_client import IterableClient
from sync.delivery.stop import Stop
from sync.demo import demonstration as demo
from sync.run.exit_codes import ExitCode
from sync.run.settings import Settings, load_settings
from sync.run.steps import Run
from tests.harness import environment
from tests.process import free_port
from tests.sample_rows import Rows, people
from tests.stand_in.stand_in import StandIn


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request for another machine goes to a proxy that is not there; waits take no time."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")
    from sync.run.connections import make_client

    def client(settings: Settings, stop: Stop) -> IterableClient:
        made = make_client(settings, stop)
        made._sleep = lambda _: stop.is_set()
        return made

    monkeypatch.setattr(main, "make_client", client)


@pytest.mark.usefixtures("dead_proxy")
def test_the_demo_needs_no_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo runs where the environment names a proxy."""
    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "demo_output")

    assert main.main(["--demo", "--json"]) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["retries"], told["users"]["failed"]) == ({"503": 1}, 0)


@pytest.mark.usefixtures("dead_proxy")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_base_url_on_this_machine_needs_no_proxy(tmp_path: Path, host: str) -> None:
    """A run against this machine speaks to it directly."""
    with StandIn() as iterable:
        environ = {**environment(tmp_path), "ITERABLE_API_BASE_URL": iterable.url.replace("127.0.0.1", host)}
        job = Run(load_settings(Path(os.devnull), environ), source=partial(Rows, people(3)))
        summary = main.run(job)

        assert (summary.exit_code, summary.retries) == (ExitCode.DONE, {})
        assert len(iterable.requests) == 6
