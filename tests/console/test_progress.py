"""What a person at a terminal sees."""

from __future__ import annotations

import logging
import sys

import pytest

from sync.console.options import parse_options
from sync.console.screen import ScreenHandler, Terminal
from sync.run.log import LAST_LINE


def event(message: str, level: int = logging.INFO) -> logging.LogRecord:
    """A log record."""
    return logging.LogRecord("main", level, __file__, 1, message, (), None)


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (event("Run started: from %s to %s"), True),
        (event("%s call successful: Success%s"), False),
        (event(LAST_LINE), False),
        (event("JWT token generated successfully", logging.DEBUG), False),
        (event("Retryable error 503 from users/update", logging.WARNING), True),
        (event("Unexpected error", logging.ERROR), True),
    ],
)
def test_what_is_shown(record: logging.LogRecord, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Each step and what went wrong; not the calls that succeeded, nor the line that the summary says better."""
    ScreenHandler().handle(record)
    told = capsys.readouterr()
    assert told.out == ""
    assert bool(told.err) == shown


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """What a person sees."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    return Terminal(parse_options([]))


def test_no_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With nobody to deliver to there is no bar, and nothing is printed."""
    with terminal(monkeypatch).counting("users", 0) as progress:
        progress(1)
    assert capsys.readouterr() == ("", "")


def test_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The bar counts users, on standard error, and is gone at the end."""
    with terminal(monkeypatch).counting("users", 3) as progress:
        progress(3)
    told = capsys.readouterr()
    assert told.out == ""
    assert "users" in told.err
