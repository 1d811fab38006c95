"""How strong the tests are: break the code in one place at a time, and see whether a test of its package notices.

The places are a sample, the same for the same seed. A place is broken in a copy of the project, and only the tests that
execute it run: quickest first, up to the first that fails. Python is broken by the operators of Cosmic Ray, and by
leaving out calls; SQL by turning its conditions round.
"""

from __future__ import annotations

import argparse
import ast
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import coverage
import hypothesis
import pytest

from bench.places import Mutant, sample

PACKAGES = {
    "rows": ["tests/rows"],
    "api": ["tests/api", "tests/iterable_client"],
    "state": ["tests/state"],
    "delivery": ["tests/delivery"],
}
"""The packages under sync/, and the tests that have to notice."""


@dataclass(frozen=True)
class Test:
    """A test: how long it takes, and the lines that it executes, by file."""

    seconds: float
    lines: Mapping[str, Collection[int]]


# The tests


class Recorder:
    """A plugin of pytest: how long each test takes, and what it executes."""

    def __init__(self) -> None:
        self.coverage = coverage.Coverage(data_file=None, config_file=False, source=["sync"], messages=False)
        self.seconds: dict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """A context for each test."""
        self.coverage.switch_context(item.nodeid)
        began = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] += time.perf_counter() - began
            self.coverage.switch_context("")

    def tests(self) -> dict[str, Test]:
        """What was recorded."""
        data = self.coverage.get_data()
        lines: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        for file in data.measured_files():
            for line, tests in data.contexts_by_lineno(file).items():
                for test in tests:
                    lines[test][os.path.relpath(file)].add(line)
        return {name: Test(seconds, lines[name]) for name, seconds in self.seconds.items()}


class Selection:
    """A plugin of pytest: these tests alone, in this order, each with a limit of its own."""

    def __init__(self, tests: Mapping[str, float]) -> None:
        self.tests = tests

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Select and sort."""
        found = {item.nodeid: item for item in items}
        items[:] = [found[name] for name in self.tests if name in found]
        for item in items:
            item.add_marker(pytest.mark.timeout(30 + 5 * self.tests[item.nodeid]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Leave the name of the test that failed."""
        if report.failed:
            Path("noticed").write_text(report.nodeid, "utf-8")


def run_pytest(arguments: Sequence[str], plugin: object) -> int:
    """Run tests in this process."""
    quick = hypothesis.settings(
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate], report_multiple_bugs=False
    )
    hypothesis.settings.register_profile("mutants", quick)
    hypothesis.settings.load_profile("mutants")
    given = ["-q", "--assert=plain", "-p", "no:cacheprovider", "-m", "not database", *arguments]
    return int(pytest.main(given, plugins=[plugin]))


def record(package: str, into: Path) -> int:
    """Run the tests of a package as they are."""
    recorder = Recorder()
    recorder.coverage.start()
    code = run_pytest(PACKAGES[package], recorder)
    recorder.coverage.stop()
    into.write_text(repr({name: (test.seconds, dict(test.lines)) for name, test in recorder.tests().items()}), "utf-8")
    return code


def selected(mutant: Mutant, tests: Mapping[str, Test]) -> dict[str, float]:
    """The tests that execute a place, quickest first; all of them for SQL and what is executed at import."""
    statement: Collection[int] | None = None
    if mutant.file.endswith(".py"):
        statement = _statement(Path(mutant.file).read_text("utf-8"), mutant.line)
    found = {
        name: test.seconds
        for name, test in tests.items()
        if statement is None or not set(statement).isdisjoint(test.lines.get(mutant.file, ()))
    }
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _statement(text: str, line: int) -> Collection[int] | None:
    """The lines of the statement on this line, without those of its body; None if it is executed at import."""
    in_function, found = False, range(line, line + 1)
    node: Any
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef) and node.body[0].lineno <= line <= (node.end_lineno or 0):
            in_function = True
        if isinstance(node, ast.stmt | ast.ExceptHandler):
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or 0
            if node.lineno <= line <= last:
                found = range(node.lineno, last + 1)
    return found if in_function else None


# The work


