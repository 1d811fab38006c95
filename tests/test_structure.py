"""What each file may know of the others and of the world, read from the sources."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sync.run.log import OUR_LOGGERS
from sync.run.settings import defaults

HOME = Path(__file__).resolve().parent.parent
PROGRAM = sorted([*HOME.glob("*.py"), *HOME.glob("sync/**/*.py")])
PROOF = sorted([*HOME.glob("tests/**/*.py"), *HOME.glob("bench/*.py")])
LONGEST = 40
CROWDED = 350
STILL_CROWDED = {"bench/soak.py"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(path: Path) -> ast.Module:
    """A file, parsed once."""
    return ast.parse(path.read_text())


@cache
def imported(path: Path) -> set[str]:
    """The top-level names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def functions(path: Path) -> Iterator[Function]:
    """All functions of a file, nested ones too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, Function):
            yield node


PACKAGES = ("rows", "api", "database", "state", "iterable_client", "db", "delivery", "run", "demo", "console", "main")
"""From the bottom to the top: a package uses only packages before it, and those of a level do not use each other."""

LEVELS = (frozenset({"api", "database"}), frozenset({"state", "iterable_client", "db"}))


def room_of(module: str) -> str | None:
    """The package of a module of this program, such as "rows" for `sync.rows.mapping`; None for other modules."""
    parts = module.split(".")
    if parts[0] == "sync":
        return parts[1] if len(parts) > 1 and parts[1] in PACKAGES else None
    return parts[0] if parts[0] in PACKAGES else None


def room_of_file(path: Path) -> str | None:
    """The package that a file of the program stands in."""
    return room_of(".".join(path.relative_to(HOME).with_suffix("").parts))


def module_names(path: Path) -> Iterator[str]:
    """Every module that a file imports, `from a import b` as `a.b` too, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> Counter[tuple[str, str]]:
    """How many imports go from each package to each other one."""
    found: Counter[tuple[str, str]] = Counter()
    for path in PROGRAM:
        here = room_of_file(path)
        for name in module_names(path):
            there = room_of(name)
            if here and there and there != here:
                found[here, there] += 1
    return found


def test_rooms_use_only_what_lies_below() -> None:
    """A package uses only packages below it, and no two packages use each other."""
    forbidden = {
        (here, there): count
        for (here, there), count in arrows().items()
        if PACKAGES.index(there) > PACKAGES.index(here) or any({here, there} <= level for level in LEVELS)
    }
    assert not forbidden


def test_every_file_stands_in_a_room() -> None:
    """The top level holds three files; everything else stands in a package, whose first line says what is in it."""
    assert {path.name for path in HOME.glob("*.py")} == {"main.py", "iterable_client.py", "db.py"}
    assert {path.name for path in (HOME / "sync").iterdir() if path.is_dir() and path.name[0] != "_"} == {
        package for package in PACKAGES if (HOME / "sync" / package).is_dir()
    }
    assert all(ast.get_docstring(tree(path)) for path in PROGRAM)
    assert [path.name for path in HOME.glob("sync/*.py")] == ["__init__.py"]


def test_files_are_short_enough_to_read() -> None:
    """No file of the program or of its tests is longer than 350 lines."""
    files = [*PROGRAM, *HOME.glob("tests/**/*.py"), *HOME.glob("bench/*.py")]
    crowded = {str(path.relative_to(HOME)) for path in files if len(path.read_text().splitlines()) > CROWDED}
    assert crowded == STILL_CROWDED


@pytest.mark.parametrize(
    ("module", "knowing"),
    [
        ("pymysql", {"db.py", "sync/database/wire_types.py"}),
        ("requests", {"sync/api/network.py", "sync/api/transport.py"}),
        ("urllib3", {"sync/api/network.py", "sync/api/transport.py"}),
        ("jwt", {"sync/api/tokens.py"}),
        ("dotenv", {"sync/run/env_file.py"}),
        ("prometheus_client", {"sync/run/metrics.py"}),
        ("tqdm", {"sync/console/screen.py"}),
        ("sqlite3", {"sync/state/file.py", "sync/state/schema.py", "sync/demo/sample_database.py"}),
        ("fcntl", {"sync/run/lock.py", "sync/run/log.py"}),
    ],
)
def test_only_one_file_knows(module: str, knowing: set[str]) -> None:
    """A library is imported by the file that hides it, and by no other."""
    assert {str(path.relative_to(HOME)) for path in PROGRAM if module in imported(path)} == knowing


