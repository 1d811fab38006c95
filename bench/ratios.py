"""`python -m bench.ratios`: what a row and a call cost, as multiples of what they cost at the least.

CPU time, user and system, of the whole command against that of the bare fetch (`bench.bare`) of the same query, and
of the bare sends of such bodies: the two in turns on the same machine, and the medians of three turns. How fast that
is in seconds depends on the machine; the multiples much less.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.speed import KEY, Bench, machine, metered, stand_in
from tests.mariadb import Server

TURNS = 3
Environment = dict[str, str]


@dataclass
class Ratio:
    """One kind of work: CPU microseconds of ours and of the bare one, for each row or call."""

    ours: float
    bare: float
    peak: float  # MiB

    @property
    def times(self) -> float:
        """How many times the bare one."""
        return self.ours / self.bare


def unchanged(bench: Bench, count: int) -> Ratio:
    """A row in which nothing changed, of a profile and an event, against the bare fetch of a row."""
    database = bench.database(count)
    with stand_in() as standing:
        environment = bench.fresh(database, standing.url)
        bench.run(environment, "--bulk")

        def again() -> tuple[float, float]:
            done = bench.run(environment)
            assert done.told["requests"] == 0
            return done.cpu, done.peak

        return _in_turns(again, lambda: _fetch(environment, count), count)


def first(bench: Bench, count: int) -> Ratio:
    """A user who is new, delivered in bulk with an event, against the bare fetch of a row."""
    database = bench.database(count)

    def fresh() -> tuple[float, float]:
        with stand_in() as standing:
            done = bench.run(bench.fresh(database, standing.url), "--bulk")
        assert standing.stats["profiles"] == standing.stats["events"] == count
        return done.cpu, done.peak

    return _in_turns(fresh, lambda: _fetch({**os.environ, **database}, count), count)


def call(bench: Bench, count: int) -> Ratio:
    """A call of a run that sends one by one, unpaced, against a bare send."""
    database = bench.database(count)
    pace = {"USERS_PER_SECOND": "100000", "EVENTS_PER_SECOND": "100000"}

    def one_by_one() -> tuple[float, float]:
        with stand_in("--latency", "0.02") as standing:
            done = bench.run(bench.fresh(database, standing.url, **pace))
        assert done.told["requests"] == 2 * count
        return done.cpu, done.peak

    def send() -> float:
        with stand_in("--latency", "0.02") as standing:
            return _cpu("send", standing.url, str(2 * count), told=2 * count)

    return _in_turns(one_by_one, send, 2 * count)


def _in_turns(ours: Callable[[], tuple[float, float]], bare: Callable[[], float], count: int) -> Ratio:
    pairs = [(*ours(), bare()) for _ in range(TURNS)]
    cpu, peak, least = (median(column) for column in zip(*pairs, strict=True))
    return Ratio(1e6 * cpu / count, 1e6 * least / count, peak)


def _fetch(environment: Environment, count: int) -> float:
    return _cpu("fetch", told=count, environment=environment)


def _cpu(*arguments: str, told: int, environment: Environment | None = None) -> float:
    """CPU seconds of a bare process, which must tell this count."""
    output, usage = metered(["-m", "bench.bare", *arguments], environment or {**os.environ, "ITERABLE_API_KEY": KEY})
    if int(output) != told:
        raise RuntimeError(f"{output.strip()} instead of {told}")
    return usage.ru_utime + usage.ru_stime


def table(bench: Bench, scale: int) -> str:
    """The multiples as a Markdown table; a `scale` of 10 measures a tenth."""
    rows = [
        ("a row in which nothing changed", "fetch of a row", unchanged(bench, 200_000 // scale)),
        ("a user delivered in bulk, the whole first run", "fetch of a row", first(bench, 100_000 // scale)),
        ("a call one by one", "send", call(bench, 4_000 // scale)),
    ]
    lines = [
        "| work | CPU time, as a multiple of the bare work | CPU us each | bare work, us each | peak memory, MiB |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {ratio.times:.2f} x the bare {bare} | {ratio.ours:.0f} | {ratio.bare:.1f} | {ratio.peak:.0f} |"
            for name, bare, ratio in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.ratios")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    options = parser.parse_args(argv)
    print(machine() + "\n")
    with Server() as server, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        print(table(Bench(server, Path(folder)), 10 if options.quick else 1), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
