"""`make bench`: how fast users reach the stand-in, beside a naive loop, on this machine; a Markdown table.

Every figure of ours is of the whole command `python main.py` over a private MariaDB, start-up included, except the
rate of sending, which the stand-in measures between its first and its last request. The stand-in is a process of its
own. `python -m bench.speed --quick` measures a tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from sync.run.setting_values import HOME
from tests.mariadb import Server

KEY = "bench-key"
ROWS = """
INSERT INTO customers (email, first_name, last_name, plan_type, candidate)
SELECT CONCAT(LEFT(MD5(seq), 12), '@example.com'), CONCAT('First', seq), 'Last', 'pro', 'bench' FROM seq_1_to_{count};
INSERT INTO page_views (user_id, page, device, browser, location, event_time)
SELECT id, 'pricing', 'desktop', 'Firefox', 'Berlin, DE', UTC_TIMESTAMP() - INTERVAL 1 HOUR FROM customers;
"""


@dataclass
class Standing:
    """A stand-in process: its address, and after the block its statistics."""

    url: str
    stats: dict[str, Any] = field(default_factory=dict)


@contextmanager
def stand_in(*arguments: str) -> Iterator[Standing]:
    """A stand-in in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.stand_in", "--api-key", KEY, *arguments],
        cwd=HOME,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    standing = Standing(process.stdout.readline().strip())
    try:
        yield standing
    finally:
        process.stdin.close()
        standing.stats = json.loads(process.stdout.read() or "{}")
        process.wait(10)


@dataclass
class Measured:
    """One run of the command."""

    seconds: float
    cpu: float
    peak: float  # MiB
    told: dict[str, Any]


class Bench:
    """The database, the folder for files, and the table so far."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self._folder = server, folder
        self._number = 0

    def database(self, count: int) -> dict[str, str]:
        """The settings of a fresh database with `count` users of one view each."""
        schema = HOME.joinpath("schema.sql").read_text(encoding="utf-8")
        at = self.server.database(schema, ROWS.format(count=count))
        return {
            "DB_HOST": at.host,
            "DB_PORT": str(at.port),
            "DB_USER": at.user,
            "DB_PASSWORD": at.password,
            "DB_NAME": at.database,
        }

    def fresh(self, database: dict[str, str], url: str, **more: str) -> dict[str, str]:
        """Settings with a state, a log and a CSV folder of their own."""
        self._number += 1
        folder = self._folder / str(self._number)
        folder.mkdir()
        return {
            **os.environ,
            **database,
            "ITERABLE_API_KEY": KEY,
            "ITERABLE_API_BASE_URL": url,
            "STATE_FILE": str(folder / "state.sqlite3"),
            "LOG_FILE": str(folder / "sync.log"),
            "CSV_DIR": str(folder),
            **more,
        }

    @staticmethod
    def run(environment: dict[str, str], *arguments: str, expect: int = 0) -> Measured:
        """Run the command; its CPU time and peak memory are the process's own."""
        began = time.perf_counter()
        command = [str(HOME / "main.py"), "--json", "--env-file", os.devnull, *arguments]
        output, usage = metered(command, environment, expect)
        seconds = time.perf_counter() - began
        return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(output))


