"""The env file: broken lines, odd values, who wins."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from sync.run import settings as config
from sync.run.settings import SettingsError, load_settings
from tests.run.settings_of import NEEDED, appended


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("DB HOST=x\n", 4),
        ("\n\n# a comment\n\n=x\n", 8),
        ("DB_PASSWORD\n", 4),
        ("export DB_PASSWORD\n", 4),
        ("DB_HOST=a\nDB_PASSWORD='open\n", 5),
        ('DB_PASSWORD="open\nDB_HOST="x"\n', 4),
        ('DB_PASSWORD="two\nlines"\n', 4),
    ],
)
def test_broken_line(env_file: Path, text: str, line: int) -> None:
    """A line that is no assignment is a problem with its number; nothing of it is repeated, it may be a secret."""
    with pytest.raises(SettingsError) as caught:
        load_settings(appended(env_file, text), {})
    (problem,) = caught.value.problems
    assert problem.startswith(f"line {line} of {env_file} ")
    assert "open" not in problem.replace(str(env_file), "").replace("opens a quote", "")
    assert "lines" not in problem.replace(str(env_file), "")


def test_broken_lines_do_not_hide_the_others(env_file: Path) -> None:
    """All broken lines are told, and what the good lines say counts: nothing is called missing that is there."""
    appended(env_file, "what is this\nDB_PORT=x\nand this\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(env_file, {})
    assert [problem.split(" of ")[0].split(" is ")[0] for problem in caught.value.problems] == [
        "line 4",
        "line 6",
        "DB_PORT",
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("DB_HOST=a\n\nDB_HOST=b\n", (4, 6)),
        ("DB_NAME=other\n", (2, 4)),
        ("OTHER=a\nDB_HOST=x\nOTHER=\n", (4, 6)),
        ("DB_PASSWORD=s3cret\nexport DB_PASSWORD='s3cret '\n", (4, 5)),
    ],
)
def test_two_values_of_one_name(env_file: Path, text: str, lines: tuple[int, int]) -> None:
    """A name with two values is a problem that names both lines, and neither value, which may be a secret."""
    with pytest.raises(SettingsError) as caught:
        load_settings(appended(env_file, text), {})
    (problem,) = caught.value.problems
    assert problem.startswith(f"lines {lines[0]} and {lines[1]} of {env_file} give ")
    assert problem.endswith("two values: leave one of them out")
    assert "s3cret" not in problem


@pytest.mark.parametrize("content", [None, b"DB_NAME=\xff\xfe\n"], ids=["missing", "not-utf-8"])
def test_unreadable_file(tmp_path: Path, content: bytes | None) -> None:
    """A file that is named and cannot be read is a problem, even if the environment says everything."""
    path = tmp_path / "x.env"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"x\.env cannot be read"):
        load_settings(path, NEEDED)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    """What PowerShell's `>` and some editors write is one problem with its remedy; nothing that follows is listed."""
    path = tmp_path / "x.env"
    path.write_bytes("DB_PASSWORD=x\nDB_NMAE=x\n".encode(encoding))
    for given in ({}, NEEDED | {"SYNC_NAME": "x", "WORKERS": "many"}):
        with pytest.raises(SettingsError, match=r"save it as UTF-8$") as caught:
            load_settings(path, given)
        assert len(caught.value.problems) == 1


