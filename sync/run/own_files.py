"""Makes sure that a file that a run writes has no other use: its files are compared with each other and with what it
reads.

A file is the same by whatever path it is reached, through a symbolic link, a hard link or a mount, too. Files beside it
with its name and an ending belong to it: SQLite's files, locks and copies of the state, rotated logs. Devices and pipes
belong to nobody. Nothing is created or changed here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import chain, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sync.rows.export import EXPORT_STEM, rejected_name
from sync.run.metrics import may_be_replaced, syncs_in
from sync.run.setting_values import HOME

if TYPE_CHECKING:
    from sync.run.settings import Settings

_OF_A_STATE: Final = r"(-wal|-shm|-journal|(\.[\w.-]+)?\.lock|\.v\d+)?"
_OF_A_LOG: Final = r"(\.[1-5])?"
_EXPORT: Final = rf"/({EXPORT_STEM}|rejected_rows|verify)_(.+_)?\d{{8}}_\d{{6}}(_\d+)?\.csv"
_PROGRAM: Final = (
    r"/(?i:(\.ci|\.git|\.venv|bench|deploy|docs|sync|tests)/.*|[^/]+\.(py|sql|md|toml|env)|requirements[^/]*\.txt|"
    r"makefile|\.(git|env)[^/]*)"
)
"""Files in the program's folder that are the program's own, or are a query or the settings of a sync."""

CSV, EXPORTS, METRICS = "--csv", "the exports in CSV_DIR", "METRICS_FILE"


class _Owner:
    """A use of these files with their `endings`, or of all files in the folder `below` whose paths end so, whether they
    exist or not. `beside` is where hard links are looked for, beside the folders of the files.
    """

    def __init__(
        self, name: str, *files: Path, endings: str = "", below: Path | None = None, beside: Iterable[Path] = ()
    ) -> None:
        self.name, self.files = name, files
        self._own = [file for file in files if not _is_nobodys(file)]
        real = [Path(os.path.realpath(file)) for file in self._own]
        folder = [os.path.realpath(below).rstrip("/")] if below else []
        self._beginnings = [*map(str, real), *folder]
        self._endings = re.compile(endings)
        self._beside = chain(beside, *(file.parent.glob("*") for file in real))

    def shared_with(self, other: _Owner) -> Path | None:
        """A file that is one of these and one of the other's."""
        return next(chain(filter(other.has, self._own), filter(self.has, other._own)), None)

    def has(self, file: Path) -> bool:
        """Whether it is one of these, or would be if it were there."""
        if self._is_named(os.path.realpath(file)):
            return True
        if not (status := _status(file)):
            return False
        if any(found and os.path.samestat(status, found) for found in map(_status, self._own)):
            return True
        return status.st_nlink > 1 and any(os.path.samestat(status, found) for found in self._linked)

    def _is_named(self, path: str) -> bool:
        return any(path.startswith(one) and self._endings.fullmatch(path, len(one)) for one in self._beginnings)

    @cached_property
    def _linked(self) -> list[os.stat_result]:
        """Those that have hard links. Their folders are read only if the other file has hard links, too."""
        found = (_status(path) for path in self._beside if self._is_named(str(path)))
        return [status for status in found if status and status.st_nlink > 1]


def own_file_problems(settings: Settings, env_file: Path, csv: Path | None) -> Iterator[str]:
    """A sentence for each file that a run would write although it has another use; `csv` is what `--csv` names."""
    written, read = list(_written(settings, csv)), list(_read(settings, env_file))
    told: set[str] = set()
    for one, other in combinations(written, 2):
        if {one.name, other.name} != {CSV, EXPORTS} and (file := one.shared_with(other)):
            told |= {one.name, other.name}
            yield f"{one.name} and {other.name} would both write {file}: give each a file of its own"
    for one in written:
        clashes = ((file, other.name) for other in read if (file := one.shared_with(other)))
        if first := next(clashes, None):
            yield f"{one.name} would write over {first[0]}, which is {first[1]}: name another file"
        elif one.name not in told:
            yield from _replaced_problems(one, settings)


def _written(settings: Settings, csv: Path | None) -> Iterator[_Owner]:
    if csv:
        file = csv.absolute()
        yield _Owner(CSV, file, file.parent / rejected_name(file.name))
    yield _Owner(EXPORTS, endings=_EXPORT, below=settings.csv_dir)
    if settings.metrics_file:
        yield _Owner(METRICS, settings.metrics_file)
    yield _Owner("LOG_FILE", settings.log_file, endings=_OF_A_LOG)
    yield _Owner("STATE_FILE", settings.state_file, endings=_OF_A_STATE)


def _read(settings: Settings, env_file: Path) -> Iterator[_Owner]:
    yield _Owner("the env file", env_file)
    yield _Owner("QUERY_FILE", settings.query_file)
    if settings.db_ssl_ca:
        yield _Owner("DB_SSL_CA", settings.db_ssl_ca)
    program = chain(HOME.glob("*"), HOME.glob("sync/**/*"))
    yield _Owner("a file of the program", endings=_PROGRAM, below=HOME, beside=program)


def _replaced_problems(one: _Owner, settings: Settings) -> Iterator[str]:
    """What may not be replaced, and where a run's metrics cannot go."""
    for file in one.files if one.name == CSV else ():
        if os.path.lexists(file) and not (file.name.endswith(".csv") and file.is_file()):
            yield f"{CSV} would replace {file}, which exists and is not a .csv file: name another file"
    for file in one.files if one.name == METRICS else ():
        yield from _metrics_problems(file, settings.sync_name)


def _metrics_problems(file: Path, sync: str) -> Iterator[str]:
    """Why the metrics cannot go there."""
    if not os.path.isdir(file.parent):  # noqa: PTH112 - it never raises
        yield f"METRICS_FILE: there is no folder {file.parent}, or it may not be entered"
    if not may_be_replaced(file):
        yield f"{METRICS} would replace {file}, which has no line that begins with iterable_sync_: name another file"
    if others := syncs_in(file) - {sync}:
        yield (
            f"METRICS_FILE {file} holds the series of the sync {min(others)}, and this is {sync}: name a folder, in "
            "which each sync has its own file"
        )


def _is_nobodys(file: Path) -> bool:
    """Whether it is not a regular file, such as /dev/null: others may use it, too."""
    return os.path.exists(file) and not os.path.isfile(file)  # noqa: PTH110, PTH113 - they never raise


def _status(file: Path) -> os.stat_result | None:
    with suppress(OSError):
        return file.stat()
    return None
