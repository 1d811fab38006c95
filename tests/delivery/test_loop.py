"""The loop: the quota, a signal while it waits, and any answers over any users."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterable_client import IterableClient
from sync.api.answers import ApiResult, read_answer
from sync.delivery.loop import RECORD_GROUP, Loop
from sync.delivery.rules import StopRules
from sync.delivery.stop import Stop
from sync.delivery.tally import Tally
from sync.delivery.turn import Way
from sync.delivery.work import Turn, Work
from sync.delivery.workers import TICK, Left
from sync.run.exit_codes import ExitCode
from sync.run.settings import load_settings
from sync.run.summary import Summary
from sync.state.exchange import Counts, Policy
from sync.state.file import State
from sync.state.outbox import Outbox
from tests import faults as catalogue
from tests.examples import examples
from tests.harness import World, counts, identity, sync_of, to_load, whom
from tests.sample_rows import address, people, person
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, scripted

# -- 429 -----------------------------------------------------------------------------------------------------


def test_a_throttled_user_is_queued_again(world: World) -> None:
    """A user whose attempts ended in 429 goes back into the queue: delivered in the end, once, and never failed."""
    world.rows = people(6)
    limit = catalogue.RATE_LIMITED
    asked: dict[tuple[str, str], int] = {}

    def faults(request: Request) -> Fault | None:
        key = (request.path, identity(request))
        asked[key] = asked.get(key, 0) + 1
        return limit if asked[key] <= 7 and identity(request) in {address(2), address(4)} else None

    world.iterable.faults = faults
    summary = world.run()

    assert (summary.exit_code, counts(summary)) == (ExitCode.DONE, ((6, 0, 0, 0), (6, 0, 0, 0)))
    assert summary.retries == {"429": 4 * 5}
    assert [event["writes"] for event in world.events] == [1] * 6
    assert max(world.iterable.project.users.writes.values()) == 1


class Clock:
    """Seconds that a test moves on."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Script:
    """A turn whose answers come from a function of the user; time passes with each call."""

    def __init__(self, clock: Clock, answer: Callable[[str], int], seconds: float = 40.0) -> None:
        self.clock, self.answer, self.seconds = clock, answer, seconds
        self.sent: list[str] = []

    def take_turn(self, turn: Turn, _client: IterableClient) -> None:
        """Profile and event, as long as they are answered with 200; each answer is the user's."""
        while True:
            turn.ask()
            self.clock.now += self.seconds
            self.sent.append(turn.user.identity)
            status = self.answer(turn.user.identity)
            turn.answered(ApiResult(read_answer(status, b'{"code":"Success"}' if status == 200 else b"{}"), 1))


def deliver(path: Path, count: int, script: Script | Silent, stop: Stop | None = None) -> Tally:
    """A delivery of *count* users on the script's clock, to its end."""
    stop = stop or Stop()
    settings = load_settings(Path(os.devnull), {"DB_USER": "a", "DB_NAME": "b", "ITERABLE_API_KEY": "c" * 32})
    way, client = Way(script.take_turn, users=1, events=1), IterableClient("c" * 32)
    with closing(State(path / "state.sqlite3")) as state, closing(client):
        box = Outbox(state, sync_of(state), Policy(segment_field="s"), 20_000)
        box.load(*to_load(people(count), settings.mapping()))
        return Loop(way, client, box, StopRules(), stop, workers=1, clock=script.clock).run(box.plan())


def test_throttled_for_ten_minutes(tmp_path: Path) -> None:
    """When nothing at all was accepted for more than 10 minutes the run stops, and says so; all are pending."""
    script = Script(Clock(), lambda _: 429)
    tally = deliver(tmp_path, 3, script)

    assert "accepted nothing for 10 minutes" in str(tally.stopped_because)
    assert 15 <= len(script.sent) <= 17
    assert (tally.users, tally.events) == (Counts(failed=3), Counts(failed=3))


def test_all_are_throttled(tmp_path: Path) -> None:
    """No more users are in memory than three times those in flight, however many there are."""
    script = Script(Clock(), lambda _: 429, seconds=1.0)
    assert deliver(tmp_path, 50, script).users == Counts(failed=50)
    assert len(set(script.sent)) == 3


def test_throttled_while_others_are_accepted(tmp_path: Path) -> None:
    """As long as anything is accepted within 10 minutes a throttled user waits, for an hour if need be."""
    turns = iter(range(10_000))
    script = Script(Clock(), lambda who: 200 if who != address(2) or next(turns) > 30 else 429)
    tally = deliver(tmp_path, 100, script)

    assert tally.stopped_because is None
    assert script.sent.count(address(2)) == 31 + 2
    assert (tally.users, tally.events) == (Counts(delivered=100), Counts(delivered=100))


def test_only_throttled_users_remain(tmp_path: Path) -> None:
    """Others were accepted, and ten minutes later the quota is still closed to these: they fail, and not the run."""
    closed = {address(2), address(5)}
    tally = deliver(tmp_path, 6, Script(Clock(), lambda who: 429 if who in closed else 200))

    assert tally.stopped_because is None
    assert (tally.users, tally.events) == (Counts(delivered=4, failed=2), Counts(delivered=4, failed=2))
    assert tally.failure == "429: the quota stayed used up"
    with closing(State(tmp_path / "state.sqlite3")) as state:
        assert state.db.execute("SELECT COUNT(*) FROM failer").fetchone() == (0,), "said of the quota, not of them"


