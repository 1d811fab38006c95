"""The stop of a run, as many threads see it at once."""

from __future__ import annotations

from sync.delivery.stop import Stop


def test_nobody_goes_on_after_a_stop() -> None:
    """A wait that begins after the stop says so, also while somebody else who wakes up holds the lock for a moment."""
    stop = Stop()
    assert not stop.wait(0)
    stop.set("enough")
    assert stop.wait(0)
    stop._goes_on.acquire()
    assert stop.is_set() and stop.wait(0)
