"""The order of service: who is sampled, who is next, and users with many events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from iterable_client import IterableClient
from sync.api.answers import ApiResult, read_answer
from sync.delivery.bulk import IN_BULK
from sync.delivery.loop import Loop
from sync.delivery.rules import SAMPLED, StopRules
from sync.delivery.stop import Stop
from sync.delivery.turn import ONE_BY_ONE
from sync.delivery.work import Ended, Gate, Turn, Why, Work
from sync.delivery.workers import Left
from sync.state.exchange import PendingEvent, PendingUser, Policy
from sync.state.file import State
from sync.state.outbox import Outbox
from tests.harness import World, counts, sync_of
from tests.sample_rows import T0, address, person

Waiting = Callable[..., Loop]


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    """Makes a loop in which these works wait, and nobody else."""
    with closing(State(tmp_path / "state.sqlite3")) as state, closing(IterableClient("c" * 32)) as client:

        def loop_of(*works: Work) -> Loop:
            box = Outbox(state, sync_of(state), Policy(), 20_000)
            loop = Loop(ONE_BY_ONE, client, box, StopRules(), Stop(), workers=1)
            loop._waiting.extend(works)
            return loop

        yield loop_of


def user(number: int, *, failed_before: bool = False) -> PendingUser:
    """A user with a profile."""
    return PendingUser(address(number), "{}", (), failed_before=failed_before)


def test_who_is_sampled(waiting: Waiting) -> None:
    """Users who were not tried yet, out of works of several, too; who failed before only when nobody else is left."""
    works = [
        Work((user(1),), tried=True),
        Work((user(2), user(3))),
        Work((user(4),)),
        Work((user(5, failed_before=True),)),
    ]
    loop = waiting(*works)
    assert {one.identity for one in loop._sample()} == {address(2), address(3), address(4)}
    assert [one.identity for one in loop._sample()] == [address(5)]
    assert (loop._sample(), list(loop._waiting)) == ([], works[:1])


def test_no_more_are_sampled_than_the_rules_say(waiting: Waiting) -> None:
    """The others stay where they are, in their order."""
    loop = waiting(Work(tuple(user(n) for n in range(20))))
    sampled = {one.identity for one in loop._sample()}
    assert len(sampled) == SAMPLED
    assert [one.identity for one in loop._waiting[0].users] == [
        address(n) for n in range(20) if address(n) not in sampled
    ]


def test_who_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone user of whom a call was answered; in bulk nobody, as long as several go together."""
    rules, alone = StopRules(), user(1)._replace(events=(PendingEvent(b"", "{}"),) * 2)
    turn = Turn(Work((alone,)), Gate(rules, Stop(), lambda: 0.0), lambda _: None)
    assert not turn.left[0].tried
    turn.ask()
    turn.answered(ApiResult(read_answer(200, b'{"code":"Success"}'), 1))
    monkeypatch.setattr(rules, "suspicious", True)
    with pytest.raises(Ended) as ended:
        turn.ask()
    assert (ended.value.why, turn.left[0].tried, turn.user.profile) == (Why.HELD, True, None)

    several = Turn(Work((user(1), user(2))), Gate(StopRules(), Stop(), lambda: 0.0), lambda _: None)
    several.ask()
    several.tell(ApiResult(read_answer(503, b""), 1), several.left[0].users)
    assert not several.left[0].tried


def test_who_goes_on_with_events(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many at a time as there are workers; the others are not forgotten."""
    monkeypatch.setattr(Outbox, "claim_rest", lambda _box, users, _events: list(users))
    loop = waiting()
    loop._canaries = 0
    loop._continuing = [user(n)._replace(events=(PendingEvent(b"", "{}"),)) for n in (1, 2, 3)]
    assert loop._claim()
    assert [work.users[0].identity for work in loop._waiting] == [address(1)]
    assert [one.identity for one in loop._continuing] == [address(2), address(3)]


def test_who_was_held_is_next(waiting: Waiting) -> None:
    """In the order in which they were, before everybody else; who waits for the quota or a new address goes last."""
    held, other = [Work((user(n),)) for n in (1, 2, 3)], Work((user(4),))
    loop = waiting(other)
    loop._take_back(held[0], Left(Why.QUOTA, held[:1]))
    loop._take_back(held[1], Left(Why.HELD, held[1:]))
    assert list(loop._waiting) == [held[1], held[2], other, held[0]]


@pytest.mark.parametrize("environ", [{"WORKERS": "1"}, {"WORKERS": "4"}, {"ITERABLE_BULK": "true"}], ids=str)
def test_users_with_more_events_than_are_in_memory(
    world: World, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    """All of them are delivered, those of each user oldest first, however many users go on at a time."""
    monkeypatch.setattr("sync.run.steps.ONE_BY_ONE", ONE_BY_ONE._replace(events=1))
    monkeypatch.setattr("sync.delivery.bulk.IN_BULK", IN_BULK._replace(users=7, events=7))
    world.environ |= environ
    world.rows = [
        person(n, page=f"page {page}", event_time=T0 + timedelta(hours=page)) for n in range(40) for page in range(4)
    ]

    assert counts(world.run()) == ((40, 0, 0, 0), (160, 0, 0, 0))
    times: dict[str, list[int]] = {}
    for request in world.iterable.requests:
        for event in request.json().get("events", [request.json()]):
            times.setdefault(event.get("email", ""), []).append(event.get("createdAt", 0))
    assert all(sorted(some) == some for some in times.values())
