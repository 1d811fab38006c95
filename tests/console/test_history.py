"""`--history` takes a state file and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import main
from sync.run.exit_codes import ExitCode
from sync.run.settings import defaults
from tests.harness import World
from tests.sample_rows import people


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting in the process environment."""
    for name in defaults():
        monkeypatch.delenv(name, raising=False)


def history(path: Path, text: str) -> int:
    """The exit code with these lines as the env file."""
    path.write_text(text)
    return main.main(["--env-file", str(path), "--history"])


def test_no_other_setting_is_needed(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without database, key and query the runs on record are shown, also beside settings that cannot be used."""
    world.rows = people(2)
    world.run()
    capsys.readouterr()

    text = f"STATE_FILE={world.settings.state_file}\nWORKERS=many\nQUERY_FILE=nowhere.sql\n"
    assert history(tmp_path / "my.env", text) == ExitCode.DONE
    assert "2+2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("STATE_FILE=\n", "STATE_FILE is ''; it must be a file name"),
        (
            "STATE_FILE=~nobody-of-that-name/x\n",
            "STATE_FILE is '~nobody-of-that-name/x'; Could not determine home directory.",
        ),
        ("STATE FILE=x\n", "is not NAME=value"),
    ],
)
def test_state_file_that_is_not_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    """What would show another history than the one that is meant is wrong usage."""
    assert history(tmp_path / "my.env", text) == ExitCode.USAGE
    assert problem in capsys.readouterr().err


def test_env_file_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was named has to be there."""
    assert main.main(["--env-file", str(tmp_path / "none"), "--history"]) == ExitCode.USAGE
    assert "cannot be read" in capsys.readouterr().err
