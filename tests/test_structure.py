"""What each file may know of the others and of the world, read from the sources."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
PROGRAM = sorted(HOME.glob("*.py"))
PROOF = sorted([*HOME.glob("tests/*.py"), *HOME.glob("bench/*.py")])
LONGEST = 40

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


@pytest.mark.parametrize(
    ("module", "knowing"),
    [
        ("pymysql", {"db.py"}),
        ("requests", {"iterable_client.py"}),
        ("urllib3", {"iterable_client.py"}),
        ("jwt", {"iterable_client.py"}),
        ("dotenv", {"config.py"}),
        ("tqdm", {"screen.py"}),
        ("sqlite3", {"state.py", "embedded.py"}),
    ],
)
def test_only_one_room_knows(module: str, knowing: set[str]) -> None:
    """A library is imported by the file that hides it, and by no other."""
    assert {path.name for path in PROGRAM if module in imported(path)} <= knowing


def test_environment_is_read_in_one_place() -> None:
    """Only config.py reads the environment; main.py hands it a changed copy for --bulk."""
    reading = re.compile(r"\benviron\b *[.\[(]|\bos\.environ\b|\bgetenv\b")
    assert {path.name for path in PROGRAM if reading.search(path.read_text())} == {"config.py", "main.py"}


def test_pure_rooms_do_no_io() -> None:
    """Payloads are built without files, network, clock or log."""
    for name in ("payloads.py", "identity.py", "values.py", "mapping.py", "pinned.py", "columns.py", "depth.py"):
        assert not imported(HOME / name) & {"logging", "os", "pathlib", "socket", "time", "sqlite3", "random"}, name


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


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_loads_nothing(option: str) -> None:
    """`--help` answers at once: no HTTP, database, token, progress or settings library is loaded for it."""
    command = [sys.executable, "-X", "importtime", str(HOME / "main.py"), option]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "options" in loaded
    assert not loaded & {"requests", "urllib3", "pymysql", "jwt", "sqlite3", "tqdm", "dotenv", "config", "sync"}


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
    """main.py is short and knows neither SQL nor URLs nor payload keys."""
    text = (HOME / "main.py").read_text()
    assert len(text.splitlines()) <= 140
    assert not re.search(r"SELECT|https?://|dataFields|createdAt|users/update", text)
