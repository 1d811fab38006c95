"""What a person at a terminal sees during a run: log lines, and below them the progress."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any, Final, TextIO

from tqdm import tqdm

from sync.run.log import LAST_LINE, LineFormatter
from sync.run.settings import Options, Settings
from sync.run.steps import Screen

BARS: Final[dict[str, dict[str, Any]]] = {
    "rows": {"unit": " rows", "desc": "read", "mininterval": 0.2},
    "comparison": {"desc": "comparing with what Iterable has ...", "bar_format": "{desc}"},
    "users": {"unit": " users", "mininterval": 0.2},
}


class Terminal(Screen):
    """What an operator sees of a run: everything at a terminal; for a demo, at least the lines of the log."""

    def __init__(self, options: Options) -> None:
        self._is_terminal = sys.stderr.isatty()
        self.lines = ScreenHandler() if self._is_terminal or (options.demo and not options.json) else None

    @contextmanager
    def counting(self, what: str, total: int | None = None) -> Iterator[Callable[[int], object]]:
        """Show a bar on standard error, or a count if there is no total, or words for a single step."""
        nothing = total == 0 or not self._is_terminal
        with tqdm(total=total, **BARS[what], dynamic_ncols=True, leave=False, file=sys.stderr, disable=nothing) as bar:
            yield bar.update


class ScreenHandler(logging.Handler):
    """Shows what matters to a person: each step of the run, but of the single calls only those that went wrong."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out the many lines about calls that succeeded, and the last line, which the summary shows better."""
        quiet = "call successful" in str(record.msg) or record.msg == LAST_LINE
        return record.levelno >= logging.INFO and not quiet and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line above the progress bar, if there is one."""
        tqdm.write(self.format(record), file=sys.stderr)


@contextmanager
def warnings_on_screen(settings: Settings) -> Iterator[logging.Handler]:
    """Print warnings, ours and those of libraries, in a mode without a log; secrets are masked."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(LineFormatter("", settings.secrets().values(), "%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)


class _Lossy(FileIO):
    """A file that drops what it cannot write."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def forgiving(stream: TextIO | None) -> TextIO:
    """The same stream, without errors: what is printed is only a report.

    If nobody can read it, or the terminal's encoding lacks a letter, neither the run nor its exit code changes.
    """
    if stream is None:  # it was closed before Python started
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - it stays open to the end
    try:
        file = BufferedWriter(_Lossy(stream.fileno(), "w", closefd=False))
    except OSError:  # it is in memory
        return stream
    return TextIOWrapper(file, stream.encoding, "backslashreplace", line_buffering=True)
