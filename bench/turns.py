"""`python -m bench.turns`: whole runs over a socket in which users always fail, and what failures of the API cost."""

from __future__ import annotations

import argparse
import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.speed import Bench, stand_in
from main import run
from sync.rows.source import Row
from sync.run.setting_values import HOME
from sync.run.settings import load_settings
from sync.run.steps import Run
from sync.run.summary import Summary
from tests import faults as catalogue
from tests.harness import environment, whom
from tests.mariadb import Server
from tests.process import params_environ
from tests.sample_rows import T0, Rows, address, people, person
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, Faults
from tests.stand_in.stand_in import StandIn

DOWN = catalogue.UNAVAILABLE


MANY_VIEWS = """
INSERT INTO customers (email, first_name, last_name, plan_type, candidate)
SELECT CONCAT('user', seq, '@example.com'), CONCAT('First', seq), 'Last', 'pro', 'bench' FROM seq_1_to_{users};
INSERT INTO page_views (user_id, page, device, browser, location, event_time)
SELECT id, 'pricing', 'desktop', 'Firefox', 'Berlin, DE', UTC_TIMESTAMP() - INTERVAL seq SECOND
FROM customers JOIN seq_1_to_{events};
"""
ALL_VIEWS = """
SELECT c.id, c.email, c.first_name, c.last_name, c.plan_type, c.candidate,
    v.page, v.device, v.browser, v.location, v.event_time
FROM page_views AS v JOIN customers AS c ON c.id = v.user_id WHERE v.event_time >= :since
"""


class Case(NamedTuple):
    """Rows and answers, tried in `runs` whole runs."""

    name: str
    rows: Sequence[Row]
    faults: Faults | None
    runs: int = 1
    settings: Mapping[str, str] = {}


def those(numbers: range, fault: Fault) -> Faults:
    """Each request that holds one of these users ends like this."""
    odd = {address(number) for number in numbers}
    return lambda request: fault if odd & set(whom(request)) else None


def after(count: int, fault: Fault) -> Faults:
    """The first `count` requests are answered well, and all others end like this."""
    seen: list[str] = []

    def answer(request: Request) -> Fault | None:
        seen.append(request.path)
        return fault if len(seen) > count else None

    return answer


def views(count: int, user: int = 1) -> list[Row]:
    """So many events of one user."""
    return [person(user, event_time=T0 + timedelta(hours=hour)) for hour in range(count)]


BULK = {"ITERABLE_BULK": "true"}
EVENTS_ONLY = {"USER_FIELDS": "", "SEGMENT_FIELD": ""}
FIREWALL = catalogue.page(403, "blocked by the firewall")
HOUR = catalogue.rate_limited("3600")
CASES = (
    Case("403 page for 1 of 12", people(12), those(range(1, 2), FIREWALL), 3),
    Case("500 for the first 5 of 12", people(12), those(range(1, 6), catalogue.SERVER_ERROR), 3),
    Case("unknown code for the first 20 of 26", people(26), those(range(1, 21), catalogue.UNKNOWN_CODE), 3),
    Case("JSON 404 for 1 of 26", people(26), those(range(7, 8), catalogue.refused(404, "NotFound")), 1),
    Case("refused JWT for the first 3 of 12", people(12), those(range(1, 4), catalogue.JWT_SIGNATURE), 1),
    Case("500 for a batch with 1 of 1,000", people(1000), those(range(700, 701), catalogue.SERVER_ERROR), 1, BULK),
    Case("300 events only, bad key", views(300), after(0, catalogue.BAD_API_KEY), 1, EVENTS_ONLY),
    Case("300 events, Retry-After: 3600", views(300), after(1, HOUR), 1),
    Case("down after the profile of a user with 300 events", views(300), after(1, DOWN), 1),
    Case("the same in bulk", views(300), after(1, DOWN), 1, BULK),
    Case("canary with 300 events, 40 users", views(300) + people(40)[1:], None, 1),
    Case("bulk, 200 users, one with 150 events", [*people(200), *views(150, 7)], None, 1, BULK),
    Case("1,200 events of a rejected profile", views(1200), those(range(1, 2), catalogue.FORGOTTEN), 1),
    *(
        Case(f"{what}, 1,000 users, {way}", people(1000), after(0, fault), 1, settings)
        for what, fault in (
            ("API down", DOWN),
            ("bad key", catalogue.BAD_API_KEY),
            ("bad JWT", catalogue.JWT_SIGNATURE),
        )
        for way, settings in (("one by one", {}), ("bulk", BULK))
    ),
)


def tried(case: Case) -> str:
    """One line: what each run delivered, its exit code, requests, and why it stopped."""
    with tempfile.TemporaryDirectory() as folder, StandIn() as iterable:
        iterable.faults = case.faults
        told = []
        for _ in range(case.runs):
            before = len(iterable.requests)
            summary = _run(Path(folder), iterable, case)
            users, events = summary.users, summary.events
            told.append(
                f"{users.delivered}+{events.delivered} delivered, {users.failed}+{events.failed} failed, "
                f"{users.rejected}+{events.rejected} rejected, exit {int(summary.exit_code)}, "
                f"{len(iterable.requests) - before} requests"
            )
        why = f" ({re.split('[:;]', summary.stopped_because)[0]})" if summary.stopped_because else ""
    return f"{case.name}: " + "; then ".join(told) + why


def _run(folder: Path, iterable: StandIn, case: Case) -> Summary:
    more = {"ITERABLE_API_BASE_URL": iterable.url, "INITIAL_BACKOFF": "0.001"}
    environ = {**environment(folder), **more, **case.settings}
    return run(Run(load_settings(Path(os.devnull), environ), source=partial(Rows, case.rows)))


def memory(bench: Bench, users: int, events: int, *flags: str) -> str:
    """Peak memory of a run of so many users with so many events each, beside one with a single event each."""
    schema = HOME.joinpath("schema.sql").read_text(encoding="utf-8")
    peaks = []
    for each in (1, events):
        at = bench.server.database(schema, MANY_VIEWS.format(users=users, events=each))
        with tempfile.TemporaryDirectory() as folder, stand_in() as standing:
            query = Path(folder, "all_views.sql")
            query.write_text(ALL_VIEWS, encoding="utf-8")
            environ = bench.fresh(params_environ(at), standing.url, QUERY_FILE=str(query), LOG_LEVEL="WARNING")
            measured = bench.run(environ | {"EVENTS_PER_SECOND": "100000"}, *flags)
        assert standing.stats["events"] == users * each
        peaks.append(f"{measured.peak:.0f} MiB with {each:,} events each ({measured.seconds:.0f} s)")
    return f"peak memory, {users:,} users {' '.join(flags)}: " + ", ".join(peaks)


def main(argv: Sequence[str] | None = None) -> int:
    """Print everything."""
    parser = argparse.ArgumentParser(prog="bench.turns")
    parser.add_argument("--only", choices=("turns", "memory"), help="one part")
    options = parser.parse_args(argv)
    if options.only != "memory":
        logging.disable(logging.CRITICAL)
        for case in CASES:
            print(tried(case), flush=True)
    if options.only != "turns":
        with Server() as server, tempfile.TemporaryDirectory(prefix="bench-") as folder:
            bench = Bench(server, Path(folder))
            for flags in ((), ("--bulk",)):
                print(memory(bench, 300, 400, *flags), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
