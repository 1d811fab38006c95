"""What a run writes is nobody else's: its files are held against each other, and against what it reads.

A file is the same whatever way leads to it: another path, a symbolic or a hard link, upper and lower case where the
file system knows no difference. What has its name and an ending beside it belongs to it: SQLite's files, locks and
copies of the state, rotated logs. Devices and pipes are nobody's. Nothing is made or changed here.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain, combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from sync.rows.export import EXPORT_STEM, rejected_name
from sync.run.metrics_file import may_be_replaced, metrics_path
from sync.run.setting_values import HOME

if TYPE_CHECKING:
    from sync.run.settings import Settings

_OF_A_STATE: Final = r"(-wal|-shm|-journal|(\.[\w.-]+)?\.lock|\.v\d+)?"
_OF_A_LOG: Final = r"(\.[1-5])?"
_EXPORT: Final = rf"({EXPORT_STEM}|rejected_rows|verify)_(.+_)?\d{{8}}_\d{{6}}(_\d+)?\.csv"

_PROGRAM: Final = ("*.py", "*.sql", "*.md", "*.toml", "requirements*.txt", "makefile", ".git*", ".env*", "*.env")
"""The files in the program's folder that are its own, or the queries and settings of a sync."""

_PROGRAM_FOLDERS: Final = (".ci", ".git", ".venv", "bench", "deploy", "docs", "sync", "tests")

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


def _clashes(written: Sequence[_Files], read: Sequence[_Files]) -> Iterator[tuple[set[str], str]]:
    """Who would write a file that is another's, too, with the sentence for it."""
    for one, other in combinations(written, 2):
        if {one.name, other.name} != {CSV, EXPORTS} and (file := one.shared_with(other)):
            names = {one.name, other.name}
            yield names, f"{one.name} and {other.name} would both write {file}: give each a file of its own"
    for one, other in product(written, read):
        if file := one.shared_with(other):
            yield {one.name}, f"{one.name} would write over {file}, which is {other.name}: name another file"


def _written(settings: Settings, csv: Path | None) -> Iterator[_Files]:
    if csv:
        file = csv.absolute()
        yield _Files(CSV, file, file.parent / rejected_name(file.name))
    yield _Files(EXPORTS, beside=(settings.csv_dir, _EXPORT))
    if settings.metrics_file:
        yield _Files(METRICS, metrics_path(settings.metrics_file, settings.sync_name))
    for name, path, endings in (
        ("LOG_FILE", settings.log_file, _OF_A_LOG),
        ("STATE_FILE", settings.state_file, _OF_A_STATE),
    ):
        real = Path(os.path.realpath(path))
        yield _Files(name, path, beside=(real.parent, re.escape(_compared(real)) + endings))


def _read(settings: Settings, env_file: Path) -> Iterator[_Files]:
    for name, path in (
        ("the env file", env_file),
        ("QUERY_FILE", settings.query_file),
        ("DB_SSL_CA", settings.db_ssl_ca),
    ):
        if path:
            yield _Files(name, path)


def _replaced_problems(one: _Files) -> Iterator[str]:
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


class _Files:
    """The files of one setting or flag; `beside` is a folder, and the pattern of further names in it."""

    def __init__(self, name: str, *files: Path, beside: tuple[Path, str] | None = None) -> None:
        self.name, self.files = name, files
        folder, pattern = beside or (None, "")
        self._folder, self._pattern = folder and _key(folder), re.compile(pattern)
        self._ids = [_id(file) for file in files if not _is_nobodys(file)]
        self._places = {(one.folder, one.name) for one in self._ids}
        there = [path for path in _listing(folder) if self._pattern.fullmatch(path.name)] if folder and files else []
        self._inodes = {one.inode for one in self._ids} | {_inode(path) for path in there} - {None}

    def shared_with(self, other: _Files) -> Path | None:
        """A file that is one of these and one of the other's."""
        found = chain(filter(other._has, self._ids), filter(self._has, other._ids))
        return next((one.file for one in found), None)

    def _has(self, one: _Id) -> bool:
        """Whether it is one of these, or would be if it were there."""
        if one.folder == self._folder and self._pattern.fullmatch(one.name):
            return True
        return (one.folder, one.name) in self._places or (one.inode is not None and one.inode in self._inodes)


def _is_programs(file: Path) -> bool:
    """Whether it is the program's own, or would lie in one of its folders; also by a hard link from elsewhere."""
    if _is_nobodys(file):
        return False
    real = Path(os.path.realpath(file))
    folders = {_inode(HOME / name) for name in _PROGRAM_FOLDERS} - {None}
    if any(_inode(parent) in folders for parent in real.parents):
        return True
    if _key(real.parent) == _key(HOME) and _is_programs_name(real.name):
        return True
    status = _status(file)
    return bool(status and status.st_nlink > 1) and _inode(file) in map(_inode, _of_the_program())


def _is_programs_name(name: str) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in _PROGRAM)


def _of_the_program() -> Iterator[Path]:
    """Every file of the program that somebody may have a hard link to; not those of git and of the environment."""
    yield from (path for path in _listing(HOME) if _is_programs_name(path.name))
    for name in _PROGRAM_FOLDERS:
        if name not in (".git", ".venv"):
            yield from (HOME / name).rglob("*.*")


# -- what tells a file from every other ----------------------------------------------------------------------------


class _Id(NamedTuple):
    """A file at the end of all links: its folder, its name as it is compared there, its inode if it is there."""

    file: Path
    folder: tuple[int, int] | str
    name: str
    inode: tuple[int, int] | None


def _id(file: Path) -> _Id:
    real = Path(os.path.realpath(file))
    return _Id(file, _key(real.parent), _compared(real), _inode(file))


def _key(folder: Path) -> tuple[int, int] | str:
    return _inode(folder) or str(folder)


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


def _compared(file: Path) -> str:
    """The name as the file system compares it."""
    return unicodedata.normalize("NFC", file.name).casefold() if _folds(file.parent) else file.name


@lru_cache(maxsize=32)
def _folds(folder: Path) -> bool:
    """Whether upper and lower case are the same there: asked with a name that is there, in the folder or above it."""
    known = next((path for path in (*_listing(folder), folder, *folder.parents) if path != _swapped(path)), None)
    return known is not None and _inode(known) is not None and _inode(known) == _inode(_swapped(known))


def _swapped(path: Path) -> Path:
    return path.parent / path.name.swapcase()


def _listing(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []
