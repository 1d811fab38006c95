"""Rows as a CSV file that appears whole or not at all, and that a spreadsheet can open without running it.

The file is written under a hidden temporary name beside its place, and renamed when it is complete and on disk.
It holds personal data: mode 0600. Rows pass through; none is kept.
"""

from __future__ import annotations

import csv
import fcntl
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from errno import ENOENT
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO

from sync.rows.cells import are_harmless, cell, defused
from sync.rows.columns import Column

logger = logging.getLogger("csv_export")

SAMPLE_COLUMNS: Final = (
    "id",
    "email",
    "first_name",
    "last_name",
    "plan_type",
    "candidate",
    "page",
    "device",
    "browser",
    "location",
    "event_time",
)
"""The header when there is neither a row nor any other word on the columns: those of the sample query."""

EXPORT_STEM: Final = "query_results"
_PART_SUFFIX: Final = ".part"


def export_results_to_csv(user_records: Iterable[Mapping[str, Any]], filename: str | None = None) -> str:
    """Write any iterable of rows to a CSV file and return its path; without a name, a new one in this folder.

    The header is the iterable's attribute `columns` (names, or columns of a query) where it has one, else the
    keys of the first row.
    """
    rows = iter(user_records)
    first = next(rows, None)
    columns: Sequence[str | Column] | None = getattr(user_records, "columns", None)
    if columns is None:
        columns = SAMPLE_COLUMNS if first is None else tuple(first)
    export = CsvExport(filename, columns) if filename else NewCsvExport(timestamped_name(datetime.now()), columns)
    with export:
        if first is not None:
            export.write(first)
        for row in rows:
            export.write(row)
    return filename or str(export.path)


def export_rejected(source: CsvExport, refused: Iterable[tuple[int, str]], target: Path) -> int:
    """Write the rows of the export `source` that were refused to `target`, each with the reason; return how many.

    `refused` gives row numbers from 1 in rising order. No file is made when there are none. The rows are read back
    from the export, one at a time, so nothing had to keep them. Raises OSError when another file took its place.
    """
    waiting = iter(refused)
    number, reason = next(waiting, (0, ""))
    if not number:
        return 0
    csv.field_size_limit(sys.maxsize)
    with source.open() as file:
        rows = csv.reader(file)
        header = [*next(rows), "rejected_reason"]
        with CsvExport(target, header, announce=False) as export:
            for position, cells in enumerate(rows, start=1):
                if position == number:
                    export.write(dict(zip(header, [*cells, reason], strict=True)))
                    number, reason = next(waiting, (0, ""))
    return export.count


def timestamped_name(now: datetime, folder: str | os.PathLike[str] = ".", stem: str = EXPORT_STEM) -> str:
    """Return the name for an export of this second that is still free in the folder.

    >>> timestamped_name(datetime(2026, 1, 13, 14, 31, 22), "/nowhere")
    'query_results_20260113_143122.csv'
    """
    names = _numbered(Path(folder, f"{stem}_{now:%Y%m%d_%H%M%S}.csv"))
    return next(path.name for path in names if not os.path.lexists(path))


def _numbered(path: Path) -> Iterator[Path]:
    """The name, and the names after it: with a 2, a 3, ..."""
    yield path
    yield from (path.with_name(f"{path.stem}_{number}{path.suffix}") for number in count(2))


def prune(folder: str | os.PathLike[str], keep: int, stem: str = EXPORT_STEM) -> list[Path]:
    """Remove the oldest exports beyond `keep` (0 keeps all) and what crashed runs left; return what was removed.

    Those whose names are `stem` and a time stamp: `query_results_orders_eu_...` is no export of `orders`.

    Raises OSError for the last of those that cannot be removed, when all others are.
    """
    name = re.compile(re.escape(stem) + r"_\d{8}_\d{6}(_\d+)?\.csv")
    exports = sorted((path for path in _regular_files(folder, "*.csv") if name.fullmatch(path.name)), key=_age)
    surplus = exports[:-keep] if keep > 0 else []
    parts = [path for path in _regular_files(folder, f".*{_PART_SUFFIX}") if name.match(path.name[1:])]
    removed: list[Path] = []
    failure: OSError | None = None
    for path in surplus + parts:
        try:
            if path in surplus:
                path.unlink(missing_ok=True)
            elif not _removed_if_abandoned(path):
                continue
            removed.append(path)
        except OSError as error:
            failure = error
    if failure:
        raise failure
    return removed


