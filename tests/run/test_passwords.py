"""How a value is written in the env file: python-dotenv's rules for quotes, escapes and comments are the rules."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.run.env_file import read_env_file
from sync.run.settings import SettingsError, load_settings
from tests.harness import PROJECT, quoted
from tests.run.settings_of import NEEDED, appended

PASSWORDS = (
    "plain",
    "back\\slash",
    "ends in \\",
    "\\begins",
    "two\\\\",
    "new\\nline",
    "tab\\t",
    "it's",
    'say "x"',
    "both ' and \"",
    "\\' and \\\"",
    "a#b",
    "a #b",
    "#hash",
    "$HOME",
    "${HOME}",
    " spaces ",
    "inner  space = %s",
)
QUOTES = ("", "'", '"')


def read_by_dotenv(text: str) -> dict[str, str | None]:
    """What python-dotenv itself reads."""
    return dict(dotenv_values(stream=io.StringIO(text), interpolate=False))


def read(path: Path, text: str) -> dict[str, str]:
    """What a run reads; AssertionError when it finds a fault."""
    path.write_text(text, encoding="utf-8")
    values, problems = read_env_file(path)
    assert not problems
    return values


def test_the_example(tmp_path: Path) -> None:
    """`.env.example` reads as python-dotenv reads it, as it is and with every setting in it uncommented."""
    text = (PROJECT / ".env.example").read_text("utf-8")
    for example in (text, text.replace("\n# ", "\n")):
        readable = "\n".join(line for line in example.splitlines() if "=" in line.split(" ")[0])
        assert len(readable.splitlines()) >= 4
        assert read(tmp_path / "x.env", readable) == read_by_dotenv(readable)


def test_the_passwords_of_the_example(tmp_path: Path) -> None:
    """The passwords that `.env.example` shows in single quotes are read as the words beside them say."""
    shown = dict(
        line.removeprefix("#   ").split("  is ", 1)
        for line in (PROJECT / ".env.example").read_text("utf-8").splitlines()
        if line.startswith("#   DB_PASSWORD=")
    )
    assert len(shown) >= 3
    for line, password in shown.items():
        assert read(tmp_path / "x.env", line.strip()) == {"DB_PASSWORD": password.strip()}


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("password", PASSWORDS)
def test_as_python_dotenv_reads_it(tmp_path: Path, quote: str, password: str) -> None:
    """What stands behind `=` is read as python-dotenv reads it, or is a problem; never anything else."""
    path = tmp_path / "x.env"
    line = f"DB_PASSWORD={quote}{password}{quote}\n"
    path.write_text(line, encoding="utf-8")
    values, problems = read_env_file(path)
    if problems:
        assert read_by_dotenv(line) == {} or line.startswith("DB_PASSWORD=#")
    else:
        assert values == read_by_dotenv(line)


@pytest.mark.parametrize("quote", QUOTES[1:])
@pytest.mark.parametrize("password", PASSWORDS)
def test_every_password_can_be_written(env_file: Path, quote: str, password: str) -> None:
    """In quotes, with a backslash before each backslash and each such quote, every password comes back whole."""
    line = f"DB_PASSWORD={quoted(password, quote)}\n"
    assert load_settings(appended(env_file, line), {"HOME": "elsewhere"}).db_password == password


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True, database=None)
@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])), st.sampled_from(QUOTES[1:]))
def test_any_text_can_be_written(tmp_path: Path, value: str, quote: str) -> None:
    """So does any text of one line."""
    assert read(tmp_path / "my.env", f"\nX={quoted(value, quote)} # note\n") == {"X": value}


LINES = st.lists(
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["", "  ", "export "]),
        st.sampled_from(["A", "B", "'C D'", "", "#", "A B"]),
        st.sampled_from(["=", " = ", "", "= "]),
        st.text("ab\\'\"# $\t", max_size=8),
    ),
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True, database=None)
@given(LINES)
def test_any_file_without_a_problem(tmp_path: Path, lines: list[str]) -> None:
    """A file in which no problem is found is read as python-dotenv reads it."""
    text = "\n".join(lines)
    path = tmp_path / "any.env"
    path.write_text(text, encoding="utf-8")
    values, problems = read_env_file(path)
    assert problems or values == read_by_dotenv(text)


@pytest.mark.parametrize("text", ['"open', "'open", '"', '"a"b', "'a' b", '"back\\"', "'a'b'"])
def test_quote_that_does_not_end(env_file: Path, text: str) -> None:
    """A quote that does not end the value is one problem, with the remedy; it swallows no other line."""
    with pytest.raises(SettingsError) as caught:
        load_settings(appended(env_file, f"DB_PASSWORD={text}\nDB_HOST=x\n"), {})

    (problem,) = caught.value.problems
    assert problem.startswith(f"line 4 of {env_file} opens a quote that is not closed at the end of the line")
    assert "open" not in problem.removeprefix(f"line 4 of {env_file} opens")


@pytest.mark.parametrize("text", ["#secret", " # a comment", "\t#", "#"])
def test_hash_after_the_equals_sign(env_file: Path, text: str) -> None:
    """A `#` straight after `=` may begin a value or a comment: it is a problem, and in quotes it is none."""
    with pytest.raises(SettingsError, match=r"line 4 of .* has a # straight after the =") as caught:
        load_settings(appended(env_file, f"DB_PASSWORD={text}\n"), {})
    assert len(caught.value.problems) == 1
    assert "secret" not in caught.value.problems[0]


def test_needed_settings_alone(env_file: Path) -> None:
    """The file of the other tests reads as they believe."""
    assert read_env_file(env_file) == (NEEDED, [])
