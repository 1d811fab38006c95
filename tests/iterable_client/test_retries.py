"""Whether a call is tried again, how long that is waited for, and how often."""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from iterable_client import MAX_BACKOFF, IterableClient
from sync.api.answers import RETRYABLE_STATUSES, Verdict
from tests import faults as catalogue
from tests.iterable_client.helpers import (
    ANN,
    NoJitter,
    Waits,
    client_of,
    lines,
    update,
)
from tests.iterable_client.serving import sending, serving
from tests.stand_in.answers import Answer
from tests.stand_in.faults import Fault, scripted
from tests.stand_in.stand_in import StandIn

LADDER = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, MAX_BACKOFF, MAX_BACKOFF]


@pytest.mark.parametrize("status", range(100, 600))
def test_retry_table(status: int) -> None:
    """Six statuses may pass; every other one of 100 to 599 would be answered again."""
    assert IterableClient("key")._is_retryable(status) is (status in {408, 429, 500, 502, 503, 504})


@pytest.mark.parametrize(
    "status",
    [*sorted(RETRYABLE_STATUSES), 201, 204, 301, 400, 401, 402, 403, 404, 405, 409, 410, 413, 418, 422, 501, 505],
)
def test_loop_follows_the_table(iterable: StandIn, status: int) -> None:
    """Three requests for a status of the table, one for any other."""
    body = b"" if status == 204 else b"busy"
    iterable.faults = lambda _: catalogue.raw(str(status), status, body, "text/plain")
    waits = Waits()

    result = update(client_of(iterable, waits))

    expected = 3 if status in RETRYABLE_STATUSES else 1
    assert (len(iterable.requests), result.attempts, len(waits)) == (expected, expected, expected - 1)


