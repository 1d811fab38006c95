"""The threads that do the work: as many as the system starts."""

from __future__ import annotations

import threading

import pytest

from sync.delivery.rules import StopRules
from sync.delivery.stop import Stop
from sync.delivery.work import Gate
from sync.delivery.workers import NoThreadError, Workers


@pytest.mark.parametrize("most", [0, 2])
def test_a_system_that_starts_no_more_threads(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, most: int
) -> None:
    """Those that were started do the work, with a warning; without any the run cannot go on. Both say what to do."""
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if len(started) == most:
            raise RuntimeError("can't start new thread")
        started.append(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    stop = Stop()
    workers = Workers(lambda _: None, Gate(StopRules(), stop, lambda: 0.0), stop)
    if most:
        workers.start(5)
        told = caplog.text
        assert workers.have_room
    else:
        with pytest.raises(NoThreadError) as refused:
            workers.start(5)
        told = str(refused.value)
    assert f"Only {most} of 5 workers can be started (can't start new thread): raise the limit" in told