def metered(command: Sequence[str], environment: dict[str, str], expect: int = 0) -> tuple[str, resource.struct_rusage]:
    """Run a Python command to its end: what it printed, and what it used. Its compiled files are kept, as usual."""
    environment = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen([sys.executable, *command], cwd=HOME, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expect:
        raise RuntimeError(f"exit code {process.returncode}: {output}")
    return output, usage


def naive(url: str, count: int) -> float:
    """Users a second of the loop that everybody writes first: a new connection for each of two calls."""
    headers = {"Api-Key": KEY}
    began = time.perf_counter()
    for number in range(count):
        email = f"naive{number}@example.com"
        fields = {"first_name": f"First{number}", "plan_type": "pro", "recent_page_view": True}
        for path, body in (
            ("users/update", {"email": email, "dataFields": fields}),
            ("events/track", {"email": email, "eventName": "page_view", "dataFields": {"page": "pricing"}}),
        ):
            requests.post(f"{url}/api/{path}", json=body, headers=headers, timeout=30).raise_for_status()
    return count / (time.perf_counter() - began)


Row = tuple[str, ...]


def single(bench: Bench, latency: int, count: int, *, paced: bool) -> Row:
    """Ours one by one against the naive loop at this latency, in milliseconds."""
    database = bench.database(count)
    with stand_in("--latency", str(latency / 1000)) as standing:
        slow = naive(standing.url, 400 if latency == 0 else 100)
    limits = ["--limits"] if paced else []
    pace = {} if paced else {"USERS_PER_SECOND": "100000", "EVENTS_PER_SECOND": "100000"}
    with stand_in("--latency", str(latency / 1000), *limits) as standing:
        ours = bench.run(bench.fresh(database, standing.url, **pace))
    return _row("one by one", latency, count, paced, ours, standing, slow)


def bulk(bench: Bench, latency: int, count: int) -> Row:
    """Ours in bulk, paced by the documented limits."""
    database = bench.database(count)
    with stand_in("--latency", str(latency / 1000)) as standing:
        slow = naive(standing.url, 400 if latency == 0 else 100)
    with stand_in("--latency", str(latency / 1000), "--limits") as standing:
        ours = bench.run(bench.fresh(database, standing.url), "--bulk")
    return _row("bulk", latency, count, True, ours, standing, slow)


def _row(way: str, latency: int, count: int, paced: bool, ours: Measured, seen: Standing, slow: float) -> Row:
    stats = seen.stats
    assert stats["profiles"] == count, stats
    assert stats["events"] == count, stats
    rate = count / stats["seconds"]
    throttled = sum(times for key, times in stats["counts"].items() if key.endswith(" 429"))
    calls = 2 * count if way == "one by one" else ours.told["requests"]
    return (
        way,
        f"{latency} ms",
        "yes" if paced else "no",
        f"{count:,}",
        f"{ours.seconds:.2f}",
        f"{rate:,.0f}",
        f"{rate / slow:,.0f}x ({slow:,.1f}/s)",
        f"{1000 * ours.cpu / calls:.2f}",
        f"{ours.peak:.0f}",
        str(throttled),
    )


HEADER: Row = (
    "way",
    "an answer takes",
    "paced",
    "users",
    "seconds, whole command",
    "users/s while sending",
    "compared with a simple loop",
    "CPU ms a call",
    "peak MiB",
    "429s",
)


def crowded(bench: Bench, count: int) -> str:
    """Other programs use the quota: everything above 100 users a second is answered 429."""
    database = bench.database(count)
    with stand_in("--latency", "0.02", "--limit", "users/update=100") as standing:
        ours = bench.run(bench.fresh(database, standing.url))
    refused = standing.stats["counts"].get("/api/users/update 429", 0)
    share = 100 * refused / ours.told["requests"]
    assert standing.stats["profiles"] == standing.stats["events"] == count
    return (
        f"429 to everything above 100 users/s: {count:,} users, all delivered in {ours.seconds:.1f} s, "
        f"{refused} of {ours.told['requests']:,} requests ({share:.1f} %) were answered 429"
    )


def memory(bench: Bench, count: int) -> str:
    """A run that sends `count` users in bulk, then one in which nothing changed: seconds, memory, the state's size."""
    database = bench.database(count)
    with stand_in() as standing:
        environment = bench.fresh(database, standing.url, LOG_LEVEL="WARNING")
        first = bench.run(environment, "--bulk")
        again = bench.run(environment)
    assert again.told["requests"] == 0, again.told
    state = Path(environment["STATE_FILE"])
    size = sum(path.stat().st_size for path in state.parent.glob(state.name + "*"))
    return (
        f"{count:,} rows, nothing changed: {again.seconds:.1f} s, peak {again.peak:.0f} MiB, "
        f"state {size / 1e6:.1f} MB ({size / count:.0f} bytes a user); the bulk run that sent them all: "
        f"{first.seconds:.0f} s, peak {first.peak:.0f} MiB"
    )


def start_up(bench: Bench) -> str:
    """Seconds for --help and for a run over an empty result; the best of five."""
    best = min(_seconds([sys.executable, str(HOME / "main.py"), "--help"]) for _ in range(5))
    database = bench.database(1)
    bench.server.execute("DELETE FROM page_views", database=database["DB_NAME"])
    with stand_in() as standing:
        environment = bench.fresh(database, standing.url)
        empty = min(bench.run(environment).seconds for _ in range(5))
    return f"--help {best:.2f} s; a run over an empty result {empty:.2f} s"


def machine() -> str:
    """What the figures were measured on: the processor's name, the cores, the Python."""
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = named[0].partition(": ")[2] if named else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.speed")
    parser.add_argument("--quick", action="store_true", help="a tenth of the users")
    parser.add_argument("--only", choices=("single", "bulk", "crowded", "memory", "start"), help="one part")
    options = parser.parse_args(argv)
    small = 10 if options.quick else 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(f"{machine()}\n")
    with Server() as server, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(server, Path(folder))
        parts: dict[str, Callable[[], str]] = {
            "single": lambda: _table(
                [
                    single(bench, 0, 4000 // small, paced=False),
                    single(bench, 0, 4000 // small, paced=True),
                    single(bench, 20, 2000 // small, paced=False),
                    single(bench, 20, 2000 // small, paced=True),
                    single(bench, 100, 10_000 // small, paced=False),
                    single(bench, 100, 20_000 // small, paced=True),
                ]
            ),
            "bulk": lambda: _table(
                [bulk(bench, 0, 2000 // small), bulk(bench, 20, 2000 // small), bulk(bench, 20, 200_000 // small)]
            ),
            "crowded": lambda: crowded(bench, 2000 // small),
            "memory": lambda: "\n".join([memory(bench, 10_000 // small), memory(bench, 1_000_000 // small)]),
            "start": lambda: start_up(bench),
        }
        for name, part in parts.items():
            if options.only in (None, name):
                print(part(), flush=True)
    return 0


def _table(rows: Sequence[Row]) -> str:
    lines = [HEADER, tuple("---" for _ in HEADER), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
