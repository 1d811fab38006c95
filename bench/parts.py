"""`python -m bench.parts`: the CSV export, one JWT, and a run of 1,000 calls of which 30 % go wrong."""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench.speed import Bench
from iterable_client import IterableClient
from sync.api.answers import Verdict
from sync.rows.export import export_results_to_csv
from sync.run.setting_values import HOME
from sync.run.settings import load_settings
from tests.faults import EVERY_FAULT, EVERY_JWT_FAULT, EVERY_REFUSAL
from tests.mariadb import Server
from tests.stand_in.faults import at_random
from tests.stand_in.stand_in import StandIn

FAULT_SHARE = 0.3


def rows(count: int) -> Iterator[dict[str, Any]]:
    """As many rows as the sample query would give."""
    moment = datetime(2026, 1, 6, 10)
    for number in range(count):
        yield {
            "id": number,
            "email": f"user{number}@example.com",
            "first_name": f"First{number}",
            "last_name": "Last",
            "plan_type": "pro",
            "candidate": None,
            "page": "pricing",
            "device": "desktop",
            "browser": "Firefox",
            "location": "Berlin, DE",
            "event_time": moment + timedelta(seconds=number),
        }


def export(count: int) -> tuple[float, float]:
    """Seconds and peak memory in MiB of an export of `count` rows, in a process of its own."""
    code = (
        "import sys, time, resource; from bench.parts import rows; from sync.rows.export import export_results_to_csv\n"
        "began = time.perf_counter(); export_results_to_csv(rows(int(sys.argv[1])), sys.argv[2])\n"
        "print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, str(count), str(Path(folder, "export.csv"))]
        told = subprocess.run(command, cwd=HOME, check=True, capture_output=True, text=True).stdout.split()
    return float(told[0]), float(told[1])


def csv_part() -> None:
    """Seconds for 1,000 and 100,000 rows; peak memory for 10,000 and 200,000."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        export_results_to_csv(rows(1000), str(Path(folder, "export.csv")))
        print(f"CSV of 1,000 rows: {1000 * (time.perf_counter() - began):.1f} ms")
    print(f"CSV of 100,000 rows: {export(100_000)[0]:.2f} s")
    print(f"peak memory: {export(10_000)[1]:.1f} MiB for 10,000 rows, {export(200_000)[1]:.1f} MiB for 200,000")


def jwt_part() -> None:
    """Microseconds and bytes of one token."""
    client = IterableClient("key", jwt_secret="s" * 32, use_jwt=True)
    client._generate_jwt_token({"email": "ann@example.com"})
    began = time.perf_counter()
    for _ in range(5000):
        token = client._generate_jwt_token({"email": "ann@example.com"})
    print(f"one JWT: {(time.perf_counter() - began) / 5000 * 1e6:.0f} microseconds, {len(token)} bytes")


def faults_part() -> None:
    """500 users, a profile and an event each, over faults of every kind but those that rightly stop a run."""
    stopping = {*EVERY_REFUSAL, *EVERY_JWT_FAULT} - {fault for fault in EVERY_REFUSAL if _concerns_the_row(fault)}
    kinds = [fault for fault in EVERY_FAULT if fault not in stopping]
    with Server() as server, tempfile.TemporaryDirectory() as folder, StandIn() as iterable:
        bench = Bench(server, Path(folder))
        iterable.faults = at_random(30, FAULT_SHARE, kinds)
        environment = bench.fresh(bench.database(500), iterable.url, ITERABLE_API_KEY=iterable.api_key)
        environment |= {"REQUEST_TIMEOUT": "0.5", "INITIAL_BACKOFF": "0.05"}
        for label in ("with faults", "the next run, with none"):
            told = _run(environment)
            print(
                label, json.dumps({name: told[name] for name in ("exit_code", "rows", "users", "events", "requests")})
            )
            for line in ("users", "events"):
                assert sum(told[line].values()) == 500, told
            iterable.faults = None
        log = Path(environment["LOG_FILE"]).read_text(encoding="utf-8").splitlines()
        levels = Counter(line.split(" - ")[2] for line in log)
        assert not any("Unexpected" in line or "Traceback" in line for line in log)
        assert not iterable.warnings, iterable.warnings
        print(f"{len(kinds)} kinds of fault; log lines by level: {dict(levels)}; none unexplained")


def _concerns_the_row(fault: Any) -> bool:
    """Whether a run goes on after this refusal, as the client reads it."""
    with StandIn(faults=lambda _: fault) as iterable:
        settings = load_settings(
            Path(os.devnull), {"DB_USER": "-", "DB_NAME": "-", "ITERABLE_API_KEY": iterable.api_key}
        )
        client = IterableClient(settings.iterable_api_key, base_url=iterable.url, timeout=1, sleep=lambda _: False)
        verdict = client.update_user("ann@example.com", {}).verdict
    return verdict in {Verdict.REJECTED, Verdict.REJECTED_BY_PROJECT, Verdict.UNREADABLE, Verdict.TOO_LARGE}


def _run(environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, str(HOME / "main.py"), "--json", "--env-file", os.devnull]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def main() -> int:
    """Measure and print."""
    logging.disable(logging.CRITICAL)  # of this process; the runs are processes of their own
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    csv_part()
    jwt_part()
    faults_part()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
