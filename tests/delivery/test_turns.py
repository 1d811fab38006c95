"""No row keeps another from its turn: any permanent answers to any users and events, over several runs."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.delivery.loop import Loop
from sync.delivery.rules import SAMPLED
from sync.delivery.stop import Stop
from sync.run.exit_codes import ExitCode
from sync.run.summary import Summary
from tests import faults as catalogue
from tests.examples import examples
from tests.harness import World, counts, whom
from tests.sample_rows import address, person
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault

ANSWERS: dict[str, Fault | None] = {
    "fine": None,
    "500": catalogue.SERVER_ERROR,
    "403": catalogue.page(403, "blocked by the firewall"),
    "404": catalogue.ACTION_NOT_FOUND,
    "unknown": catalogue.UNKNOWN_CODE,
    "lost": catalogue.LOST_ANSWER,
    "refused": catalogue.refused(400, "BadParams", "no"),
}
FAILING = set(ANSWERS) - {"fine", "refused"}


class User(NamedTuple):
    """What Iterable answers to a user's profile, and to each event."""

    profile: str
    events: list[str]

    @property
    def fails(self) -> bool:
        """Whether any call about this user fails: not accepted and not rejected either."""
        return bool(FAILING & {self.profile, *self.events})

    @property
    def is_fine(self) -> bool:
        """Whether Iterable takes all that there is of this user."""
        return {self.profile, *self.events} == {"fine"}


answers = st.sampled_from(["fine", "fine", *ANSWERS])
users = st.builds(User, answers, st.lists(answers, min_size=1, max_size=7))
crowds = st.one_of(
    st.lists(users, min_size=1, max_size=15),
    st.builds(lambda bad, good: bad + good, *[st.lists(users, max_size=12)] * 2),
    st.builds(
        lambda bad, fate, good: [User(fate, ["fine"])] * bad + [User("fine", ["fine"])] * good,
        st.integers(0, 40),
        st.sampled_from(sorted(FAILING)),
        st.integers(1, 6),
    ),
)


def runs_needed(crowd: list[User], *, bulk: bool) -> int:
    """In how many runs everybody who is fine is delivered, at most.

    One by one, a run that the rule stops in spite of them has met 5 times 2 to the k failing calls in a row, k being
    the runs stopped before it, and no user makes more than five of them: so 2 to the k users more are known failers
    and come last. In bulk a failing call may be a batch, but of those who are drawn each stands alone.
    """
    failing = sum(user.fails for user in crowd)
    return (-(-failing // SAMPLED) if bulk else failing.bit_length()) + 1


def requests_allowed(pending: int, *, bulk: bool) -> int:
    """How many requests one run makes, at most, without a second attempt.

    Each payload alone; in bulk three times as many, for a batch of n that is halved to the end takes 2n - 1, and a
    user's own events are tried together before they are cut.
    """
    return pending * (3 if bulk else 1)


@pytest.mark.parametrize("bulk", [False, True], ids=["one by one", "bulk"])
@examples(6)
@given(crowd=crowds, seed=st.integers(0, 2**32))
def test_everybody_who_is_fine_has_a_turn(
    tmp_path_factory: pytest.TempPathFactory, bulk: bool, crowd: list[User], seed: int
) -> None:
    """Delivered within the runs and requests of the formulas; each payload has one outcome; nothing after a stop."""
    assert who_is_left(tmp_path_factory.mktemp("turns"), crowd, seed, bulk=bulk) == set()


def test_a_crowd_before_the_only_one(tmp_path: Path) -> None:
    """150 users who fail, and one who is fine behind them: found in the runs of the formula by the doubling alone."""
    crowd = [User("500", ["fine"])] * 150 + [User("fine", ["fine"])]
    assert who_is_left(tmp_path, crowd, seed=3, bulk=False) == set()


def who_is_left(folder: Path, crowd: list[User], seed: int, *, bulk: bool) -> set[str]:
    """The addresses and pages of users who are fine that are not at Iterable after as many runs as the formula gives;
    what has to hold in each run is asserted here.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(folder, monkeypatch, WORKERS="1", MAX_RETRIES="1", ITERABLE_BULK=str(bulk))
        monkeypatch.setattr("sync.run.steps.Loop", partial(Loop, rng=random.Random(seed)))
        monkeypatch.setattr("sync.run.steps.BULK_WORKERS", 1)
        sent_at_stop = _sent_at_stop(monkeypatch, world)
        world.rows = [
            person(n, page=f"{n} {place}") for n, user in enumerate(crowd) for place in range(len(user.events))
        ]
        world.iterable.faults = _answering(crowd)
        pending = len(crowd) + len(world.rows)
        for _ in range(runs_needed(crowd, bulk=bulk)):
            sent_at_stop.clear()
            summary = world.run()
            assert [sum(outcomes) for outcomes in counts(summary)] == [len(crowd), len(world.rows)]
            assert summary.requests <= requests_allowed(pending, bulk=bulk)
            assert sent_at_stop[:1] in ([], [summary.requests])
            check_exit_code(summary, world)
        fine = {address(n) for n, user in enumerate(crowd) if user.is_fine}
        expected = {f"{n} {place}" for n, user in enumerate(crowd) if user.is_fine for place in range(len(user.events))}
        return (fine - world.profiles.keys()) | (expected - {event["dataFields"]["page"] for event in world.events})


def check_exit_code(summary: Summary, world: World) -> None:
    """Nothing accepted and more than one user failed: 1. Otherwise only the rule for calls in a row stops a run."""
    failing = {ANSWERS[name].name for name in FAILING}  # type: ignore[union-attr]
    alone = [whom(request)[0] for request in world.iterable.requests if request.fault in failing and is_alone(request)]
    nothing_accepted = not (summary.users.delivered or summary.events.delivered)
    failed = summary.users.failed + summary.events.failed
    if nothing_accepted and len(set(alone)) > 1:
        assert summary.exit_code == ExitCode.STOPPED and summary.stopped_because
    elif "calls in a row failed" not in str(summary.stopped_because):
        wanted = ExitCode.INCOMPLETE if failed else summary.exit_code
        assert (summary.exit_code, summary.stopped_because) == (wanted, None)
    assert bool(summary.stopped_because or summary.failed_because) == bool(failed)


def is_alone(request: Request) -> bool:
    """Whether a request is about one user."""
    return len(set(whom(request))) == 1


def _sent_at_stop(monkeypatch: pytest.MonkeyPatch, world: World) -> list[int]:
    """How many requests a run had sent each time that it was told to stop."""
    found: list[int] = []
    told = Stop.set

    def stop(self: Stop, *reason: Any, **more: Any) -> None:
        found.append(len(world.iterable.requests))
        told(self, *reason, **more)

    monkeypatch.setattr(Stop, "set", stop)
    return found


def _answering(crowd: list[User]) -> Callable[[Request], Fault | None]:
    """What Iterable answers: to a batch, what it answers to the first payload in it that is not fine."""

    def answer(request: Request) -> Fault | None:
        body = request.json()
        items = next((body[key] for key in ("users", "events") if key in body), [body])
        return next((ANSWERS[fate] for item in items if (fate := _fate(crowd, item)) != "fine"), None)

    return answer


def _fate(crowd: list[User], item: dict[str, Any]) -> str:
    page = item["dataFields"].get("page")
    if page is None:
        return crowd[int(item["email"].removeprefix("user").partition("@")[0])].profile
    number, place = map(int, page.split())
    return crowd[number].events[place]
