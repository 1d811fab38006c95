"""Kill runs at random moments and show that nothing is lost and nothing doubled.

    python -m bench.soak [KILLS] [--signal KILL|TERM] [--lanes N] [--seed N]

A real MariaDB whose rows keep changing, the program as a process of its own, and the stand-in for Iterable in this
process. Each lane is one installation with a database, a stand-in and a state of its own. With KILL the stand-in also
loses answers and breaks in other ways; with TERM it only refuses for a moment, and then no request that was applied
may ever come again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests import faults as catalogue
from tests.harness import KEY, PROJECT, TRACK, UPDATE, environment, identity
from tests.mariadb import Server
from tests.process import params_environ, start
from tests.stand_in.faults import at_random
from tests.stand_in.stand_in import StandIn

USERS = 50
CHANGED, VIEWED, LEFT, JOINED = 20, 12, 2, 5
"""Customers whose name changes, who look at a page, and who leave and join the plan, before each run."""

LATENCY = 0.01
FAULTS_OF_A_CRASH = (
    catalogue.LOST_ANSWER,
    catalogue.GATEWAY_TIMEOUT_APPLIED,
    catalogue.CUT_SHORT,
    catalogue.UNAVAILABLE,
)
FAULTS_OF_A_SIGNAL = (catalogue.slow(0.15),)
FAULT_SHARE = 0.06
FINISHING_RUNS = 8
RUN_SECONDS = 60.0

QUERY = (PROJECT / "query.sql").read_text("utf-8").replace("c.id, c.email,", "c.id, c.email, SLEEP(0.001) AS nap,")
"""The query of the project, with rows that take their time: kills have to meet the database phase, too."""

EXPECTED = """
WITH recent AS (
    SELECT c.email, c.first_name, v.page, v.event_time,
        ROW_NUMBER() OVER (PARTITION BY v.user_id ORDER BY v.event_time DESC, v.id DESC) AS recency
    FROM page_views v JOIN customers c ON c.id = v.user_id
    WHERE c.plan_type = 'pro' AND v.page IN ('pricing', 'settings')
) SELECT email, first_name, page, event_time FROM recent WHERE recency = 1
"""


class LostOrDoubledError(AssertionError):
    """A promise was broken; the message names the seed."""


@dataclass
class Figures:
    """What a lane, or all of them, did."""

    kills: int = 0
    in_database: int = 0
    in_delivery: int = 0
    runs: int = 0
    requests: int = 0
    applied: int = 0
    faults: int = 0
    events: int = 0
    again: int = 0
    exits: dict[int, int] = field(default_factory=dict)

    def add(self, other: Figures) -> None:
        """Add another lane's figures."""
        for name, value in vars(other).items():
            if name != "exits":
                setattr(self, name, getattr(self, name) + value)
        for code, times in other.exits.items():
            self.exits[code] = self.exits.get(code, 0) + times


