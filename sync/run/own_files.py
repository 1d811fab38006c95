"""What a run writes is nobody else's: its files are held against each other, and against what it reads.

A file is the same whatever way leads to it: another path, a symbolic or a hard link. What has its name and an ending
beside it belongs to it: SQLite's files, locks and copies of the state, rotated logs. Devices and pipes are nobody's.
Nothing is made or changed here.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sync.rows.export import EXPORT_STEM, rejected_name
from sync.run.metrics_file import may_be_replaced, metrics_path
from sync.run.setting_values import HOME

if TYPE_CHECKING:
    from sync.run.settings import Settings

_OF_A_STATE: Final = r"(-wal|-shm|-journal|(\.[\w.-]+)?\.lock|\.v\d+)?"
_OF_A_LOG: Final = r"(\.[1-5])?"
_EXPORT: Final = rf"({EXPORT_STEM}|rejected_rows|verify)_(.+_)?\d{{8}}_\d{{6}}(_\d+)?\.csv"

_PROGRAM_FOLDERS: Final = (".ci", ".git", ".venv", "bench", "deploy", "docs", "sync", "tests")
_PROGRAM: Final = re.compile(
    rf"({'|'.join(map(re.escape, _PROGRAM_FOLDERS))})/.*|[^/]+\.(py|sql|md|toml|env)|requirements[^/]*\.txt|makefile|"
    r"\.(git|env)[^/]*",
    re.IGNORECASE,
)
"""What is in the program's folder and its own, or a query and the settings of a sync."""

CSV, EXPORTS, METRICS = "--csv", "the exports in CSV_DIR", "METRICS_FILE"


def own_file_problems(settings: Settings, env_file: Path, csv: Path | None) -> Iterator[str]:
    """A sentence for each file that a run would write though it is another's; `csv` is what `--csv` names."""
    written = list(_written(settings, csv))
    told: set[str] = set()
    for names, sentence in _clashes(written, list(_read(settings, env_file))):
        told |= names
        yield sentence
    for one in (one for one in written if one.name not in told):
        if file := next(filter(_is_programs, one.files), None):
            yield f"{one.name} would write over {file}, which is a file of the program: name another file"
        else:
            yield from _replaced_problems(one)


def _clashes(written: Sequence[_Owner], read: Sequence[_Owner]) -> Iterator[tuple[set[str], str]]:
    """Who would write a file that is another's, too, with the sentence for it."""
    for one, other in combinations(written, 2):
        if {one.name, other.name} != {CSV, EXPORTS} and (file := one.shared_with(other)):
            names = {one.name, other.name}
            yield names, f"{one.name} and {other.name} would both write {file}: give each a file of its own"
    for one, other in product(written, read):
        if file := one.shared_with(other):
            yield {one.name}, f"{one.name} would write over {file}, which is {other.name}: name another file"


def _written(settings: Settings, csv: Path | None) -> Iterator[_Owner]:
    if csv:
        file = csv.absolute()
        yield _Owner(CSV, file, file.parent / rejected_name(file.name))
    yield _Owner(EXPORTS, pattern=re.escape(f"{os.path.realpath(settings.csv_dir)}/") + _EXPORT)
    if settings.metrics_file:
        yield _Owner(METRICS, metrics_path(settings.metrics_file, settings.sync_name))
    log, state = (re.escape(os.path.realpath(path)) for path in (settings.log_file, settings.state_file))
    yield _Owner("LOG_FILE", settings.log_file, pattern=log + _OF_A_LOG)
    yield _Owner("STATE_FILE", settings.state_file, pattern=state + _OF_A_STATE)


def _read(settings: Settings, env_file: Path) -> Iterator[_Owner]:
    yield _Owner("the env file", env_file)
    yield _Owner("QUERY_FILE", settings.query_file)
    if settings.db_ssl_ca:
        yield _Owner("DB_SSL_CA", settings.db_ssl_ca)


def _replaced_problems(one: _Owner) -> Iterator[str]:
    """What is there already and may not be replaced. `--csv` also makes a file of the rejected rows beside it."""
    for file in one.files if one.name in (CSV, METRICS) else ():
        if not os.path.lexists(file):
            continue
        if one.name == METRICS and not may_be_replaced(file):
            yield (
                f"{METRICS} would replace {file}, which has no line that begins with iterable_sync_: name another "
                "file, or remove that one"
            )
        elif one.name == CSV and not (file.name.endswith(".csv") and file.is_file()):
            yield (
                f"{CSV} would replace {file}, which is there and is no file whose name ends in .csv: name another, or "
                "remove that one"
            )


class _Owner:
    """Who has these files, and all whose real path has the `pattern`, whether they are there yet or not."""

    def __init__(self, name: str, *files: Path, pattern: str = "") -> None:
        self.name, self.files = name, files
        self._own = [file for file in files if not _is_nobodys(file)]
        self._pattern = re.compile("|".join([pattern, *(re.escape(os.path.realpath(file)) for file in self._own)]))
        folders = {Path(os.path.realpath(file)).parent for file in self._own}
        beside = (path for folder in folders for path in _listing(folder) if self._pattern.fullmatch(str(path)))
        self._inodes = {_inode(file) for file in (*self._own, *beside)} - {None}

    def shared_with(self, other: _Owner) -> Path | None:
        """A file that is one of these and one of the other's."""
        return next(chain(filter(other.has, self._own), filter(self.has, other._own)), None)

    def has(self, file: Path) -> bool:
        """Whether it is one of these, or would be if it were there."""
        return bool(self._pattern.fullmatch(os.path.realpath(file))) or _inode(file) in self._inodes


def _is_programs(file: Path) -> bool:
    """Whether it is the program's own, or would lie in one of its folders; also by a hard link from elsewhere."""
    status = _status(file)
    if _is_nobodys(file):
        return False
    if _PROGRAM.fullmatch(os.path.relpath(os.path.realpath(file), os.path.realpath(HOME))):
        return True
    if status is None or status.st_nlink == 1:
        return False
    beside_main = (path for path in _listing(HOME) if _PROGRAM.fullmatch(path.name))
    folders = ((HOME / name).rglob("*.*") for name in _PROGRAM_FOLDERS if name not in (".git", ".venv"))
    return _inode(file) in map(_inode, chain(beside_main, *folders))


def _status(file: Path) -> os.stat_result | None:
    with suppress(OSError, ValueError):
        return file.stat()
    return None


def _inode(file: Path) -> tuple[int, int] | None:
    status = _status(file)
    return (status.st_dev, status.st_ino) if status else None


def _is_nobodys(file: Path) -> bool:
    """Whether it is something else than a file, such as /dev/null: others may have it, too."""
    status = _status(file)
    return status is not None and not stat.S_ISREG(status.st_mode)


def _listing(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []
