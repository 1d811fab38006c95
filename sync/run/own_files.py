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
from fnmatch import fnmatchcase
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
    yield _Files(EXPORTS, folder=settings.csv_dir, pattern=_EXPORT)
    if settings.metrics_file:
        yield _Files(METRICS, metrics_path(settings.metrics_file, settings.sync_name))
    for name, path, endings in (
        ("LOG_FILE", settings.log_file, _OF_A_LOG),
        ("STATE_FILE", settings.state_file, _OF_A_STATE),
    ):
        real = Path(os.path.realpath(path))
        yield _Files(name, path, folder=real.parent, pattern=re.escape(real.name) + endings)


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
    """The files of one setting or flag; with `folder`, those whose names there have the `pattern` are its, too."""

    def __init__(self, name: str, *files: Path, folder: Path | None = None, pattern: str = "") -> None:
        self.name, self.files = name, files
        self._folder, self._pattern = folder and _key(folder), re.compile(pattern)
        there = [path for path in _listing(folder) if self._pattern.fullmatch(path.name)] if folder and files else []
        own = [file for file in files if not _is_nobodys(file)]
        self._own, self._places = own, set(map(_place, own))
        self._inodes = {_inode(file) for file in (*own, *there)} - {None}

    def shared_with(self, other: _Files) -> Path | None:
        """A file that is one of these and one of the other's."""
        return next(chain(filter(other._has, self._own), filter(self._has, other._own)), None)

    def _has(self, file: Path) -> bool:
        """Whether it is one of these, or would be if it were there."""
        folder, name = place = _place(file)
        in_pattern = folder == self._folder and self._pattern.fullmatch(name)
        return bool(in_pattern) or place in self._places or _inode(file) in self._inodes


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


def _place(file: Path) -> tuple[tuple[int, int] | str, str]:
    """The folder at the end of all links, and the name in it."""
    real = Path(os.path.realpath(file))
    return _key(real.parent), real.name


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


def _listing(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []
