"""Every way in which the stand-in fails on purpose."""

from __future__ import annotations

import http.client
import json
import threading
import time

import pytest

from tests import faults as catalogue
from tests.faults import EVERY_FAULT, EVERY_GARBLED_FAULT, EVERY_JWT_FAULT, EVERY_REFUSAL, EVERY_TRANSIENT_FAULT
from tests.stand_in.answers import Request
from tests.stand_in.faults import Fault, at_random, on, scripted
from tests.stand_in.stand_in import StandIn
from tests.stand_in.tests.asking import (
    ANN,
    TRACK,
    UPDATE,
    event,
    send,
    update,
)


def outcome(iterable: StandIn, timeout: float = 2) -> tuple[int, bytes] | None:
    """Status and body of one update, None without a whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", iterable.port, timeout=timeout)
    headers = {"Api-Key": iterable.api_key, "Content-Type": "application/json"}
    try:
        connection.request("POST", UPDATE, json.dumps({"email": ANN}), headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
def test_every_fault_does_what_it_says(iterable: StandIn, fault: Fault) -> None:
    """Each fault gives its answer or none, applies or does not, and the next request is served again."""
    iterable.faults = scripted([fault])
    whole = not fault.silent and not fault.missing
    expected = (fault.answer.status, fault.answer.body) if fault.answer and whole else None

    patience = 0.03 if fault.ending is catalogue.Ending.HOLD else 2
    assert outcome(iterable, patience) == expected
    assert (ANN in iterable.profiles) is fault.applies
    assert iterable.requests[0].fault == fault.name
    after = outcome(iterable)
    assert after is not None
    assert after[0] == 200


def test_fault_names_tell_them_apart() -> None:
    """Each fault has a name of its own and stands in one list."""
    names = [str(fault) for fault in EVERY_FAULT]
    parts = (EVERY_TRANSIENT_FAULT, EVERY_GARBLED_FAULT, EVERY_REFUSAL, EVERY_JWT_FAULT)

    assert len(names) == len(set(names)) == sum(map(len, parts))


def test_reset_and_close_differ(iterable: StandIn) -> None:
    """One ends with RST, the other with FIN."""
    for fault, error in (
        (catalogue.RESET, ConnectionResetError),
        (catalogue.CLOSED, http.client.RemoteDisconnected),
    ):
        iterable.faults = scripted([fault])
        connection = http.client.HTTPConnection("127.0.0.1", iterable.port, timeout=2)
        connection.request("GET", "/api/lists")
        with pytest.raises(error) as caught:
            connection.getresponse()
        connection.close()
        assert caught.type is error


def test_constructed_faults(iterable: StandIn) -> None:
    """Redirections, late answers and bulk results of any content can be made to order."""
    iterable.faults = scripted(
        [catalogue.redirect(307, "http://elsewhere/"), catalogue.slow(0.01), catalogue.bulk_result(1, 0, x=[])]
    )
    redirected, late, bulk = (update(iterable) for _ in range(3))

    assert (redirected.status_code, redirected.headers["Location"]) == (307, "http://elsewhere/")
    assert late.ok
    assert late.elapsed.total_seconds() >= 0.01
    assert bulk.json() == {"successCount": 1, "failCount": 0, "x": []}
    assert iterable.writes[ANN] == 2


def test_random_faults_repeat() -> None:
    """The same seed gives the same faults in the same order, in about the share asked for."""
    request = Request("GET", "/", "", {}, b"", 0)

    def drawn(seed: int) -> list[Fault | None]:
        faults = at_random(seed, 0.2, EVERY_FAULT)
        return [faults(request) for _ in range(1000)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 150 < sum(fault is not None for fault in drawn(1)) < 250


def test_faults_for_one_path(iterable: StandIn) -> None:
    """A script on one path is not used up by requests to others."""
    iterable.faults = on(TRACK, scripted([catalogue.UNAVAILABLE]))

    assert update(iterable).ok
    assert send(iterable, TRACK, event()).status_code == 503
    assert send(iterable, TRACK, event()).ok


def test_reading_while_it_serves(iterable: StandIn) -> None:
    """What it saw can be read from another thread at any time."""
    thread = threading.Thread(target=lambda: [update(iterable, f"u{n}@example.com") for n in range(50)])
    thread.start()
    while thread.is_alive():
        counts, profiles = iterable.counts.total(), len(iterable.profiles)
        assert counts <= profiles
        time.sleep(0.001)
    thread.join()

    assert len(iterable.profiles) == len(iterable.requests) == iterable.writes.total() == 50