@dataclass
class Lane:
    """One installation; `kill` is the signal that its runs get."""

    server: Server
    folder: Path
    kill: signal.Signals
    seed: int
    figures: Figures = field(default_factory=Figures)
    promised: set[tuple[str, str, datetime]] = field(default_factory=set)
    results: list[tuple[int, set[str]]] = field(default_factory=list)
    """Of each run: how many requests there were before it, and who was in its result."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.params = self.server.database((PROJECT / "schema.sql").read_text("utf-8"))
        self.views = itertools.count(1)
        self._populate()

    def soak(self, kills: int) -> Figures:
        """Kill that many runs, let the last one finish, and look."""
        faults = FAULTS_OF_A_CRASH if self.kill is signal.SIGKILL else FAULTS_OF_A_SIGNAL
        with StandIn(latency=LATENCY, faults=at_random(self.seed, FAULT_SHARE, faults)) as iterable:
            self.environ, self.iterable = self._environment(iterable.url), iterable
            self._measure()
            for _ in range(3 * kills + 3):
                if self.figures.kills == kills:
                    break
                self._mutate()
                self._run()
            else:
                raise LostOrDoubledError(f"seed {self.seed}: only {self.figures.kills} runs lived long enough")
            self._finish()
            self._check(iterable)
        return self.figures

    # -- the source ------------------------------------------------------------------------------------------

    def _populate(self) -> None:
        rows = ", ".join(f"({n}, 'user{n}@example.com', 'A', 'Test', 'pro', NULL)" for n in range(1, 1 + USERS))
        self._sql(f"INSERT INTO customers VALUES {rows}")
        self._view(range(1, 1 + USERS))

    def _view(self, customers: Sequence[int]) -> None:
        """A view for each, a second later than any view before."""
        rows = ", ".join(
            f"({n}, '{self.chance.choice(('pricing', 'settings'))}', "
            f"SUBDATE(UTC_TIMESTAMP(), INTERVAL 1 DAY) + INTERVAL {next(self.views)} SECOND)"
            for n in customers
        )
        self._sql(f"INSERT INTO page_views (user_id, page, event_time) VALUES {rows}")

    def _mutate(self) -> None:
        """Names go to and fro between two values, so that a row often returns to what was delivered before."""
        everybody = range(1, 1 + USERS)
        for number, assignment in (
            (CHANGED, "first_name = IF(first_name = 'A', 'B', 'A')"),
            (JOINED, "plan_type = 'pro'"),
            (LEFT, "plan_type = 'free'"),
        ):
            some = ",".join(map(str, self.chance.sample(everybody, number)))
            self._sql(f"UPDATE customers SET {assignment} WHERE id IN ({some})")
        self._view(self.chance.sample(everybody, VIEWED))

    def _sql(self, sql: str) -> tuple[tuple[Any, ...], ...]:
        return self.server.execute(sql, database=self.params.database)

    def _result(self) -> dict[str, tuple[str, str, datetime]]:
        """What the query gives now: address -> first name, page, time."""
        return {row[0].lower(): row[1:] for row in self._sql(EXPECTED)}

    # -- runs ------------------------------------------------------------------------------------------------

    def _environment(self, url: str) -> dict[str, str]:
        query = self.folder / "query.sql"
        query.write_text(QUERY, encoding="utf-8")
        return {
            **environment(self.folder),
            **params_environ(self.params),
            "ITERABLE_API_KEY": KEY,
            "ITERABLE_API_BASE_URL": url,
            "QUERY_FILE": str(query),
            "CSV_KEEP": "3",
            "MAX_RETRIES": "4",
        }

    def _measure(self) -> None:
        """How long the phases of an undisturbed run are."""
        with start(self.folder, self.environ) as process:
            moments = [time.monotonic()]
            for phase in (1, 2):
                self._reach(process, 0, phase)
                moments.append(time.monotonic())
            self._ended(process)
        moments.append(time.monotonic())
        self.lengths = [after - before for before, after in itertools.pairwise(moments)]

    def _reach(self, process: subprocess.Popen[str], log_from: int, phase: int) -> None:
        """Wait until the run has come to this phase: 0 starting, 1 reading the database, 2 delivering."""
        while process.poll() is None and self._phase(log_from) < phase:
            time.sleep(0.003)

    def _run(self) -> None:
        """One run that gets the signal at a random moment of one of its phases, if it lives so long."""
        result = self._result()
        self.results.append((len(self.iterable.requests), set(result)))
        log_from = (self.folder / "run.log").stat().st_size
        phase = self.chance.choices((0, 1, 2), (1, 3, 6))[0]
        with start(self.folder, self.environ) as process:
            self._reach(process, log_from, phase)
            try:
                process.wait(self.chance.uniform(0, self.lengths[phase]))
            except subprocess.TimeoutExpired:
                process.send_signal(self.kill)
            self._ended(process)
        reached = self._phase(log_from)
        if process.returncode in (-self.kill, 128 + self.kill):
            self.figures.kills += 1
            self.figures.in_database += reached == 1
            self.figures.in_delivery += reached == 2
        if reached == 2:
            self.promised |= {(email, page, moment) for email, (_, page, moment) in result.items()}

    def _phase(self, log_from: int) -> int:
        """How far a run got whose lines begin there in the log; it may be rotated when a run starts."""
        log = self.folder / "run.log"
        if not log.exists():
            return 0
        with log.open("rb") as file:
            file.seek(log_from if log.stat().st_size >= log_from else 0)
            text = file.read()
        return 2 if b" - Pending: " in text else int(b" - Connected to " in text)

    def _ended(self, process: subprocess.Popen[str]) -> None:
        try:
            _, said = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise LostOrDoubledError(f"seed {self.seed}: a run did not end within {RUN_SECONDS:.0f} s") from None
        self.figures.runs += 1
        code = process.returncode
        self._count_exit(code)
        if code not in (0, 3, -self.kill, 128 + self.kill):
            raise LostOrDoubledError(f"seed {self.seed}: exit {code}: {said}")

    def _count_exit(self, code: int) -> None:
        self.figures.exits[code] = self.figures.exits.get(code, 0) + 1

    def _finish(self) -> None:
        """Runs without a kill until one has nothing left to do."""
        for _ in range(FINISHING_RUNS):
            with start(self.folder, self.environ, "--json") as process:
                told = json.loads(process.communicate(timeout=RUN_SECONDS)[0])
            self.figures.runs += 1
            self._count_exit(told["exit_code"])
            if not told["exit_code"] and not told["requests"]:
                return
        raise LostOrDoubledError(f"seed {self.seed}: {FINISHING_RUNS} runs did not finish it; the last said {told}")

    # -- the proof -------------------------------------------------------------------------------------------

    def _check(self, iterable: StandIn) -> None:
        result = self._result()
        self._check_profiles(iterable, result)
        self._check_events(iterable, result)
        self._check_state(iterable)
        applied = self._applied(iterable)
        self.figures.again += self._count_repeats(applied)
        if self.kill is not signal.SIGKILL:
            self._same("requests that were applied twice", self._count_repeats(applied), 0)
        self._same("warnings of the stand-in", iterable.warnings, [])
        self.figures.requests += len(iterable.requests)
        self.figures.applied += len(applied)
        self.figures.faults += sum(1 for request in iterable.requests if request.fault)
        self.figures.events += len(iterable.events)

    def _same(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            raise LostOrDoubledError(f"seed {self.seed}, {what}: {found!r:.2000} and not {wanted!r:.2000}")

    def _check_profiles(self, iterable: StandIn, result: dict[str, tuple[str, str, datetime]]) -> None:
        """Every user of the result is there as the database has them, and in the segment; nobody else is in it."""
        inside = {email: data for email, data in iterable.profiles.items() if data.get("recent_page_view")}
        self._same("members of the segment", sorted(inside.keys() ^ result.keys()), [])
        names = {(email, data.get("first_name")) for email, data in inside.items()}
        self._same("profiles", sorted(names ^ {(email, row[0]) for email, row in result.items()}), [])

    def _check_events(self, iterable: StandIn, result: dict[str, tuple[str, str, datetime]]) -> None:
        """Every event that a run took on is there under one id, and none that never happened."""
        keys = [
            (event["email"], event["dataFields"]["page"], event["dataFields"]["event_time"])
            for event in iterable.events.values()
        ]
        self._same("events under two ids", len(keys) - len(set(keys)), 0)
        promised = self.promised | {(email, page, moment) for email, (_, page, moment) in result.items()}
        wanted = {(email, page, f"{moment:%Y-%m-%d %H:%M:%S} +00:00") for email, page, moment in promised}
        self._same("lost events", sorted(wanted - set(keys)), [])
        happened = {
            (email.lower(), page, f"{moment:%Y-%m-%d %H:%M:%S} +00:00")
            for email, page, moment in self._sql(
                "SELECT c.email, v.page, v.event_time FROM page_views v JOIN customers c ON c.id = v.user_id"
            )
        }
        self._same("events that never happened", sorted(set(keys) - happened), [])

    def _check_state(self, iterable: StandIn) -> None:
        """The state counts what Iterable holds, and nothing is pending."""
        with closing(sqlite3.connect(self.folder / "state.sqlite3")) as state:
            found = {
                what: state.execute(f"SELECT COUNT(*) FROM {rows}").fetchone()[0]
                for what, rows in (
                    ("events", "known WHERE typeof(key) = 'blob' AND fingerprint IS NOT NULL"),
                    ("members", "member"),
                    ("pending", "pending"),
                    ("run", "run"),
                )
            }
        inside = sum(bool(data.get("recent_page_view")) for data in iterable.profiles.values())
        runs = found.pop("run")
        wanted = {"events": len(iterable.events), "members": inside, "pending": 0}
        self._same("counts in the state", found, wanted)
        if runs > self.figures.runs:
            raise LostOrDoubledError(f"seed {self.seed}: {runs} runs on record of {self.figures.runs}")

    @staticmethod
    def _applied(iterable: StandIn) -> list[tuple[int, str, str, bytes]]:
        """The requests that the project took, in order, each with its number."""
        taken = {fault.name for fault in (*FAULTS_OF_A_CRASH, *FAULTS_OF_A_SIGNAL) if fault.applies}
        return [
            (number, request.path, identity(request), request.body)
            for number, request in enumerate(iterable.requests)
            if request.fault in taken or (not request.fault and request.status == 200)
        ]

    def _count_repeats(self, applied: Sequence[tuple[int, str, str, bytes]]) -> int:
        """How many came again though applied: an event with its id, or a profile just as it was.

        A profile is another one if the user was in the result again in between: that row was pending, and what is
        pending of a user who then leaves is sent with the segment false, as the one before.
        """
        repeats = 0
        last: dict[str, tuple[int, bytes]] = {}
        tracked: set[str] = set()
        for number, path, who, body in applied:
            if path == TRACK:
                event = json.loads(body)["id"]
                repeats += event in tracked
                tracked.add(event)
            elif path == UPDATE:
                before, was = last.get(who, (0, b""))
                came_back = any(before < start <= number and who in result for start, result in self.results)
                repeats += was == body and not (came_back and b'"recent_page_view":false' in body)
                last[who] = number, body
        return repeats


def soak(kills: int, kill: signal.Signals, *, lanes: int = 2, seed: int = 1, server: Server | None = None) -> Figures:
    """Kill *kills* runs over *lanes* installations at a time; raises LostOrDoubledError."""
    if server is None:
        with Server(tls=False) as own:
            return soak(kills, kill, lanes=lanes, seed=seed, server=own)
    total = Figures()
    shares = [kills // lanes + (lane < kills % lanes) for lane in range(lanes)]
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, ThreadPoolExecutor(lanes) as pool:
        waiting = []
        for lane, share in enumerate(shares):
            place = Path(folder) / str(lane)
            place.mkdir()
            waiting.append(pool.submit(Lane(server, place, kill, seed + lane).soak, share))
        for future in waiting:
            total.add(future.result())
    return total


def describe(figures: Figures, kill: signal.Signals, seconds: float) -> str:
    """The one line that the soak ends with."""
    exits = ", ".join(f"{code}: {times}" for code, times in sorted(figures.exits.items()))
    return (
        f"{figures.kills} runs ended by {kill.name} ({figures.in_database} while reading the database, "
        f"{figures.in_delivery} while delivering), {figures.runs} runs in all (exit codes {exits}); "
        f"{figures.requests} requests, {figures.faults} with faults, {figures.applied} applied, {figures.again} of "
        f"them again; {figures.events} events, each under one id; nothing lost, nothing doubled; {seconds:.0f} s"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Soak, and print the figures or what was broken."""
    parser = argparse.ArgumentParser(prog="bench.soak", description="Kill runs and look for what is lost or doubled.")
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    kill = signal.Signals[f"SIG{options.signal}"]
    began = time.monotonic()
    try:
        figures = soak(options.kills, kill, lanes=options.lanes, seed=options.seed)
    except LostOrDoubledError as error:
        print(f"BROKEN: {error}")
        return 1
    print(describe(figures, kill, time.monotonic() - began))
    return 0


if __name__ == "__main__":
    sys.exit(main())