class Bench:
    """Copies of the project, one for each process at work."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.home, self.processes = folder / "home", processes
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
        )
        for name in listed.stdout.splitlines():
            if Path(name).is_file():
                (self.home / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(name, self.home / name)
        self.trees = [folder / str(number) for number in range(processes)]

    def fork(self, tree: Path, work: Callable[[], int]) -> int:
        """Do this work in a process of its own, in one of the copies."""
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            os.setpgid(0, 0)
            os.chdir(tree)
            sys.path[0] = str(tree)
            (tree / "tmp").mkdir(exist_ok=True)
            os.environ["TMPDIR"], tempfile.tempdir = str(tree / "tmp"), None
            out = os.open(tree / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def record(self) -> dict[str, dict[str, Test]]:
        """The tests of every package."""
        waiting, running = list(PACKAGES)[::-1], dict[int, str]()
        while waiting or running:
            while waiting and len(running) < self.processes:
                package = waiting.pop(0)
                running[self.fork(self.home, partial(record, package, self.home / f"{package}.tests"))] = package
            pid, status = os.wait()
            if status:
                sys.exit(f"the tests of {running[pid]} fail as they are: {(self.home / 'output').read_text()[-3000:]}")
            del running[pid]
        for tree in self.trees:
            shutil.copytree(self.home, tree)
        return {
            package: {
                name: Test(*of)
                for name, of in ast.literal_eval((self.home / f"{package}.tests").read_text("utf-8")).items()
            }
            for package in PACKAGES
        }

    def try_all(
        self, mutants: Iterable[Mutant], tests: Mapping[str, Mapping[str, Test]], minutes: float
    ) -> Iterator[tuple[Mutant, str, float]]:
        """Each mutant, what noticed it, and after how many seconds."""
        waiting, free, until = iter(mutants), list(self.trees), time.monotonic() + minutes * 60
        running: dict[int, tuple[Mutant, Path, float, float]] = {}
        while True:
            while free and time.monotonic() < until and (mutant := next(waiting, None)):
                chosen = selected(mutant, tests[mutant.package])
                if not chosen:
                    yield mutant, "", 0
                    continue
                tree, now = free.pop(), time.monotonic()
                limit = now + 60 + 5 * sum(chosen.values())
                running[self.fork(tree, partial(try_one, mutant, chosen))] = mutant, tree, now, limit
            if not running:
                return
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                mutant, tree, began, _ = running.pop(pid)
                shutil.copy2(self.home / mutant.file, tree / mutant.file)
                free.append(tree)
                what = "the time limit" if os.WIFSIGNALED(status) else "the import"
                by = (tree / "noticed").read_text("utf-8") or what if status else ""
                yield mutant, by, time.monotonic() - began
                continue
            for pid, (*_, limit) in running.items():
                if time.monotonic() > limit:
                    os.killpg(pid, signal.SIGKILL)
            time.sleep(0.02)


def try_one(mutant: Mutant, tests: Mapping[str, float]) -> int:
    """Break the place, and run the tests up to the first that fails."""
    sys.dont_write_bytecode = True
    Path("noticed").write_text("", "utf-8")
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    path = Path(mutant.file)
    path.write_text(mutant.text(), "utf-8")
    os.utime(path, (2_000_000_000, 2_000_000_000))
    files = {name.split("::")[0]: None for name in tests}
    return run_pytest(["-x", *files], Selection(tests))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=320, help="how many places (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which places (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="stop after that many (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="at once (default: %(default)s)")
    options = parser.parse_args()
    sampled, noticed, missed = Counter[str](), Counter[str](), []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        bench = Bench(Path(folder), options.processes)
        mutants = sample(list(PACKAGES), options.count, options.seed)
        print(f"{len(mutants)} places; first the tests as they are", flush=True)
        tests = bench.record()
        for mutant, by, seconds in bench.try_all(mutants, tests, options.minutes):
            sampled[mutant.package] += 1
            noticed[mutant.package] += bool(by)
            missed += [] if by else [f"{mutant.file}:{mutant.line}:{mutant.what}    {mutant.code}"]
            print(f"{seconds:5.1f} s  {by or 'NOT NOTICED'}  {mutant.file}:{mutant.line}", file=sys.stderr, flush=True)
    print("not noticed:", *sorted(missed), sep="\n")
    for package in PACKAGES:
        print(f"sync/{package}: {noticed[package]} of {sampled[package]} noticed")
    print(f"all: {noticed.total()} of {sampled.total()} noticed")


if __name__ == "__main__":
    main()
