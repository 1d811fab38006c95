"""What a person at a terminal sees while a run goes on: log lines, and under them how far it is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from sync.console.options import Options
from sync.run.errors import exit_of
from sync.run.log import LAST_LINE, LineFormatter
from sync.run.settings import Settings
from sync.run.steps import Screen

BARS: Final[dict[str, dict[str, Any]]] = {
    "rows": {"unit": " rows", "desc": "read", "mininterval": 0.2},
    "comparison": {"desc": "comparing with what Iterable has ...", "bar_format": "{desc}"},
    "users": {"unit": " users", "mininterval": 0.2},
}


class Terminal(Screen):
    """What an operator sees of a run: at a terminal all of it, of a demo at least the log's lines."""

    def __init__(self, options: Options) -> None:
        self._is_terminal = sys.stderr.isatty()
        self.lines = ScreenHandler() if self._is_terminal or (options.demo and not options.json) else None

    @contextmanager
    def counting(self, what: str, total: int | None = None) -> Iterator[Callable[[int], object]]:
        """Show a bar on standard error, or a count where there is no total, or words for what is one step."""
        if not self._is_terminal or total == 0:
            yield lambda _count: None
            return
        from tqdm import tqdm

        with tqdm(total=total, **BARS[what], dynamic_ncols=True, leave=False, file=sys.stderr) as bar:
            yield bar.update


class ScreenHandler(logging.Handler):
    """Shows what matters to a person: each step of the run, and of single calls only what went wrong."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out the thousand lines of calls that succeeded, and the line that the summary says better."""
        quiet = "call successful" in str(record.msg) or record.msg == LAST_LINE
        return record.levelno >= logging.INFO and not quiet and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line above the progress bar, if there is one; a terminal that went away stops no run."""
        line = self.format(record)
        with suppress(OSError):
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)


@contextmanager
def warnings_on_screen(settings: Settings) -> Iterator[logging.Handler]:
    """Print what a mode without a log is warned of, by ourselves or by libraries, without secrets."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(LineFormatter("", settings.secrets().values(), "%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)


def print_error(error: Exception, settings: Settings) -> int:
    """Tell of what ended a mode without a log, and return its exit code."""
    code, sentence = exit_of(error, settings.masking)
    print(sentence, file=sys.stderr)
    return code
