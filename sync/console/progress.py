"""What a person at a terminal sees while a run goes on: log lines, and under them how far it is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sync.console.options import Options
from sync.run.library_warnings import log_library_warnings
from sync.run.log import LAST_LINE, LineFormatter
from sync.run.settings import Settings


def watched_by(options: Options) -> dict[str, Any]:
    """What of a run somebody watches: at a terminal all of it, of a demo at least the log's lines."""
    terminal = sys.stderr.isatty()
    screen = ScreenHandler() if terminal or (options.demo and not options.json) else None
    bars = {"reading": rows_read, "comparing": comparison, "progress": progress_bar} if terminal else {}
    return {"screen": screen, **bars}


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
            if "tqdm" in sys.modules:
                from tqdm import tqdm

                tqdm.write(line, file=sys.stderr)
            else:
                print(line, file=sys.stderr, flush=True)


@contextmanager
def warnings_on_screen(settings: Settings) -> Iterator[logging.Handler]:
    """Print what a mode without a log is warned of, by ourselves or by libraries, without secrets."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(LineFormatter("", settings.secrets().values(), "%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield handler
        log_library_warnings(settings.masking)
    finally:
        logging.getLogger().removeHandler(handler)


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int], object]]:
    """A bar over `total` users with rate and time left; gives the function that moves it on."""
    if not total:
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=" users", dynamic_ncols=True, leave=False, file=sys.stderr, mininterval=0.2) as bar:
        yield bar.update


@contextmanager
def rows_read() -> Iterator[Callable[[int], object]]:
    """A count of the rows that have come, with their rate; nobody knows how many there will be."""
    from tqdm import tqdm

    with tqdm(unit=" rows", desc="read", dynamic_ncols=True, leave=False, file=sys.stderr, mininterval=0.2) as bar:
        yield bar.update


@contextmanager
def comparison() -> Iterator[Callable[[int], object]]:
    """Words that stand there while the rows are compared with the state, which is one step."""
    from tqdm import tqdm

    words = "comparing with what Iterable has ..."
    with tqdm(desc=words, bar_format="{desc}", dynamic_ncols=True, leave=False, file=sys.stderr) as bar:
        yield bar.update
