"""The log: one event, one line; every line ends with the run's id; no secret ever in it."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from io import FileIO
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from sync.rows.masking import Masking

logger = logging.getLogger("main")

FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
ROTATE_OVER = 10_000_000
"""Bytes: the log is rotated at the start of a run when it is larger."""

KEEP = 5
LAST_LINE = "Run finished: %s"
OURS = "iterable-sync"
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

OUR_LOGGERS = frozenset({"main", "iterable_client", "db", "csv_export", "state", "delivery", "bulk"})
"""Loggers whose sentences are ours: what others wrote was masked before it was put into them."""

SHORT_SECRET, LONG_WORD = 8, 16


def stands_out(secret: str) -> bool:
    """Whether a secret is so long, or so odd, that it is in no other text by chance.

    >>> [stands_out(secret) for secret in ("k3y", "iterable", "tester123", "tr0ub4dor", "correcthorsebattery")]
    [False, False, False, True, True]
    """
    is_word = not (word := secret.rstrip("0123456789")) or word.isalpha()
    return len(secret) >= (LONG_WORD if is_word else SHORT_SECRET)


def printable(text: str) -> str:
    """The text on one line, and harmless to a terminal.

    >>> printable("a\\tb")
    'a\\\\tb'
    """
    return CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


@lru_cache(maxsize=2)
def _clock(second: int) -> str:
    return f"{datetime.fromtimestamp(second):%Y-%m-%d %H:%M:%S}"


class LineFormatter(logging.Formatter):
    """Makes exactly one line of each record, traceback included, without the given secrets.

    What others wrote (tracebacks and the lines of libraries) is searched for every secret. In our own sentences, a
    short secret is left alone: it may be a part of any address or word, and is not a secret there.

    The line ends with `run=` and the run's id, unless that is empty.
    """

    def __init__(self, run_id: str, secrets: Iterable[str] = (), layout: str = FORMAT) -> None:
        super().__init__(layout)
        self._suffix = f" run={run_id}" if run_id else ""
        known = tuple(secrets)
        self._of_others, self._ours = Masking(known), Masking([secret for secret in known if stands_out(secret)])

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        record.exc_text = None  # another formatter may have kept the unmasked traceback there
        return self.clean(super().format(record)) + self._suffix

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002 - logging's names
        """The second of a record; hundreds of them have the same."""
        return _clock(int(record.created))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line without a traceback."""
        if record.name not in OUR_LOGGERS:
            record.message = self._of_others(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """A traceback."""
        return self._of_others(super().formatException(ei))

    def clean(self, text: str) -> str:
        """The text on one line and without secrets that stand out."""
        return printable(self._ours(text))


class PrivateFile(logging.FileHandler):
    """A log file that only its owner may read. If the path is a link, the file behind it is rotated; what a device such
    as /dev/stdout leads to is somebody else's.

    `failure` is the first reason why a line was lost.
    """

    def __init__(self, path: Path) -> None:
        self._is_ours = not str(path).startswith(("/dev/std", "/dev/fd/", "/proc/"))
        super().__init__(path.resolve() if self._is_ours and path.is_file() else path)
        self.failure = self._torn = ""

    def handle(self, record: logging.LogRecord) -> bool:
        """Write the record without the lock of other handlers, at which a hundred workers would queue.

        No lock is needed: each line is appended by one system call, and the system puts no other into the middle of it.
        """
        passes = bool(self.filter(record))
        if passes:
            self.emit(record)
        return passes

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; none after the log was closed, as by a worker whose answer hung until the end of the run."""
        try:
            line = f"{self._torn}{self.format(record)}\n".encode()
            stream: Any = self.stream
            while line and stream:
                line = line[stream.write(line) :]
                self._torn = "\n" if line else ""  # a full disk takes a part of a line, and then no more
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Keep the first reason why a line was lost."""
        error = sys.exc_info()[1]
        if self.stream is None:  # the run is over
            return
        self.failure = self.failure or f"{type(error).__name__}: {error}, at {record.name}"

    def _open(self) -> FileIO:  # type: ignore[override]
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # where a file system has no locks, nobody rotates
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # held by every run that writes the file
        return FileIO(descriptor, "a")

    def rotate_when_large(self) -> None:
        """Start a new file when this one is over 10 MB. Where that cannot be done now, a later run does it."""
        if self.stream is None or not self._is_ours or os.fstat(self.stream.fileno()).st_size <= ROTATE_OVER:
            return
        with suppress(OSError):
            fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not while another run writes it
            if os.path.samestat(os.fstat(self.stream.fileno()), Path(self.baseFilename).stat()):  # none has rotated it
                RotatingFileHandler(self.baseFilename, backupCount=KEEP, delay=True).doRollover()
        self.stream.close()
        self.stream = self._open()  # type: ignore[assignment] # lines are bytes, so that each is one write


def start_logging(path: Path, level: str, formatter: LineFormatter) -> PrivateFile:
    """Send all records to the file at `path`, rotated before the run's first line; OSError when it cannot be opened.

    The loggers of libraries log only warnings and errors: at DEBUG, they would log URLs and connections.
    """
    stop_logging()
    file = PrivateFile(path)
    file.rotate_when_large()
    add_handler(file, formatter)
    logging.getLogger().setLevel(level)
    for library in ("urllib3", "requests", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
    return file


def add_handler(handler: logging.Handler, formatter: LineFormatter) -> None:
    """Send all records to `handler` too, until `stop_logging`."""
    handler.setFormatter(formatter)
    handler.set_name(OURS)
    logging.getLogger().addHandler(handler)


def log_always(level: int, sentence: str, *values: object) -> None:
    """Log what a run's log always has, its first line and its last, whatever LOG_LEVEL says."""
    logger.handle(logger.makeRecord(logger.name, level, __file__, 0, sentence, values, None))


def stop_logging() -> None:
    """Close the handlers that this module added."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if handler.name == OURS]:
        root.removeHandler(handler)
        with suppress(OSError):  # of a full disk, which the handler has told by its `failure`
            handler.close()


# -- the machine's clock, which the log, the history and the names of exports use ----------------------------------


def utc_offset() -> str:
    """How far the machine's clock is from UTC now, such as `+05:30`."""
    return datetime.now().astimezone().isoformat()[-6:]


def on_this_clock(in_utc: str) -> str:
    """A time from the state, `YYYY-MM-DD HH:MM:SS` in UTC, by the clock of this machine's log."""
    return f"{datetime.fromisoformat(in_utc).replace(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S}"
