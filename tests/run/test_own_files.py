"""What a run writes is nobody else's: a clash is a problem before anything is written, the log included."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import copy
from pathlib import Path

import pytest

import main
from sync.demo import demonstration as demo
from sync.run import own_files
from sync.run.exit_codes import ExitCode
from sync.run.settings import read_settings
from tests.harness import World
from tests.run.settings_of import NEEDED
from tests.sample_rows import people

OURS = 'iterable_sync_exit_code{sync="orders"} 0\n'


NAMES = {
    "the env file": "files/orders.env",
    "QUERY_FILE": "files/query.sql",
    "DB_SSL_CA": "files/ca.pem",
    "LOG_FILE": "files/run.log",
    "STATE_FILE": "files/state.sqlite3",
    "METRICS_FILE": "files/sync.prom",
    "main.py": "program/main.py",
    "default.env": "program/default.env",
    "log.py": "program/sync/run/log.py",
}
"""Who has which file. The program's folder is none that a test could spoil."""


class Place:
    """A folder with these files, and the settings that name them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "files"
        for name in NAMES.values():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(OURS if name.endswith(".prom") else "")
        self.owned = {owner: folder / name for owner, name in NAMES.items()}
        settings = {name: str(path) for name, path in self.owned.items() if name.isupper()}
        self.environ = {**NEEDED, **settings, "CSV_DIR": str(self.folder)}
        self.csv: Path | None = None

    def name(self, writer: str, file: Path) -> Place:
        """Let this setting or flag name that file."""
        if writer == "--csv":
            self.csv = file
        else:
            self.environ[writer] = str(file)
        return self

    def with_changed(self, writer: str, file: Path) -> Place:
        """A copy in which this setting or flag names that file."""
        other = copy(self)
        other.environ = dict(self.environ)
        return other.name(writer, file)

    def problems(self) -> list[str]:
        """What a run with these settings is refused with."""
        return list(read_settings(self.owned["the env file"], self.environ, self.csv)[1])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An installation in which every file is there, and has one owner."""
    monkeypatch.setattr(own_files, "HOME", tmp_path / "program")
    made = Place(tmp_path)
    assert made.problems() == []
    return made


WRITERS = ("--csv", "METRICS_FILE", "LOG_FILE", "STATE_FILE")
WAYS: dict[str, Callable[[Path], Path]] = {}


