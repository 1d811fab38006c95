"""Rows as a CSV file that appears whole or not at all, and that a spreadsheet can open without running it.

The file is written under a hidden temporary name beside its place, and renamed when it is complete and on disk.
It holds personal data: mode 0600. Rows pass through; none is kept.
"""

from __future__ import annotations

import csv
import filecmp
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from errno import EEXIST, ENOENT
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Final, Self

from sync.rows.raw_values import plain_text
from sync.rows.source import ResultSet, listed

logger = logging.getLogger("csv_export")

SAMPLE_COLUMNS: Final = (
    *("id", "email", "first_name", "last_name", "plan_type", "candidate"),
    *("page", "device", "browser", "location", "event_time"),
)
"""The header if there is no row to take it from: the columns of the sample query."""

EXPORT_STEM: Final = "query_results"
_PART_SUFFIX: Final = ".part"
_A_DAY: Final = 86400
_STAMP: Final = r"_\d{8}_\d{6}(_\d+)?\.csv"

# A spreadsheet runs text as a formula when it starts with one of these, also in the full width of East Asian
# keyboards; it ignores space before them, and some take a leading tab or line break as a way in.
_IGNORED, _OPERATORS = r"\s\0\u200b-\u200f\u2060\ufeff", r"=+\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA: Final = re.compile(rf"[\t\r\n]|[{_IGNORED}]*[{_OPERATORS}]")
_SIGNED_NUMBER: Final = re.compile(r"[+-](?:\d+(?:[.,]\d+)*|\.\d+)(?:[eE][+-]?\d+)?%?", re.ASCII)
_PHONE_NUMBER: Final = re.compile(r"\+\d[\d ().-]*", re.ASCII)
_SUSPECT: Final = re.compile(f"[{_IGNORED}{_OPERATORS}]")

_WRITTEN_RIGHT: Final = frozenset({int, float, bool, Decimal, type(None), datetime, date})
"""The types of which the csv module makes what is wanted, whatever the value."""

_HARMLESS_TYPES: Final = _WRITTEN_RIGHT | {str}


class ExportError(OSError):
    """A CSV cannot be written; one sentence that says which, why, and what to do."""


def export_results_to_csv(user_records: Iterable[Mapping[str, Any]], filename: str | None = None) -> str:
    """Write rows to a CSV file and return its path; without a name, a new one in this folder.

    The rows are those of a query, which is known by its columns, or any iterable of dicts, whose header is the keys of
    the first. Raises ExportError when the file cannot be written, ValueError for a row with other keys than the header.
    """
    if isinstance(user_records, ResultSet):
        header, values = [column.name for column in user_records.columns], user_records.values()
    else:
        rows = iter(user_records)
        first = list(islice(rows, 1))
        header = list(first[0] if first else SAMPLE_COLUMNS)
        values = _values_of(chain(first, rows), header)
    with CsvExport(filename or timestamped_name(datetime.now()), header) as export:
        while some := list(islice(values, 100)):
            export.write_all(some)
    logger.info("Exported %d records to CSV: %s", export.count, export.path)
    return filename if filename and Path(filename) == export.path else str(export.path)


def _values_of(rows: Iterable[Mapping[str, Any]], header: Sequence[str]) -> Iterator[Sequence[Any]]:
    """The values of each row in the order of the header; its keys are those of the header, in any order."""
    for number, row in enumerate(rows, start=1):
        if row.keys() != set(header):
            raise ValueError(f"row {number} has the columns {listed(row)}, and the header of the CSV {listed(header)}")
        yield [row[name] for name in header]


def export_rejected(source: Path, status: os.stat_result, refused: Iterable[tuple[int, str]], target: Path) -> int:
    """Write the rows of the export `source` that were refused to `target`, each with the reason; return how many.

    `refused` gives row numbers from 1 in rising order. No file is made when there are none. The rows are read back
    from the export, one at a time, so nothing had to keep them. Raises OSError when another file than the one that has
    this `status` took its place.
    """
    waiting = iter(refused)
    number, reason = next(waiting, (0, ""))
    if not number:
        return 0
    csv.field_size_limit(sys.maxsize)
    with source.open(encoding="utf-8", newline="") as file:
        if not os.path.samestat(os.fstat(file.fileno()), status):
            raise FileNotFoundError(ENOENT, "another file took the place of this export", str(source))
        rows = csv.reader(file)
        header = [*next(rows), "rejected_reason"]
        with CsvExport(target, header) as export:
            for position, cells in enumerate(rows, start=1):
                if position == number:
                    export.write_all([[*cells, reason]])
                    number, reason = next(waiting, (0, ""))
    return export.count


def rejected_name(export: str) -> str:
    """How the rejected rows of an export are named.

    >>> [rejected_name(name) for name in ("query_results_20260113_143122.csv", "all.csv")]
    ['rejected_rows_20260113_143122.csv', 'rejected_rows_all.csv']
    """
    name = export.replace(EXPORT_STEM, "rejected_rows", 1)
    return name if name != export else f"rejected_rows_{export}"


