"""Two syncs over one state, whatever happened before: one plain run of each brings Iterable to what the queries say."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sync.rows.source import Row
from sync.run.exit_codes import ExitCode
from sync.state.outbox import Outbox
from tests import faults as catalogue
from tests.examples import examples
from tests.harness import World, whom
from tests.sample_rows import address, person
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault

SYNCS = {
    "default": {"SEGMENT_FIELD": "viewed", "USER_FIELDS": "first_name", "EVENT_NAME": "view"},
    "orders": {
        "SEGMENT_FIELD": "ordered",
        "USER_FIELDS": "first_name:name",
        "EVENT_NAME": "order",
        "ITERABLE_BULK": "true",
    },
}
names = st.sampled_from(sorted(SYNCS))
users = st.integers(1, 6)
switches = st.sampled_from(
    [
        {},
        {"limit": 2},
        {"since": timedelta(days=1)},
        {"full": True},
        {"retry_rejected": True},
        {"allow_mass_exit": True},
    ]
)
faults = st.sampled_from(
    [catalogue.SERVER_ERROR, catalogue.LOST_ANSWER, catalogue.BAD_API_KEY, catalogue.FORGOTTEN, catalogue.UNKNOWN_CODE]
)


class Died(BaseException):
    """The process ended here."""


class AnyHistory(RuleBasedStateMachine):
    """The model knows what each query gives now, users with a name and views, and each view that it ever gave whole."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.worlds: dict[str, World] = {}
        self.rows: dict[str, dict[int, list[Row]]] = {name: {} for name in SYNCS}
        self.read: dict[str, set[tuple[str, str]]] = {name: set() for name in SYNCS}

    @initialize()
    def install(self) -> None:
        """Two installations over one state and one project, each with a few users that it has delivered."""
        for name, environ in SYNCS.items():
            world = World(self.folder, self.patch, SYNC_NAME=name, WORKERS="1", MAX_RETRIES="1", **environ)
            world.iterable = next(iter(self.worlds.values()), world).iterable
            self.worlds[name] = world
        for name, known in (("default", range(1, 6)), ("orders", range(3, 7))):
            self.rows[name] = {user: [person(user, first_name="A")] for user in known}
            self._run(name, {})

    @rule(sync=names, user=users, name=st.sampled_from("AB"))
    def come(self, sync: str, user: int, name: str) -> None:
        """A user comes into a result, or has another name there."""
        rows = self.rows[sync].setdefault(user, [person(user)])
        self.rows[sync][user] = [{**row, "first_name": name} for row in rows]

    @rule(sync=names, user=users, page=st.sampled_from(["pricing", "settings", "docs"]))
    def view(self, sync: str, user: int, page: str) -> None:
        """A user of a result has one more event."""
        rows = self.rows[sync].get(user)
        if rows and all(row["page"] != page for row in rows):
            rows.append({**rows[0], "page": page})

    @rule(sync=names, user=users)
    def leave(self, sync: str, user: int) -> None:
        """A user leaves a result."""
        self.rows[sync].pop(user, None)

    @rule(sync=names, switches=switches)
    def run(self, sync: str, switches: dict[str, Any]) -> None:
        """A run to which nothing happens."""
        self._run(sync, switches)

    @rule(sync=names, switches=switches, fault=faults, user=users)
    def run_with_a_stubborn_user(self, sync: str, switches: dict[str, Any], fault: Fault, user: int) -> None:
        """A run in which every request with one of the users ends badly."""
        self._run(sync, switches, lambda request: fault if address(user) in whom(request) else None)

    @rule(sync=names, switches=switches, fault=faults, after=st.integers(0, 6))
    def run_into_trouble(self, sync: str, switches: dict[str, Any], fault: Fault, after: int) -> None:
        """A run that goes well for some requests and then badly."""
        seen: list[Request] = []

        def answer(request: Request) -> Fault | None:
            seen.append(request)
            return fault if len(seen) > after and fault is not catalogue.FORGOTTEN else None

        self._run(sync, switches, answer)

    @rule(sync=names, switches=switches, after=st.integers(0, 3))
    def crash(self, sync: str, switches: dict[str, Any], after: int) -> None:
        """A run that dies before its outcomes are on record."""
        record, calls = Outbox.record, iter(range(100))

        def die(box: Outbox, *outcomes: Any) -> None:
            if next(calls) >= after:
                raise Died
            record(box, *outcomes)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Outbox, "record", die)
            patch.setattr("sync.delivery.loop.RECORD_GROUP", 1)
            with suppress(Died):
                self._run(sync, switches)

    @rule(sync=names, user=users)
    def waver(self, sync: str, user: int) -> None:
        """A user's name changes, the run that sends it dies, and the name is what it was."""
        before = self.rows[sync].get(user)
        if before:
            self.come(sync, user, "C")
            self.crash(sync, {}, 0)
            self.rows[sync][user] = before

    @rule(sync=names, user=users)
    def be_refused_and_leave(self, sync: str, user: int) -> None:
        """A user's new event fails, then the changed profile is rejected, and then the row has left the result."""
        if user in self.rows[sync]:
            self.view(sync, user, "docs")
            self._run(sync, {}, lambda request: catalogue.SERVER_ERROR if address(user) in whom(request) else None)
            self.come(sync, user, "D")
            self._run(sync, {}, lambda request: catalogue.FORGOTTEN if address(user) in whom(request) else None)
            self.leave(sync, user)

    @rule(field=st.sampled_from(["trial", ""]), switches=st.sampled_from([{"limit": 2}, {}]))
    def try_another_field(self, field: str, switches: dict[str, Any]) -> None:
        """A run of the default sync with another segment field, or with none."""
        world = self.worlds["default"]
        world.environ["SEGMENT_FIELD"] = field
        self._run("default", switches)
        world.environ["SEGMENT_FIELD"] = SYNCS["default"]["SEGMENT_FIELD"]

    @rule(setting=st.sampled_from([("EVENT_KEY", "event_time"), ("SEGMENT_FIELD", "ordered")]))
    def be_refused(self, setting: tuple[str, str]) -> None:
        """Settings of the default sync that would do harm once there is something to harm: nothing is sent then."""
        world, (name, value) = self.worlds["default"], setting
        if not world.settings.state_file.exists():
            return
        harm = (
            "WITH own AS (SELECT id FROM sync WHERE name = 'default') "
            "SELECT 1 FROM known k JOIN own ON own.id = k.sync WHERE typeof(key) = 'blob' AND fingerprint IS NOT NULL "
            "AND NOT EXISTS (SELECT 1 FROM pending p WHERE p.sync = k.sync AND p.key = k.key AND p.state IN (1, 2)) "
            "UNION SELECT 1 FROM pending JOIN own ON own.id = sync WHERE moment IS NOT NULL AND state = 3"
        )
        if name == "SEGMENT_FIELD":
            harm = "SELECT 1 FROM segment_claim WHERE field = 'ordered'"
        if world.table(harm):
            before = world.environ.get(name)
            world.environ[name] = value
            assert self._run("default", {}) == ExitCode.USAGE
            assert world.iterable.requests == []
            world.environ[name] = before or "event_time,page"

    def _run(self, sync: str, switches: dict[str, Any], answer: Any = None) -> int:
        world = self.worlds[sync]
        world.rows = [row for user in sorted(self.rows[sync]) for row in self.rows[sync][user]]
        world.iterable.faults = answer
        if "limit" not in switches:
            self.read[sync] |= {(row["email"], row["page"]) for row in world.rows}
        try:
            return world.run(**switches).exit_code
        finally:
            world.iterable.faults = None

    @invariant()
    def no_event_is_there_twice(self) -> None:
        """Whatever happened, each event is at Iterable once."""
        if self.worlds:
            events = [(e["email"], e["eventName"], e["dataFields"]["page"]) for e in self.worlds["default"].events]
            assert len(events) == len(set(events))

    def teardown(self) -> None:
        """One plain run of each sync without faults, and Iterable is as the queries say."""
        try:
            if self.worlds:
                for sync, environ in SYNCS.items():
                    assert self._run(sync, {"allow_mass_exit": True, "retry_rejected": True}) == ExitCode.DONE
                    self._check(sync, environ)
                for sync, environ in SYNCS.items():
                    assert self._run(sync, {}) == ExitCode.DONE
                    assert self.worlds[sync].iterable.requests == []
                    self._check(sync, environ)
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)

    def _check(self, sync: str, environ: dict[str, str]) -> None:
        world, rows = self.worlds[sync], self.rows[sync]
        field = environ["SEGMENT_FIELD"]
        assert {who for who, held in world.profiles.items() if held.get(field)} == {address(user) for user in rows}
        name = "name" if sync == "orders" else "first_name"
        for user, own in rows.items():
            assert world.profiles[address(user)][name] == own[0]["first_name"]
        events = {
            (event["email"], event["dataFields"]["page"])
            for event in world.events
            if event["eventName"] == environ["EVENT_NAME"]
        }
        assert events >= self.read[sync]


AnyHistory.TestCase.settings = examples(8, stateful_step_count=20)
TestAnyHistory = AnyHistory.TestCase