def way(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """A way to name a file otherwise than by its own path."""
    WAYS[make.__name__] = make
    return make


@way
def itself(file: Path) -> Path:
    """No other way."""
    return file


@way
def by_its_folders(file: Path) -> Path:
    """With `..` in it."""
    return file.parent / ".." / file.parent.name / "." / file.name


@way
def by_a_link(file: Path) -> Path:
    """A symbolic link to a symbolic link, which may lead to what is not there yet."""
    first, second = file.with_name("first"), file.with_name("second.csv")
    first.symlink_to(file.name)
    second.symlink_to(first)
    return second


@way
def by_a_linked_folder(file: Path) -> Path:
    """Through a folder that is a link."""
    folder = file.parent.with_name("linked")
    folder.symlink_to(file.parent)
    return folder / file.name


@way
def by_a_hard_link(file: Path) -> Path:
    """A second name of the same file."""
    other = file.with_name("hard.csv")
    if file.exists():
        other.hardlink_to(file)
    return other if other.exists() else file


READ = ["the env file", "QUERY_FILE", "DB_SSL_CA"]
PROGRAM = ["main.py", "default.env", "log.py"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("owner", [*READ, *PROGRAM])
def test_what_is_read_is_not_written(place: Place, owner: str, how: str) -> None:
    """The env file, the query, the authority and the program's own files, whatever way leads there: one problem."""
    file = WAYS[how](place.owned[owner])
    whose = owner if owner in READ else "a file of the program"
    for writer in WRITERS:
        (problem,) = place.with_changed(writer, file).problems()
        assert problem == f"{writer} would write over {file}, which is {whose}: name another file"


BESIDE = {
    "STATE_FILE": ["", "-wal", "-shm", "-journal", ".lock", ".orders.eu.lock", ".v1", ".v12"],
    "LOG_FILE": ["", ".1", ".5"],
    "METRICS_FILE": [""],
}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(("owner", "ending"), [(owner, one) for owner, endings in BESIDE.items() for one in endings])
def test_what_is_written_has_one_owner(place: Place, owner: str, ending: str, how: str) -> None:
    """Two of a run's own files are never one, nor one of them what belongs to the other, there already or not."""
    file = place.owned[owner].with_name(place.owned[owner].name + ending)
    if how == "by_a_hard_link":
        file.touch()
    elif not ending:
        file.unlink()
    named = WAYS[how](file)
    for writer in set(WRITERS) - {owner}:
        (problem,) = place.with_changed(writer, named).problems()
        assert f"{writer} and {owner} would both write" in problem or f"{owner} and {writer} would both" in problem
        assert problem.endswith(": give each a file of its own")


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_two_mounts_show(place: Place, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    """It has one inode and no hard link, and no path leads from one to the other."""
    shown, status = place.folder.with_name("shown"), own_files._status
    shown.touch()
    monkeypatch.setattr(own_files, "_status", lambda file: status(place.owned["QUERY_FILE"] if file == shown else file))
    (problem,) = place.with_changed(writer, shown).problems()
    assert problem == f"{writer} would write over {shown}, which is QUERY_FILE: name another file"


def test_exports_in_the_root(place: Place) -> None:
    """The one folder whose path ends in a slash has exports like any other."""
    place.environ |= {"CSV_DIR": "/", "LOG_FILE": "/query_results_20260113_143122.csv"}
    (problem,) = place.problems()
    assert "the exports in CSV_DIR" in problem and "LOG_FILE" in problem


@pytest.mark.parametrize("name", ["query_results_20260113_143122.csv", "rejected_rows_orders_20260113_143122_2.csv"])
@pytest.mark.parametrize("who", ["METRICS_FILE", "LOG_FILE", "STATE_FILE", "QUERY_FILE", "DB_SSL_CA"])
def test_exports_have_their_names_to_themselves(place: Place, who: str, name: str) -> None:
    """Old exports are removed, so nothing else may have the name of one, read or written."""
    (place.folder / name).touch()
    (problem,) = place.name(who, place.folder / name).problems()

    assert "the exports in CSV_DIR" in problem and who in problem


def test_the_rejected_rows_of_a_csv_count(place: Place) -> None:
    """They go into a file of their own beside it, which is nobody else's either."""
    place.name("LOG_FILE", place.folder / "rejected_rows_all.csv")
    (problem,) = place.name("--csv", place.folder / "all.csv").problems()
    assert "--csv and LOG_FILE would both write" in problem


@pytest.mark.parametrize("name", ["note.txt", "all.CSV", "csv", "all.csv.gz"])
def test_a_csv_replaces_nothing_but_a_csv(place: Place, name: str) -> None:
    """An existing file stays unless its name ends in .csv; so does the one for its rejected rows, and a folder."""
    file = place.folder / name
    assert place.name("--csv", file).problems() == []
    file.write_text("mine")
    (problem,) = place.problems()
    assert problem.startswith(f"--csv would replace {file}, ")
    file.rename(place.folder / f"rejected_rows_{name}")
    (problem,) = place.problems()
    assert f"rejected_rows_{name}" in problem
    (place.folder / "all.csv").mkdir()
    (problem,) = place.name("--csv", place.folder / "all.csv").problems()
    assert "all.csv, which exists and is not a .csv file" in problem


@pytest.mark.parametrize("name", ["all.csv", ".csv", "query_results_20260113_143122.csv"])
def test_a_csv_that_may_be_replaced(place: Place, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A .csv may, also one that has the name of an export; a relative name counts from the current directory."""
    monkeypatch.chdir(place.folder)
    Path(name).write_text("old")
    assert place.name("--csv", Path(name)).problems() == []
    (problem,) = place.name("--csv", Path("query.sql")).problems()
    assert problem == f"--csv would write over {place.folder}/query.sql, which is QUERY_FILE: name another file"


def test_clashes_are_told_together(place: Place) -> None:
    """Each of them, beside the problems of other settings."""
    place.environ |= {"LOG_FILE": place.environ["QUERY_FILE"], "WORKERS": "many"}
    place.environ["STATE_FILE"] = place.environ["METRICS_FILE"]
    problems = place.name("--csv", place.owned["the env file"]).problems()

    starts = ("WORKERS is", "METRICS_FILE and STATE_FILE would", "--csv would write over", "LOG_FILE would write over")
    assert [problem.startswith(start) for problem, start in zip(problems, starts, strict=True)] == [True] * 4


def test_a_file_is_told_once(place: Place) -> None:
    """The query beside main.py is the program's, too, and a text that is no CSV: one sentence says what it is."""
    query = place.owned["main.py"].with_name("query.sql")
    query.touch()
    place.environ["QUERY_FILE"] = str(query)
    (problem,) = place.name("--csv", query).problems()
    assert problem.endswith(", which is QUERY_FILE: name another file")


def test_names_that_only_look_alike(place: Place) -> None:
    """Another folder, another ending or another letter is another file."""
    other = place.folder.with_name("other")
    other.mkdir()
    place.environ |= {
        "LOG_FILE": str(other / "state.sqlite3-wal"),
        "METRICS_FILE": str(place.folder / "STATE.sqlite3"),
        "CSV_DIR": str(other),
    }
    assert place.name("--csv", other / "state.sqlite3-wal.6").problems() == []


def test_devices_and_pipes_are_nobodys(place: Place) -> None:
    """A log may go where others go, such as /dev/null or a pipe; metrics and a CSV replace none of them."""
    place.owned["the env file"] = Path(os.devnull)
    place.environ["SYNC_NAME"] = "orders"
    assert place.name("LOG_FILE", Path(os.devnull)).problems() == []
    pipe = place.folder / "pipe.csv"
    os.mkfifo(pipe)
    problems = place.name("METRICS_FILE", pipe).name("--csv", pipe).problems()
    assert [problem.partition(", which")[0] for problem in problems] == [
        f"{writer} would replace {pipe}" for writer in ("--csv", "METRICS_FILE")
    ]


# -- the whole program ---------------------------------------------------------------------------------------------


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Each file with its content and its inode."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "env"]
    return {str(path): (path.read_bytes(), path.stat().st_ino) for path in paths}


@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_is_written(world: World, capsys: pytest.CaptureFixture[str], writer: str) -> None:
    """A run is refused on standard error alone, with all its files as they were; --check says the same words."""
    world.rows = people(2)
    query = world.folder / "query.txt"
    query.write_text("SELECT 1")
    world.environ["QUERY_FILE"] = str(query)
    assert world.main() == ExitCode.DONE
    flags = ["--csv", str(query)] if writer == "--csv" else []
    world.environ |= {} if flags else {writer: str(query)}
    before = everything(world.folder)
    for more in ([], ["--json"], ["--bulk"]):
        assert world.main(*flags, *more) == ExitCode.USAGE
        out, told = capsys.readouterr()
        assert out == "" and world.iterable.requests == []
        assert told.splitlines()[1:] == [
            f"  - {writer} would write over {query}, which is QUERY_FILE: name another file"
        ]
    if not flags:
        assert [world.main(mode) for mode in ("--dry-run", "--verify", "--check")] == [2, 2, 1]
        assert f"WRONG  settings     {told.splitlines()[1][4:]}\n" in capsys.readouterr().out
    assert everything(world.folder) == before


def test_nothing_is_written_for_a_demo_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--demo --csv is refused as a run is."""
    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "demo")
    (tmp_path / "note.txt").write_text("mine")
    for file in (tmp_path / "note.txt", tmp_path / "demo" / "demo.log"):
        assert main.main(["--demo", "--csv", str(file)]) == ExitCode.USAGE
        assert f"{file}" in capsys.readouterr().err
    assert (tmp_path / "note.txt").read_text() == "mine" and [path.name for path in (tmp_path / "demo").iterdir()] == [
        "demo_state.sqlite3.lock"
    ]
