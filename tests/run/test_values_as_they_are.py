"""Values of the env file are taken as they are, in any kind of quote."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.run.env_file import read_env_file
from sync.run.settings import SettingsError, load_settings
from tests.run.settings_of import NEEDED, appended


@pytest.mark.parametrize("quote", ["", "'", '"'])
@pytest.mark.parametrize(
    "value",
    [
        r"a\tb\new",
        r"C:\dir\\",
        r"\u00e4\x41",
        r"it\'s",
        r"say \"x\"",
        "back\\",
        "$HOME ${X} `ls`",
        "it's",
        'say "x" twice',
        "a#b",
        "%s",
    ],
)
def test_no_escapes(env_file: Path, quote: str, value: str) -> None:
    """A backslash is a backslash, whatever stands behind it and around the value."""
    assert load_settings(appended(env_file, f"DB_PASSWORD={quote}{value}{quote}\n"), {}).db_password == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"p" # say "x"', "p"),
        ('"p"  ', "p"),
        ('"p#q"', "p#q"),
        ('"p # q"', "p # q"),
        ("'p # it''s'", "p # it''s"),
        ('"a"#b"', 'a"#b'),
        ("'\"x'", '"x'),
        ("''", ""),
        ("x'y", "x'y"),
        ("# no value", ""),
        ("#value", "#value"),
    ],
)
def test_where_a_value_ends(env_file: Path, text: str, value: str) -> None:
    """A quote ends the value where nothing but a comment follows; a comment begins with a blank and a `#`."""
    space = " " if text == "# no value" else ""
    assert load_settings(appended(env_file, f"DB_PASSWORD={space}{text}\n"), {}).db_password == value


@pytest.mark.parametrize("text", ['"open', "'open", '"', '"a"b', "'a' b", '"back\\'])
def test_quote_that_does_not_end(env_file: Path, text: str) -> None:
    """A value that begins with a quote ends with it, else nobody knows what was meant."""
    with pytest.raises(SettingsError) as caught:
        load_settings(appended(env_file, f"DB_PASSWORD={text}\nDB_HOST=x\n"), {})

    assert caught.value.problems == (f"line 4 of {env_file} opens a quote and does not end with it",)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True, database=None)
@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])))
def test_single_quotes_hold_anything(tmp_path: Path, value: str) -> None:
    """Any text of one line comes back from single quotes, if it holds none that a comment follows."""
    if "' #" in " ".join(value.split()) or any(part.lstrip().startswith("#") for part in value.split("'")[1:]):
        return
    path = tmp_path / "my.env"
    path.write_text(f"\nX='{value}'\n", encoding="utf-8")
    problems: list[str] = []

    assert read_env_file(path, problems) == {"X": value}
    assert not problems


def test_needed_settings_alone(env_file: Path) -> None:
    """The file of the other tests reads as they believe."""
    assert read_env_file(env_file, []) == NEEDED
