"""The stop rules, told of calls as they end: whose turn is over, and why a run stops. No network, threads or clock."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from sync.api.answers import FAILURES, Verdict
from sync.delivery.rules import IN_A_ROW, MOST_DOUBLINGS, SAMPLED, TURN, CallEnd, StopRules

ACCEPTED, REJECTED, DOWN, THROTTLED = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.RETRYABLE, Verdict.THROTTLED
users = (f"user{number}" for number in count())


class Calls:
    """Calls that end one after the other, a second each, unless a test says otherwise."""

    def __init__(self, stopped_before: int = 0) -> None:
        self.rules = StopRules(stopped_before)
        self.now = 0.0

    def end(self, verdict: Verdict, user: str | None = "", **more: Any) -> bool:
        """One call; of a user of its own unless one is given, None for a batch. True: this user's turn is over."""
        self.now += 1
        more.setdefault("sent_at", self.now - 0.5)
        name = next(users) if user == "" else user
        return self.rules.ended(CallEnd(verdict, f"said {verdict.value}", now=self.now, user=name, **more))

    def fail(self, times: int, **more: Any) -> list[bool]:
        """So many calls of so many users that fail."""
        return [self.end(DOWN, **more) for _ in range(times)]


@pytest.mark.parametrize("verdict", [Verdict.CREDENTIALS_REFUSED, Verdict.WAIT_TOO_LONG, Verdict.LOCAL_SETUP])
def test_what_stops_a_run_at_once(verdict: Verdict) -> None:
    """A key that is refused by name, an endless wait and a broken set-up of this machine: the first call stops."""
    calls = Calls()
    calls.end(verdict)
    assert "said " + verdict.value in str(calls.rules.reason)
    calls.end(ACCEPTED)
    assert "said " + verdict.value in str(calls.rules.reason), "what was on the wire changes nothing"
    assert not calls.rules.by_the_row


@pytest.mark.parametrize("verdict", sorted(FAILURES, key=str))
def test_five_failures_in_a_row_are_to_be_confirmed(verdict: Verdict) -> None:
    """Any other failure: five in a row raise the suspicion; a sampled user has one call to dispel it."""
    calls = Calls()
    assert not any(calls.end(verdict) for _ in range(IN_A_ROW))
    assert calls.rules.suspicious and calls.rules.reason is None
    assert all(calls.end(verdict, user, sampled=True) for user in ("a", "b"))
    assert calls.rules.suspicious and calls.rules.reason is None
    calls.rules.give_up()
    assert calls.rules.by_the_row
    assert "7 calls in a row failed, the last with: said" in str(calls.rules.reason)


@pytest.mark.parametrize("verdict", [ACCEPTED, REJECTED, THROTTLED, Verdict.TOO_LARGE, Verdict.REJECTED_BY_PROJECT])
def test_one_sampled_user_who_gets_an_answer_is_enough(verdict: Verdict) -> None:
    """Then the failures were about their own users, and the row begins anew."""
    calls = Calls()
    calls.fail(IN_A_ROW)
    calls.rules.still_to_sample -= 2
    assert calls.end(DOWN, "a", sampled=True)
    assert not calls.end(verdict, "b", sampled=True)
    assert (calls.rules.suspicious, calls.rules.still_to_sample) == (False, SAMPLED)
    assert not calls.end(DOWN, "b", sampled=True), "from here on as anybody"
    calls.fail(IN_A_ROW - 2)
    assert not calls.rules.suspicious


@pytest.mark.parametrize("between", [ACCEPTED, REJECTED, Verdict.TOO_LARGE])
def test_an_answer_breaks_the_row(between: Verdict) -> None:
    """Four failures, an answer, four failures: the API is there."""
    calls = Calls()
    calls.fail(IN_A_ROW - 1)
    calls.end(between)
    calls.fail(IN_A_ROW - 1)
    assert not calls.rules.suspicious


@pytest.mark.parametrize("between", [THROTTLED, Verdict.INTERRUPTED])
def test_what_is_no_answer_does_not_break_the_row(between: Verdict) -> None:
    """A word about the quota, or none at all, says nothing of the calls around it."""
    calls = Calls()
    calls.fail(IN_A_ROW - 1)
    calls.end(between)
    calls.fail(1)
    assert calls.rules.suspicious