def test_is_retryable_decides_in_the_loop(iterable: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table that `_is_retryable` tells is the one that the loop follows."""
    client = client_of(iterable)
    monkeypatch.setattr(client, "_is_retryable", lambda _: False)
    iterable.faults = scripted([catalogue.SERVER_ERROR])

    assert update(client).attempts == 1


def test_backoff_ladder() -> None:
    """With the defaults: 1, 2, 4, ... seconds, up to ten minutes; attempts are counted from 0."""
    client = IterableClient("key", rng=NoJitter())

    assert [client._calculate_backoff(attempt) for attempt in range(12)] == LADDER


def test_backoff_follows_its_settings() -> None:
    """initial_backoff x backoff_factor ^ attempt."""
    client = IterableClient("key", initial_backoff=0.5, backoff_factor=3, rng=NoJitter())

    assert [client._calculate_backoff(attempt) for attempt in range(5)] == [0.5, 1.5, 4.5, 13.5, 40.5]


def test_jitter_is_ten_per_cent_either_way() -> None:
    """Waits differ, within 10 % of the ladder, and use that room."""
    client = IterableClient("key", rng=random.Random(1))
    drawn = [client._calculate_backoff(2) for _ in range(500)]

    assert 3.6 <= min(drawn) < 3.65 and 4.35 < max(drawn) <= 4.4
    assert len(set(drawn)) > 400


@pytest.mark.parametrize(("initial", "factor"), [(1.0, 2.0), (1, 2), (0.5, 10), (1, 1.5)])
def test_attempt_2000_does_not_overflow(initial: float, factor: float) -> None:
    """However many attempts somebody asks for, the wait is a number."""
    client = IterableClient("key", initial_backoff=initial, backoff_factor=factor, max_retries=2001)

    assert MAX_BACKOFF * 0.9 <= client._calculate_backoff(2000) <= MAX_BACKOFF * 1.1


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        pytest.param("30", 30, id="longer than the backoff"),
        pytest.param("120", 120, id="the longest"),
        pytest.param("1", 2, id="shorter"),
        pytest.param("3.5", 4, id="a fraction"),
        pytest.param("0", 2, id="none"),
        pytest.param("-30", 2, id="negative"),
        pytest.param("soon", 2, id="junk"),
        pytest.param("", 2, id="empty"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 GMT", 2, id="a date in the past"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_counts_when_it_is_longer(iterable: StandIn, header: str, wait: float, status: int) -> None:
    """The longer of backoff and Retry-After; what is no time is ignored."""
    answer = Answer(status, b"", "text/plain", (("Retry-After", header),))
    iterable.faults = scripted([Fault("asks to wait", answer)])
    waits = Waits()

    assert update(client_of(iterable, waits, initial_backoff=2.0)).verdict is Verdict.ACCEPTED
    assert waits == [wait]


def test_retry_after_can_be_a_date(iterable: StandIn) -> None:
    """An HTTP date is the time until then."""
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    iterable.faults = scripted([catalogue.rate_limited(moment)])
    waits = Waits()

    assert update(client_of(iterable, waits)).verdict is Verdict.ACCEPTED
    assert 50 < waits[0] <= 60


@pytest.mark.parametrize("year", [2015, 2035])
def test_a_date_counts_from_the_servers_time(year: int) -> None:
    """However wrong this machine's clock is, 40 seconds after the server's own `Date` are 40 seconds."""
    date, until = (
        format_datetime(datetime(year, 10, 21, 7, 28, second, tzinfo=UTC), usegmt=True) for second in (5, 45)
    )
    busy = f"HTTP/1.1 503 Busy\r\nDate: {date}\r\nRetry-After: {until}\r\nContent-Length: 0\r\n\r\n"
    waits = Waits()
    with serving(sending(busy.encode(), b"")) as server:
        client = IterableClient("key", base_url=f"http://127.0.0.1:{server.port}", sleep=waits, max_retries=2)
        update(client)
        client.close()

    assert waits == [40]


@pytest.mark.parametrize("header", ["121", "3600", "9" * 400])
@pytest.mark.parametrize("max_retries", [1, 3])
def test_wait_of_more_than_two_minutes_is_not_waited(iterable: StandIn, header: str, max_retries: int) -> None:
    """A longer Retry-After stops the run: its own verdict after one request, and no wait."""
    iterable.faults = scripted([catalogue.rate_limited(header)] * 3)
    waits = Waits()

    success, data = result = update(client_of(iterable, waits, max_retries=max_retries))

    assert (success, result.verdict, result.attempts, waits) == (False, Verdict.WAIT_TOO_LONG, 1, [])
    assert data["status"] == 429
    assert "more than 120 s" in data["error"]


def test_retry_after_of_a_refusal_is_ignored(iterable: StandIn) -> None:
    """Only what may pass is waited for."""
    answer = catalogue.BAD_PARAMS.answer
    assert answer
    iterable.faults = scripted([Fault("refused", answer._replace(headers=(("Retry-After", "3600"),)))])

    assert update(client_of(iterable)).verdict is Verdict.REJECTED


def test_one_call_when_it_is_answered(iterable: StandIn) -> None:
    """What is answered at once costs one request and no wait."""
    waits = Waits()
    result = update(client_of(iterable, waits))

    assert (len(iterable.requests), result.attempts, result.retried, waits) == (1, 1, (), [])


@pytest.mark.parametrize("failures", [1, 2, 3, 4])
def test_recovers_after_some_failures(iterable: StandIn, failures: int) -> None:
    """The attempt that is accepted is the last; what the others met is told."""
    iterable.faults = scripted([catalogue.UNAVAILABLE] * failures)
    waits = Waits()

    result = update(client_of(iterable, waits, max_retries=5))

    assert (result.verdict, result.attempts) == (Verdict.ACCEPTED, failures + 1)
    assert result.retried == ("503",) * failures
    assert waits == LADDER[:failures]


@pytest.mark.parametrize("max_retries", [0, 1, 2, 3, 7])
def test_gives_up_after_max_retries(iterable: StandIn, max_retries: int) -> None:
    """`max_retries` counts attempts, at least one is made, and nobody waits after the last."""
    iterable.faults = lambda _: catalogue.UNAVAILABLE
    waits = Waits()

    success, data = result = update(client_of(iterable, waits, max_retries=max_retries))

    attempts = max(1, max_retries)
    assert (success, result.attempts, len(iterable.requests)) == (False, attempts, attempts)
    assert waits == LADDER[: attempts - 1]
    assert data == {"error": "Max retries exceeded", "status": 503, "code": None, "reason": "503 with an empty body"}


def test_settings_count_when_assigned_later(iterable: StandIn) -> None:
    """`max_retries`, `initial_backoff` and `backoff_factor` may be assigned after construction."""
    iterable.faults = lambda _: catalogue.UNAVAILABLE
    waits = Waits()
    client = client_of(iterable, waits)

    client.max_retries, client.initial_backoff, client.backoff_factor = 4, 0.1, 10.0

    assert update(client).attempts == 4
    assert waits == pytest.approx([0.1, 1.0, 10.0])


def test_wait_can_be_interrupted(iterable: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """A run that is told to stop while a client waits: no further request, and nothing is counted as repeated."""
    iterable.faults = lambda _: catalogue.UNAVAILABLE
    caplog.set_level(logging.DEBUG)

    success, data = result = update(client_of(iterable, Waits(interrupted=True)))

    assert (success, result.verdict, result.attempts, result.retried) == (False, Verdict.INTERRUPTED, 1, ())
    assert data["error"] == "the run was stopped"
    assert len(iterable.requests) == 1
    assert lines(caplog)[-1] == f"users/update call given up: the run is stopping email={ANN}"