def _regular_files(folder: str | os.PathLike[str], pattern: str) -> Iterator[Path]:
    return (path for path in Path(folder).glob(pattern) if path.is_file() and not path.is_symlink())


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


def _removed_if_abandoned(path: Path) -> bool:
    """Whoever writes a file holds a lock on it, which dies with the process."""
    try:
        file = path.open("rb")
    except FileNotFoundError:  # it has its place by now
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        path.unlink(missing_ok=True)  # while it is locked: somebody who has just made it waits, and makes another
    return True


class CsvExport:
    """A CSV file being written: `with CsvExport(path, columns) as export: export.write(row)`.

    Leaving the block puts the file in its place, over an older one of that name; leaving it by an exception
    leaves nothing behind.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str | Column], *, announce: bool = True) -> None:
        self._announce = announce
        self.path = Path(path)
        self.count = 0
        self._columns = tuple(column.name if isinstance(column, Column) else column for column in columns)

    def __enter__(self) -> Self:
        if self.path.exists() and not self.path.is_file():
            raise FileExistsError(f"{self.path} exists and is not a file: choose another name for the CSV")
        self._part, handle = self._new_part()
        # Text from the database may hold half a surrogate pair, which UTF-8 has no bytes for.
        self._file = open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="")  # noqa: PTH123
        try:
            self._writer = csv.writer(self._file)
            self._writer.writerow([defused(name) for name in self._columns])
        except BaseException:
            self._discard()
            raise
        return self

    def _new_part(self) -> tuple[Path, int]:
        """A file of mode 0600 beside the place, locked, so that nobody takes it for abandoned."""
        while True:
            handle, part = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=_PART_SUFFIX, dir=self.path.parent)
            with suppress(OSError):  # where a file system has no locks, nobody removes what has none
                fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:  # else it was removed before it was locked
                return Path(part), handle
            os.close(handle)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row; its keys are those of the header, in any order."""
        try:
            values = [row[name] for name in self._columns]
        except KeyError:
            raise ValueError(self._misfit(row)) from None
        if len(row) != len(values):
            raise ValueError(self._misfit(row))
        self.write_all([values])

    def write_all(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write some rows, whose values are in the order of the header."""
        self._writer.writerows(rows if are_harmless(rows) else (list(map(cell, values)) for values in rows))
        self.count += len(rows)

    def _misfit(self, row: Mapping[str, Any]) -> str:
        missing = [name for name in self._columns if name not in row]
        unknown = [str(name) for name in row if name not in self._columns]
        return (
            f"row {self.count + 1} has other columns than the header of {self.path}: "
            f"missing {', '.join(missing) or 'none'}; unexpected {', '.join(unknown) or 'none'}"
        )

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is not None:
            self._discard()
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._inode = _inode(self._file.fileno())
            self._take_place()
            self._file.close()
        except BaseException:
            self._discard()
            raise
        _sync_folder(self.path.parent)
        if self._announce:
            logger.info("Exported %d records to CSV: %s", self.count, self.path)

    def _take_place(self) -> None:
        self._part.replace(self.path)

    def open(self) -> TextIO:
        """Read what was written; raises OSError when there is another file in its place."""
        file = self.path.open(encoding="utf-8", newline="")
        if _inode(file.fileno()) != self._inode:
            file.close()
            raise FileNotFoundError(ENOENT, "another file took the place of this export", str(self.path))
        return file

    def _discard(self) -> None:
        with suppress(OSError):  # a full disk: what is still buffered cannot be written, and need not be
            self._file.close()
        self._part.unlink(missing_ok=True)


class NewCsvExport(CsvExport):
    """A CSV file that replaces none: if its name was taken meanwhile, by another run, `path` gets a number."""

    def _take_place(self) -> None:
        for path in _numbered(self.path):
            with suppress(FileExistsError):
                _move_to_free_name(self._part, path)
                self.path = path
                return


def _move_to_free_name(part: Path, path: Path) -> None:
    """Give a complete file a name that no other file has; raises FileExistsError."""
    try:
        path.hardlink_to(part)  # unlike renaming, it never replaces
    except FileExistsError:
        raise
    except OSError:  # a file system without such links: an empty file holds the place for a moment
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        part.replace(path)
    else:
        part.unlink()


def _inode(descriptor: int) -> tuple[int, int]:
    """What tells a file from every other, whatever its name."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, too, where the file system can promise that."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