def timestamped_name(now: datetime, folder: str | os.PathLike[str] = ".", stem: str = EXPORT_STEM) -> str:
    """Return the name for an export of this second that is still free in the folder.

    >>> timestamped_name(datetime(2026, 1, 13, 14, 31, 22), "/nowhere")
    'query_results_20260113_143122.csv'
    """
    return _free(Path(folder, f"{stem}_{now:%Y%m%d_%H%M%S}.csv")).name


def _free(path: Path) -> Path:
    """The path, or the first after it that is free: with a 2, a 3, ..."""
    numbered = (path.with_name(f"{path.stem}_{number}{path.suffix}") for number in count(2))
    return next(path for path in chain([path], numbered) if not os.path.lexists(path))


def prune(folder: str | os.PathLike[str], keep: int, stem: str = EXPORT_STEM) -> list[Path]:
    """Remove the oldest exports beyond `keep` (0 keeps all) and what crashed runs left; return what was removed.

    The newest replaces the one before if the two are identical, so that quiet days do not push out older changes.
    Only names that are `stem` and a time stamp count: `query_results_orders_eu_...` is no export of `orders`.

    Raises OSError.
    """
    name = re.compile(re.escape(stem) + _STAMP)
    files = sorted(filter(Path.is_file, Path(folder).glob("*")), key=_age)
    exports = [path for path in files if name.fullmatch(path.name)]
    parts = [path for path in files if path.suffix == _PART_SUFFIX and name.match(path.name[1:])]
    removed = [*_surplus(exports, keep), *_abandoned(parts, exports)]
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def _surplus(exports: Sequence[Path], keep: int) -> list[Path]:
    """The one before the last if the last is its twin, and the oldest beyond `keep`."""
    if keep == 0:
        return []
    twins = exports[-2:-1] if exports[1:] and filecmp.cmp(exports[-2], exports[-1], shallow=False) else []
    return [*twins, *[path for path in exports if path not in twins][:-keep]]


def _abandoned(parts: Sequence[Path], exports: Sequence[Path]) -> list[Path]:
    """Partial files that nobody wrote to for a whole day before the newest export was complete."""
    complete = exports[-1].stat().st_mtime if exports else 0
    return [path for path in parts if path.stat().st_mtime < complete - _A_DAY]


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


class CsvExport:
    """A CSV file being written: `with CsvExport(path, header) as export: export.write_all(rows)`.

    Leaving the block puts the file in its place, over an older one of that name; leaving it by an exception leaves
    nothing behind. A name with a time stamp belongs to one export only: if another run took it meanwhile, `path` gets a
    number. Raises ExportError when the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], header: Iterable[str]) -> None:
        self.path = Path(path)
        self.count = 0
        self._header = header

    def __enter__(self) -> Self:
        with self._told():
            if self.path.exists() and not self.path.is_file():
                raise FileExistsError(EEXIST, "it exists and is not a file")
            handle, part = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=_PART_SUFFIX, dir=self.path.parent)
            self._part = Path(part)
            # Text from the database may hold half a surrogate pair, which UTF-8 has no bytes for.
            self._file = open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="")  # noqa: PTH123
            self._writer = csv.writer(self._file)
            self._writer.writerow([defused(name) for name in self._header])
        return self

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the system says into a sentence that names the file and the remedy."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise ExportError(
                f"the CSV {self.path} cannot be written ({reason}); free space, or name another folder (CSV_DIR, --csv)"
            ) from error

    def write_all(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write some rows, whose values are in the order of the header."""
        with self._told():
            self._writer.writerows(rows if _are_harmless(rows) else (list(map(_cell, values)) for values in rows))
        self.count += len(rows)

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        try:
            if exc_type is None:
                with self._told():
                    self._complete()
        finally:
            with suppress(OSError):  # a full disk: what is still buffered cannot be written, and need not be
                self._file.close()
            self._part.unlink(missing_ok=True)  # it has its place by now, or none

    def _complete(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        if re.search(f"{_STAMP}$", self.path.name):
            self.path = _free(self.path)
        self._part.replace(self.path)


def defused(text: str) -> str:
    """Return the text with an apostrophe before it if a spreadsheet would run it.

    >>> [defused(text) for text in ("=1+1", " @SUM(A1)", "-5", "+1 (555) 123-4567", "a=b")]
    ["'=1+1", "' @SUM(A1)", '-5', '+1 (555) 123-4567', 'a=b']
    """
    if text[:1].isalnum() or not _FORMULA.match(text):
        return text
    if _SIGNED_NUMBER.fullmatch(text.strip(" ")) or _PHONE_NUMBER.fullmatch(text.strip(" ")):
        return text
    return f"'{text}"


def _are_harmless(rows: Iterable[Sequence[Any]]) -> bool:
    """Whether no value of these rows needs `_cell`: looking at first letters only saves half the time."""
    values = list(chain.from_iterable(rows))
    if not _HARMLESS_TYPES.issuperset(map(type, values)):
        return False
    return not _SUSPECT.search("".join([value[:1] for value in values if type(value) is str]))


def _cell(value: Any) -> object:
    """What the csv module is to write for a value."""
    if type(value) in _WRITTEN_RIGHT:
        return value
    return plain_text(value) if isinstance(value, timedelta | bytes) else defused(str(value))