# -- memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environ", [{"WORKERS": "8"}, {"ITERABLE_BULK": "true"}], ids=str)
def test_nothing_is_kept_of_who_is_done_with(
    world: World, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    """While a run goes on, the loop holds who is in flight or waits and nobody else; at its end, nobody."""
    world.environ |= environ
    users = 1_500 if "ITERABLE_BULK" in environ else 600
    world.rows = [person(n % users, page=f"page {n}") for n in range(2 * users)]
    world.iterable.faults = lambda request: catalogue.SERVER_ERROR if address(7) in whom(request) else None
    loops: list[Loop] = []
    most = {"a run": 0}
    take_back = Loop._take_back

    def look(loop: Loop, work: Work, left: Left) -> None:
        take_back(loop, work, left)
        loops.append(loop)
        most["a run"] = max(most["a run"], sum(held(loop).values()))

    monkeypatch.setattr(Loop, "_take_back", look)
    assert counts(world.run())[0] == (users - 1, 0, 0, 1)
    assert held(loops[0]) == dict.fromkeys(held(loops[0]), 0)
    group = users if "ITERABLE_BULK" in environ else 8 + RECORD_GROUP
    assert 0 < most["a run"] <= 4 * group


def held(loop: Loop) -> dict[str, int]:
    """How many users, or payloads, each attribute of the loop and its rules holds."""
    parts = {**vars(loop), **vars(loop._rules), **vars(loop.tally)}
    sized = {name: len(part) for name, part in parts.items() if isinstance(part, list | dict | set | deque)}
    return {name: size for name, size in sized.items() if name not in {"retries", "served", "failing"}}


# -- a signal ------------------------------------------------------------------------------------------------


class Silent:
    """A turn that gets no answer until `let_go`."""

    def __init__(self) -> None:
        self.clock = time.monotonic
        self.let_go = threading.Event()

    def take_turn(self, turn: Turn, _client: IterableClient) -> None:
        """Wait."""
        self.let_go.wait(5)
        turn.answered(ApiResult(read_answer(503, b""), 1))


def test_a_signal_at_the_end_of_a_tick(tmp_path: Path) -> None:
    """A signal whose handling outlasts the wait for results is no reason to wait for ever: the grace still counts."""
    stop, silent = Stop(), Silent()

    def handle(*_: object) -> None:
        time.sleep(2 * TICK)
        stop.set("interrupted", grace=0.1)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 2 * TICK)
    began = time.monotonic()
    try:
        tally = deliver(tmp_path, 3, silent, stop)
    finally:
        signal.signal(signal.SIGALRM, before)
        silent.let_go.set()

    assert time.monotonic() - began < 2
    assert (tally.users, tally.events) == (Counts(failed=3), Counts(failed=3))


# -- any answers over any users ------------------------------------------------------------------------------

ANSWERS = (
    None,
    None,
    catalogue.LOST_ANSWER,
    catalogue.UNAVAILABLE,
    catalogue.NO_ANSWER_APPLIED,
    catalogue.RATE_LIMITED,
    catalogue.FORGOTTEN,
    catalogue.CUT_JSON,
    catalogue.PAGE,
    catalogue.TYPES_MISMATCHED_500,
    catalogue.BAD_API_KEY,
    catalogue.ACTION_NOT_FOUND,
    catalogue.DISALLOWED_EVENT,
)
STOPS = {catalogue.BAD_API_KEY.name}


@examples(20)
@given(
    answers=st.lists(st.sampled_from(ANSWERS), max_size=60),
    users=st.lists(st.integers(1, 9), max_size=15),
    workers=st.sampled_from(["1", "3"]),
)
def test_any_answers_over_any_users(
    tmp_path_factory: pytest.TempPathFactory, answers: list[Fault | None], users: list[int], workers: str
) -> None:
    """Every user has one outcome, counts add up, the exit code follows, nothing goes out after a stop, and after a
    fault-free second run nothing is missing and no event is there twice.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(tmp_path_factory.mktemp("any"), monkeypatch, WORKERS=workers)
        world.rows = [person(number, page=f"page {place % 3}") for place, number in enumerate(users)]
        world.iterable.faults = scripted(answers)
        first = world.run()
        events = len({(row["id"], row["page"]) for row in world.rows})
        assert [sum(told) for told in counts(first)] == [len(set(users)), events]
        check_exit_code(first)
        if workers == "1":
            check_stop(world)

        world.iterable.faults = None
        second = world.run(retry_rejected=True)
        assert second.exit_code == ExitCode.DONE
        assert sorted(world.profiles) == sorted(address(number) for number in set(users))
        assert len(world.events) == events
        assert world.run().requests == 0


def check_exit_code(summary: Summary) -> None:
    """Stopped: 1; otherwise 3 when anything was newly rejected or failed, else 0."""
    open_ends = summary.users.failed + summary.events.failed + summary.users.rejected + summary.events.rejected
    wanted = ExitCode.STOPPED if summary.stopped_because else ExitCode.INCOMPLETE if open_ends else ExitCode.DONE
    assert summary.exit_code == wanted


def check_stop(world: World) -> None:
    """The request that stops the run is its last one."""
    faults = [request.fault for request in world.iterable.requests]
    assert not any(name in STOPS for name in faults[:-1])