def test_names_occur_once() -> None:
    """No two files of the program share a name, and no function has that of a setting."""
    files = Counter(path.name for path in PROGRAM if path.name != "__init__.py")
    assert [name for name, count in files.items() if count > 1] == []
    settings = {name.lower() for name in defaults()}
    assert [function.name for path in PROGRAM for function in functions(path) if function.name in settings] == []


def test_private_parts_of_the_driver() -> None:
    """What the database driver marks as private is touched by one class of db.py, and nowhere else."""
    files = [HOME / "db.py", *HOME.glob("sync/database/*.py")]
    (cursor,) = (node for node in tree(HOME / "db.py").body if getattr(node, "name", "") == "_Cursor")
    allowed = {id(node) for node in ast.walk(cursor)}
    touched = [
        f"{path.name}:{node.lineno} {ast.unparse(node)}"
        for path in files
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr) and id(node) not in allowed
        if not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]
    assert not touched


def test_environment_is_read_in_one_place() -> None:
    """Only the settings read the environment; main.py hands them a changed copy for --bulk.

    What `requests` takes from it by itself, proxies and certificates, is looked up by the file that names them.
    """
    reading = re.compile(r"\benviron\b *[.\[(]|\bos\.environ\b|\bgetenv\b")
    found = {str(path.relative_to(HOME)) for path in PROGRAM if reading.search(path.read_text())}
    assert found == {"sync/run/settings.py", "main.py", "sync/api/network.py"}


def test_only_the_console_prints() -> None:
    """What the operator sees is printed by the console's package and by main.py; the demo speaks for itself."""
    printing = {path for path in PROGRAM if re.search(r"\bprint\(", path.read_text())}
    assert {room_of_file(path) for path in printing} <= {"console", "demo", "main"}


def test_every_logger_of_ours_is_known() -> None:
    """The lines of all other loggers are a library's words, and searched for every secret."""
    named = {name for path in PROGRAM for name in re.findall(r'= logging\.getLogger\("(\w+)"\)', path.read_text())}
    assert named == OUR_LOGGERS


def test_rows_do_no_io() -> None:
    """Rows become payloads without files, network, clock or log; the CSV export is the one exception."""
    for path in HOME.glob("sync/rows/*.py"):
        if path.name != "export.py":
            assert not imported(path) & {"logging", "os", "pathlib", "socket", "time", "sqlite3", "random"}, path


def test_functions_are_small_enough_to_name() -> None:
    """No function is longer than 40 lines, its docstring not counted."""
    too_long = []
    for path in [*PROGRAM, *PROOF]:
        for function in functions(path):
            first = function.body[0]
            told = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(function) is not None else 0
            if (lines := (function.end_lineno or 0) - function.lineno + 1 - told) > LONGEST:
                too_long.append(f"{path.name}:{function.lineno} {function.name} has {lines} lines")
    assert not too_long


def test_one_sleep() -> None:
    """The client waits in one place: `grep -c 'sleep(' iterable_client.py` is 1."""
    lines = (HOME / "iterable_client.py").read_text().splitlines()
    assert len([line for line in lines if "sleep(" in line]) == 1


def test_every_test_states_its_rule() -> None:
    """Every test, fixture and helper of the tests has a docstring; nested and private functions may go without."""
    silent = [
        f"{path.name}:{node.lineno} {node.name}"
        for path in PROOF
        for node in tree(path).body
        if isinstance(node, Function) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not silent


def test_no_path_of_one_machine() -> None:
    """No file holds a path that exists on one machine only."""
    machine = re.compile(r"""(?<![\w.:/{}])/(?:work|home|root|Users|tmp|mnt)/""")
    found = [
        f"{path.name}:{number}"
        for path in [*PROGRAM, *PROOF]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if machine.search(line) or str(HOME) in line
    ]
    assert not found


def test_main_is_the_order_of_the_steps() -> None:
    """main.py tells the steps of a run in their order, in 150 lines; it knows neither SQL nor URLs nor payload keys."""
    text = (HOME / "main.py").read_text()
    assert len(text.splitlines()) <= 150
    steps = ("connect", "query", "export_results_to_csv", "plan", "make_client", "deliver")
    (story,) = (function for function in functions(HOME / "main.py") if function.name == "run")
    called = [re.sub(r".*\.", "", ast.unparse(node.func)) for node in ast.walk(story) if isinstance(node, ast.Call)]
    lines = ast.unparse(story)
    assert set(steps) <= set(called)
    assert sorted(steps, key=lambda step: lines.index(f"{step}(")) == list(steps)
    assert not re.search(r"SELECT|https?://|dataFields|createdAt|users/update", text)
