"""A name in the env file that was meant to be a setting is a problem; other programs' names are not ours to judge."""

from __future__ import annotations

from pathlib import Path

import pytest

import main
from sync.run.env_file import misspelt
from sync.run.exit_codes import ExitCode
from sync.run.settings import SettingsError, defaults, load_settings
from tests.harness import World
from tests.run.settings_of import NEEDED, appended
from tests.sample_rows import people


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SEGMENT_FEILD", "SEGMENT_FIELD"),
        ("SEGMENT_NAME", "SEGMENT_FIELD"),
        ("SEGMENT_", "SEGMENT_FIELD"),
        ("ITERABLE_KEY", "ITERABLE_API_KEY"),
        ("ITERABLE_URL", "ITERABLE_API_BASE_URL"),
        ("ITERABLE_BASE_URL", "ITERABLE_API_BASE_URL"),
        ("iterable_api_key", "ITERABLE_API_KEY"),
        ("DB_PASWORD", "DB_PASSWORD"),
        ("DB_HOSTS", "DB_HOST"),
        ("db_host", "DB_HOST"),
        ("EVENTNAME", "EVENT_NAME"),
        ("WORKER", "WORKERS"),
        ("USER_FIELD", "USER_FIELDS"),
        ("JWT_LIVETIME", "JWT_LIFETIME"),
    ],
)
def test_misspelt_name(env_file: Path, name: str, meant: str) -> None:
    """A name within two letters of a setting, in capitals or not, or with a prefix of ours, names what was meant."""
    with pytest.raises(SettingsError) as caught:
        load_settings(appended(env_file, f"{name}=hidden\n"), {})

    assert caught.value.problems == (f"{meant}: {name} in {env_file} is not a setting; did you mean {meant}?",)


@pytest.mark.parametrize(
    "name",
    ["AWS_REGION", "PATH", "DB_PASS", "DATABASE_URL", "SMTP_PORT", "LOGGING", "STATE", "MY_SEGMENT_X"],
)
def test_names_of_other_programs(env_file: Path, name: str) -> None:
    """An env file that others use as well may hold their names."""
    assert load_settings(appended(env_file, f"{name}=x\n"), {}).db_user == "reader"


def test_every_letter_of_every_setting_matters() -> None:
    """A setting with one letter too few, too many or another is never taken for a name of another program."""
    settings = list(defaults())
    for setting in settings:
        for at in range(len(setting)):
            ways = (
                setting[:at] + setting[at + 1 :],
                f"{setting[:at]}X{setting[at:]}",
                f"{setting[:at]}x{setting[at + 1 :]}",
            )
            wrong = ways[at % len(ways)]
            assert wrong in settings or [name for name, _ in misspelt([wrong], settings)] == [wrong]


def test_environment_is_not_judged(env_file: Path) -> None:
    """The environment is everybody's: a strange name there is no problem."""
    assert load_settings(env_file, {"SEGMENT_FEILD": "vip", "ITERABLE_THING": "x"}).segment_field == "recent_page_view"


def test_beside_the_other_problems(env_file: Path) -> None:
    """It is one problem among others, and all are told."""
    appended(env_file, "SEGMENT_FEILD=vip\nWORKERS=many\nDB_PROT=1\n")

    with pytest.raises(SettingsError) as caught:
        load_settings(env_file, {})

    assert [problem.split()[0] for problem in caught.value.problems] == ["SEGMENT_FIELD:", "DB_PORT:", "WORKERS"]


def test_nothing_is_sent(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """No run begins, so no field is made at Iterable for good; `--check` says it too."""
    world.rows = people(1)
    world.environ["SEGMENT_FEILD"] = "vip"

    assert world.main() == ExitCode.USAGE
    assert "did you mean SEGMENT_FIELD?" in capsys.readouterr().err
    assert world.main("--check") == ExitCode.STOPPED
    assert "did you mean SEGMENT_FIELD?" in capsys.readouterr().out
    assert world.sent == []


def test_history_looks_at_its_own_setting_alone(tmp_path: Path) -> None:
    """A misspelt STATE_FILE would show another history; any other name does not matter to it."""
    path = tmp_path / "my.env"
    path.write_text("SEGMENT_FEILD=vip\nSTATE_FILE=a.sqlite3\n")
    assert load_settings(path, NEEDED, needed="STATE_FILE").state_file.name == "a.sqlite3"

    path.write_text("STATE_FILES=a.sqlite3\n")
    with pytest.raises(SettingsError, match="did you mean STATE_FILE"):
        load_settings(path, NEEDED, needed="STATE_FILE")
    assert main.main(["--env-file", str(path), "--history"]) == ExitCode.USAGE
