"""The log: one event, one line, in one format, private, and without secrets."""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.run import log as logs
from sync.run.log import LineFormatter, PrivateFile, add_handler, start_logging, stop_logging
from tests.examples import examples

RETRY = "Retryable error %d from %s. Retrying in %.2fs (attempt %d/%d)"
texts = st.text(st.characters(exclude_categories=()), max_size=40)  # surrogates and control characters included


@pytest.fixture(autouse=True)
def end_of_logging() -> Iterator[None]:
    """No test leaves a handler or a level behind."""
    level = logging.getLogger().level
    yield
    stop_logging()
    logging.getLogger().setLevel(level)


def record(message: str, *args: object, name: str = "main", level: int = logging.INFO) -> logging.LogRecord:
    """An event of 2026-01-13 14:31:22, local time."""
    made = logging.LogRecord(name, level, __file__, 1, message, args, None)
    made.created = time.mktime((2026, 1, 13, 14, 31, 22, 0, 0, -1)) + 0.987
    return made


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


# -- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_full_disk() -> None:
    """A log on a full disk stops nothing at once: the first reason is kept for the run's end, closing included."""
    file = start_logging(Path("/dev/full"), "INFO", LineFormatter("r1"))
    assert file.failure == ""
    logging.getLogger("delivery").info("hello")
    assert "No space left on device" in file.failure
    assert "delivery" in file.failure
    first = file.failure
    logging.getLogger("main").info("hello")
    stop_logging()
    assert file.failure == first


def test_a_late_line_opens_nothing(tmp_path: Path) -> None:
    """The last line of a run stays the last: what a hanging worker says after it is not in the file, nor opens it."""
    file = start_logging(tmp_path / "log", "INFO", LineFormatter("r1"))
    logging.getLogger("main").info("the last line")
    stop_logging()
    file.handle(logging.LogRecord("main", logging.INFO, "", 0, "late", None, None))

    assert file.stream is None
    assert "late" not in (tmp_path / "log").read_text()


def test_log_that_cannot_be_opened(tmp_path: Path) -> None:
    """A folder that is missing is an OSError before anything is done."""
    with pytest.raises(OSError, match="No such file"):
        start_logging(tmp_path / "no" / "log", "INFO", LineFormatter("r1"))


def test_bad_arguments_lose_one_line_only(tmp_path: Path) -> None:
    """A log call with a mistake in it stops no run; the loss is told."""
    file = start_logging(tmp_path / "log", "INFO", LineFormatter("r1"))
    file.handle(record("%d users", "many"))  # not through the root logger, where pytest listens
    logging.getLogger("main").info("next")
    assert "TypeError" in file.failure
    assert (tmp_path / "log").read_text().endswith("next run=r1\n")


# -- the line ------------------------------------------------------------------------------------------------------


def test_format() -> None:
    """The format to the letter: time without fractions, logger, level, sentence, fields, run."""
    warning = record(RETRY, 503, "users/update", 1.05, 1, 3, name="iterable_client", level=logging.WARNING)
    line = (
        "2026-01-13 14:31:22 - iterable_client - WARNING - "
        "Retryable error 503 from users/update. Retrying in 1.05s (attempt 1/3)"
    )
    assert LineFormatter("").format(warning) == line
    assert LineFormatter("20260113-143122-a1b2").format(warning) == f"{line} run=20260113-143122-a1b2"


@examples(200)
@given(message=texts, argument=texts)
def test_one_event_one_line(message: str, argument: str) -> None:
    """Whatever the server or the database sent, an event is one line that UTF-8 can hold."""
    line = LineFormatter("r1").format(record(message.replace("%", "%%") + " %s", argument))
    assert line.splitlines() == [line]
    assert line.encode().decode() == line
    assert "\x1b" not in line and "\0" not in line
    assert line.startswith("2026-01-13 14:31:22 - main - INFO - ")
    assert line.endswith(" run=r1")


def test_plain_text_is_left_alone() -> None:
    """Letters of all languages, emoji and quotes are readable in the log; a newline is told as one."""
    assert LineFormatter("").clean("Zoë Søren 北京 \U0001f600 'x' \"y\" \\") == "Zoë Søren 北京 \U0001f600 'x' \"y\" \\"
    assert LineFormatter("").clean("a\nb\r\tc\u2028d\ud83d") == r"a\nb\r\tc\u2028d\ud83d"


def test_traceback_is_one_line() -> None:
    """An unexpected error is one line with its whole traceback, so that grep finds it with the run's id."""
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        event = record("Unexpected error", level=logging.ERROR)
        event.exc_info = sys.exc_info()
    line = LineFormatter("r1").format(event)
    assert line.splitlines() == [line]
    assert "Traceback (most recent call last)" in line
    assert r"ValueError: first\nsecond" in line
    assert line.endswith(" run=r1")


# -- secrets -------------------------------------------------------------------------------------------------------

SECRETS = ("k3y-of-the-project", "p'ss\\w%rd", "k3y-of-the", "")


@pytest.mark.parametrize("template", ["%s", "at the end %s", "%s first", "in%sside", "%r", "{'key': '%s'}", "a\n%s\nb"])
@pytest.mark.parametrize("secret", SECRETS[:3])
def test_secrets_are_masked(template: str, secret: str) -> None:
    """No secret is in a line, neither as it is nor as Python shows it, nor the rest of a longer one."""
    line = LineFormatter("r1", SECRETS).format(record(template, secret))
    assert secret not in line
    assert repr(secret)[1:-1] not in line
    assert "***" in line
    assert "project" not in line