def test_failures_that_were_sent_before_the_last_acceptance_do_not_count() -> None:
    """Calls that ran into their time-outs while others were accepted say nothing of the API as it is now."""
    calls = Calls()
    calls.now = 100.0
    calls.end(ACCEPTED)
    calls.fail(3 * IN_A_ROW, sent_at=50.0)
    assert not calls.rules.suspicious
    calls.fail(IN_A_ROW)
    assert calls.rules.suspicious


def test_a_batch_is_one_call() -> None:
    """A batch, or a half of one, is a call as any other, and ends nobody's turn."""
    calls = Calls()
    assert not any(calls.end(DOWN, None) for _ in range(3 * TURN))
    assert calls.rules.suspicious


def test_the_turn_of_a_user_ends() -> None:
    """Five calls of one user in a row: nothing more of this user is sent, whatever becomes of others."""
    calls = Calls()
    is_over = []
    for _ in range(TURN):
        calls.end(ACCEPTED)
        is_over.append(calls.end(DOWN, "many events"))
    assert is_over == [False] * (TURN - 1) + [True]
    assert not calls.rules.suspicious


@pytest.mark.parametrize("between", [ACCEPTED, REJECTED, Verdict.TOO_LARGE])
def test_an_answer_lets_the_turn_of_a_user_go_on(between: Verdict) -> None:
    """Four failed calls of one user, an answer, four failed calls."""
    calls = Calls()
    for verdict in (DOWN, DOWN, DOWN, DOWN, between, DOWN, DOWN, DOWN, DOWN):
        assert not calls.end(verdict, "every fifth")


@pytest.mark.parametrize("between", [THROTTLED, Verdict.INTERRUPTED])
def test_the_quota_does_not(between: Verdict) -> None:
    """A word about the quota, or none at all, says nothing of the user; who is forgotten begins anew."""
    calls = Calls()
    is_over = [calls.end(verdict, "a") for verdict in (DOWN, DOWN, between, DOWN, DOWN, DOWN)]
    assert is_over == [False] * 5 + [True]
    calls.rules.forget("a")
    assert not calls.end(DOWN, "a")


def test_known_failers_do_not_count_while_there_were_others() -> None:
    """Who failed before proves nothing, once anybody else was tried; alone they are all there is to judge by."""
    calls = Calls()
    calls.end(ACCEPTED)
    calls.fail(3 * IN_A_ROW, failed_before=True)
    assert not calls.rules.suspicious

    alone = Calls()
    alone.fail(IN_A_ROW, failed_before=True)
    assert alone.rules.suspicious


@pytest.mark.parametrize(("stopped", "doublings"), [(1, 1), (3, 3), (MOST_DOUBLINGS, 7), (1_000, MOST_DOUBLINGS)])
def test_the_row_doubles_with_each_run_that_it_stopped(stopped: int, doublings: int) -> None:
    """The row, not those who are sampled; up to a bound, so that a long outage stays cheap."""
    calls = Calls(stopped)
    calls.fail(IN_A_ROW * 2**doublings - 1)
    assert not calls.rules.suspicious
    calls.fail(1)
    assert calls.rules.suspicious and SAMPLED == 5


def test_three_canaries_that_the_project_refuses() -> None:
    """Three in a row for a reason that is the project's; a rejection of another kind, or a failure, starts anew."""
    refused: dict[str, Any] = {"verdict": Verdict.REJECTED_BY_PROJECT, "canary": True}
    calls = Calls()
    for between in (REJECTED, DOWN):
        for verdict in (refused["verdict"], refused["verdict"], between):
            calls.end(verdict, canary=True)
    calls.end(**refused)
    calls.end(**refused)
    calls.end(ACCEPTED, canary=True)
    assert calls.rules.reason is None, "a profile that is accepted is not the whole canary"
    calls.end(**refused)
    assert "said rejected by the project" in str(calls.rules.reason)


def test_nobody_left_to_sample() -> None:
    """Giving up stops the run only while it is suspicious."""
    calls = Calls()
    calls.fail(IN_A_ROW - 1)
    calls.rules.give_up()
    assert calls.rules.reason is None
    calls.fail(1)
    calls.rules.give_up()
    assert calls.rules.by_the_row