def test_a_file_that_nobody_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One problem: the cause. Nobody is told to copy the example over a file that is there."""
    path = tmp_path / ".env"
    path.write_text("DB_USER=reader\n")
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    monkeypatch.setattr(Path, "open", lambda *_args, **_options: (_ for _ in ()).throw(denied))
    monkeypatch.setattr(config, "HOME", tmp_path)
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {})
    assert caught.value.problems == (f"{path} cannot be read: Permission denied",)


def test_where_to_give_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copying the example is suggested only where there is no `.env` that it would destroy."""
    (tmp_path / "query.sql").touch()
    monkeypatch.setattr(config, "HOME", tmp_path)
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {})
    assert "DB_USER is missing; copy .env.example to .env and fill it in" in caught.value.problems
    (tmp_path / ".env").write_text("DB_NAME=shop\nITERABLE_API_KEY=k\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {})
    assert caught.value.problems == (f"DB_USER is missing; give it in {tmp_path / '.env'}",)


def test_a_folder_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker makes a folder of a file to mount that is not there: it is said, for `.env` beside main.py as well."""
    for path in (tmp_path / ".env", tmp_path / "x.env"):
        path.mkdir()
    (tmp_path / "query.sql").touch()
    monkeypatch.setattr(config, "HOME", tmp_path)
    for named in (None, tmp_path / "x.env"):
        with pytest.raises(SettingsError, match=r"env cannot be read: .*Is a directory"):
            load_settings(named, NEEDED)


def test_a_link_that_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one problem, its cause: there is a `.env`, and a copy would be refused in its place."""
    monkeypatch.setattr(config, "HOME", tmp_path)
    (tmp_path / ".env").symlink_to("secrets that are not mounted")
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {})
    assert caught.value.problems == (f"{tmp_path / '.env'} cannot be read: No such file or directory",)


def test_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without `.env` the environment may say everything."""
    monkeypatch.setattr(config, "HOME", tmp_path)
    (tmp_path / "query.sql").touch()
    assert load_settings(None, NEEDED).db_user == "reader"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("DB_PASSWORD=p$HOME${HOME}$$", "p$HOME${HOME}$$"),
        ("DB_PASSWORD='p$HOME # x'", "p$HOME # x"),
        ('DB_PASSWORD=" p\\"q "', ' p"q '),
        ("DB_PASSWORD=p#q", "p#q"),
        ("DB_PASSWORD=p # a comment", "p"),
        ("export DB_PASSWORD = p", "p"),
        ("DB_PASSWORD=a=b", "a=b"),
        ("DB_PASSWORD=%s%(x)s", "%s%(x)s"),
        ("DB_PASSWORD=", ""),
        ("DB_PASSWORD=pä", "pä"),
        ("DB_PASSWORD=p\r", "p"),
        ("DB_PASSWORD=same\nDB_PASSWORD='same'", "same"),
    ],
)
def test_values_are_taken_as_they_are(env_file: Path, line: str, value: str) -> None:
    """No `$` expansion; quotes keep spaces and `#`; a value may be given twice."""
    assert load_settings(appended(env_file, f"{line}\n"), {"HOME": "elsewhere"}).db_password == value


def test_byte_order_mark(tmp_path: Path) -> None:
    """A file from a Windows editor reads the same."""
    path = tmp_path / "x.env"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(f"{name}={value}" for name, value in NEEDED.items()).encode())
    assert load_settings(path, {}).db_user == "reader"


def test_file_may_be_a_pipe(tmp_path: Path) -> None:
    """`--env-file <(decrypt secrets)` works: the file is read once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "".join(f"{name}={value}\n" for name, value in (NEEDED | {"SYNC_NAME": "shop"}).items())
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert load_settings(pipe, {}).db_name == "shop"
    writer.join()


def test_environment_wins(env_file: Path) -> None:
    """The environment wins over the file, also with an empty value; other variables do not matter."""
    appended(env_file, "DB_HOST=from-file\nEVENT_NAME=from-file\nWORKERS=7\n")
    settings = load_settings(env_file, {"DB_HOST": "from-env", "EVENT_NAME": "", "WORKERS": "", "HOST": "x"})
    assert settings.db_host == "from-env"
    assert settings.event_name == ""
    assert settings.workers == 128


@pytest.mark.usefixtures("bare_environment")
def test_process_environment(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another one given, it is the environment of the process; nothing of the file is put into it."""
    monkeypatch.setenv("DB_HOST", "from-process")
    assert load_settings(env_file).db_host == "from-process"
    assert "DB_USER" not in os.environ