def test_secrets_in_a_traceback() -> None:
    """What an exception says is masked too."""
    try:
        raise RuntimeError(f"refused: {SECRETS[0]}")
    except RuntimeError:
        event = record("Unexpected error")
        event.exc_info = sys.exc_info()
    assert SECRETS[0] not in LineFormatter("", SECRETS).format(event)


def test_no_secrets_to_mask() -> None:
    """An empty secret masks nothing."""
    assert LineFormatter("", ("", "")).clean("hello") == "hello"


@pytest.mark.parametrize("secrets", [(), ("abc",), ("eyJ",)], ids=str)
def test_tokens_are_masked(secrets: tuple[str, ...]) -> None:
    """A JWT is masked, whoever made it, and whole even when it holds a secret."""
    token = jwt.encode({"email": "ada@example.com"}, "s" * 32, algorithm="HS256")
    for text in (token, f"{token[:-3]}abc", token.replace("eyJ", "eyJabc", 1)):
        line = LineFormatter("", secrets).clean(f"Authorization: Bearer {text}, sent to ada@example.com")
        assert line == "Authorization: Bearer ***, sent to ada@example.com"


# -- the file ------------------------------------------------------------------------------------------------------


def test_file_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log holds addresses: only its owner may read it, also after a rotation and whatever the umask is."""
    path = tmp_path / "log"
    before = os.umask(0)
    try:
        file = start_logging(path, "INFO", LineFormatter("r1"))
        assert mode(path) == 0o600
        monkeypatch.setattr(logs, "ROTATE_OVER", -1)
        file.rotate_when_large()
        assert [mode(tmp_path / name) for name in ("log", "log.1")] == [0o600, 0o600]
    finally:
        os.umask(before)


def test_lines_are_appended(tmp_path: Path) -> None:
    """A run adds to the log of the runs before it; a second start doubles no line."""
    path = tmp_path / "log"
    path.write_text("the run before\n")
    start_logging(path, "INFO", LineFormatter("r1"))
    start_logging(path, "INFO", LineFormatter("r2"))
    logging.getLogger("main").info("hello")
    before, line = path.read_text().splitlines()
    assert before == "the run before"
    assert line.endswith("hello run=r2")
    stop_logging()
    logging.getLogger("main").warning("nobody listens")
    assert "nobody" not in path.read_text()


def test_rotation_before_the_first_line_of_a_run(tmp_path: Path) -> None:
    """A run is never torn apart: a log over 10 MB is rotated before the run's first line, and never after it."""
    path = tmp_path / "log"
    path.touch()
    os.truncate(path, 10_000_000)
    start_logging(path, "INFO", LineFormatter("r1"))
    for _ in range(2):
        logging.getLogger("main").info("one more")
        assert not (tmp_path / "log.1").exists()
    start_logging(path, "INFO", LineFormatter("r2"))
    logging.getLogger("main").info("first of the new file")
    assert (tmp_path / "log.1").stat().st_size > 10_000_000
    assert len(path.read_text().splitlines()) == 1


def test_not_while_another_run_writes_it(tmp_path: Path) -> None:
    """The log of a run that goes on keeps its name; what cannot be rotated now is rotated by a later run."""
    path = tmp_path / "log"
    path.touch()
    os.truncate(path, 10_000_001)
    other = PrivateFile(path)
    start_logging(path, "INFO", LineFormatter("r1"))
    logging.getLogger("main").info("beside the other's lines")
    assert not (tmp_path / "log.1").exists()
    other.close()
    start_logging(path, "INFO", LineFormatter("r2"))
    assert (tmp_path / "log.1").read_bytes().endswith(b"run=r1\n") and path.read_text() == ""


def test_five_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rotated logs the last five are kept, the newest under the smallest number."""
    monkeypatch.setattr(logs, "ROTATE_OVER", 0)
    for number in range(8):
        start_logging(tmp_path / "log", "INFO", LineFormatter(""))
        logging.getLogger("main").info("run number %d", number)
    start_logging(tmp_path / "log", "INFO", LineFormatter(""))
    told = {path.name: path.read_text().split()[-1] for path in sorted(tmp_path.glob("log.*"))}
    assert told == {"log.1": "7", "log.2": "6", "log.3": "5", "log.4": "4", "log.5": "3"}


def test_level(tmp_path: Path) -> None:
    """LOG_LEVEL decides what is written; libraries speak from WARNING on, also at DEBUG."""
    path = tmp_path / "log"
    start_logging(path, "DEBUG", LineFormatter("r1"))
    logging.getLogger("iterable_client").debug("ours")
    for library in ("urllib3.connectionpool", "requests", "asyncio"):
        logging.getLogger(library).debug("https://api.iterable.com:443 POST")
        logging.getLogger(library).warning("worth knowing from %s", library)
    start_logging(path, "ERROR", LineFormatter("r1"))
    logging.getLogger("main").warning("not written")
    lines = path.read_text().splitlines()
    assert len(lines) == 4
    assert re.search(" - DEBUG - ours run=r1$", lines[0])
    assert all("worth knowing" in line for line in lines[1:])


def test_second_handler_ends_with_the_first(tmp_path: Path) -> None:
    """What was added for the screen has all records too, and goes when the log is closed."""
    seen: list[str] = []

    class Screen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(self.format(record))

    start_logging(tmp_path / "log", "INFO", LineFormatter("r1"))
    add_handler(Screen(), LineFormatter(""))
    logging.getLogger("main").info("hello")
    stop_logging()
    logging.getLogger("main").warning("too late")
    assert len(seen) == 1
    assert seen[0].endswith("hello")
