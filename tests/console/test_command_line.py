"""The command line: flags that mean nothing together, and what is said of a bug outside a run."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import main
from sync.demo import demonstration as demo
from sync.run.exit_codes import ExitCode
from tests.harness import PROJECT, World, write_env
from tests.sample_rows import people


def broken(*_: object, **__: object) -> Any:
    """What nobody foresaw."""
    raise ZeroDivisionError("nobody foresaw it")


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("--check", "sync.console.check.findings"),
        ("--check", "main.read_settings"),
        ("--history", "main.read_history"),
        ("--dry-run", "sync.console.dry_run._deliver"),
        ("--dry-run", "sync.state.outbox.Outbox.plan"),
        ("--demo", "sync.demo.demonstration.load_settings"),
    ],
)
def test_a_bug_costs_one_line(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    part: str,
) -> None:
    """A bug outside a run is told in one line, with exit code 1 and without a traceback."""
    world.rows = people(2)
    monkeypatch.setattr(demo, "OUTPUT", world.folder / "demo_output")
    monkeypatch.setattr(part, broken)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's would hide what logging prints without any
    code = main.main([flag]) if flag == "--demo" else world.main(flag)

    assert code == ExitCode.STOPPED
    check_one_line(capsys, "nobody foresaw it")


def test_a_file_in_the_way_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file where the demo's folder belongs is told in one line that names it."""
    (tmp_path / "demo_output").write_text("mine")
    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "demo_output")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    assert main.main(["--demo"]) == ExitCode.STOPPED
    check_one_line(capsys, "demo_output")
    assert (tmp_path / "demo_output").read_text() == "mine"


def check_one_line(capsys: pytest.CaptureFixture[str], words: str) -> None:
    """One line says it, after what the demo says of itself."""
    told = capsys.readouterr()
    assert "Traceback" not in told.out + told.err
    lines = [line for line in told.err.splitlines() if words in line]
    assert len(lines) == 1
    assert told.err.splitlines()[-1] == lines[0]


def test_a_working_directory_that_is_gone(world: World, tmp_path: Path) -> None:
    """Whoever starts the program may stand in a folder that was removed, and without any environment."""
    world.run()
    env_file = write_env(tmp_path, world.environ)
    script = 'mkdir "$1" && cd "$1" && rmdir "$1" && shift && exec env -i "$@" 0<&-'
    command = [sys.executable, str(PROJECT / "main.py"), "--env-file", str(env_file), "--history"]
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(tmp_path / "gone"), *command], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
    assert "default" in done.stdout


@pytest.mark.parametrize(
    "flags",
    [
        ("--full", "--history"),
        ("--check", "--limit", "5"),
        ("--check", "--full"),
        ("--dry-run", "--csv", "x"),
    ],
    ids=" ".join,
)
def test_flags_that_would_be_ignored(world: World, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]) -> None:
    """A flag that its mode would ignore is wrong usage, and both are named."""
    with pytest.raises(SystemExit) as caught:
        world.main(*flags)

    assert caught.value.code == ExitCode.USAGE
    told = capsys.readouterr().err.splitlines()[-1]
    assert all(flag in told for flag in flags if flag.startswith("--"))
    assert not world.settings.log_file.exists() and not world.settings.state_file.exists()


@pytest.mark.parametrize("isolated", [("-I", ""), ("", "1")], ids=["-I", "PYTHONSAFEPATH"])
def test_where_python_leaves_out_the_folder_of_the_script(
    world: World, tmp_path: Path, isolated: tuple[str, str]
) -> None:
    """The program finds its own files where the interpreter does not look beside the script."""
    flag, safe = isolated
    world.run()
    command = [sys.executable, *([flag] if flag else []), str(PROJECT / "main.py"), "--history"]
    environ = {"PYTHONSAFEPATH": safe} if safe else {}
    env_file = write_env(tmp_path, world.environ)
    done = subprocess.run(
        [*command, "--env-file", str(env_file)], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")


def test_without_its_packages() -> None:
    """A Python that lacks them, as the system's does, is told how to start the program, in one sentence."""
    command = [sys.executable, "-I", "-S", str(PROJECT / "main.py"), "--demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.STOPPED
    (line,) = done.stderr.splitlines()
    assert "which this Python does not have. Start it as .venv/bin/python main.py" in line
    assert done.stdout == ""


@pytest.mark.parametrize("package", ["requests", "jwt", "pymysql", "dotenv", "prometheus_client", "tqdm"])
def test_without_one_of_its_packages(package: str) -> None:
    """Any of them is missed at the start, also one that only some runs load, and named."""
    start = (
        f"sys.modules[{package!r}] = None; sys.argv[1:] = ['--version']; runpy.run_path({str(PROJECT / 'main.py')!r}"
    )
    command = [sys.executable, "-c", f"import runpy, sys; {start}, run_name='__main__')"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (ExitCode.STOPPED, "")
    assert done.stderr.startswith(f"main.py needs the package {package}")
