"""The stop of a run, as many threads see it at once."""

from __future__ import annotations

import threading

from sync.delivery.stop import Stop


def test_nobody_goes_on_after_a_stop() -> None:
    """A wait that begins after the stop says so, though others wake up at the same moment and hold its lock."""
    stop, began = Stop(), threading.Barrier(9)
    late: list[bool] = []

    def waits() -> None:
        began.wait()
        stop.wait(60)
        late.extend(stop.wait(0) for _ in range(2_000))

    threads = [threading.Thread(target=waits) for _ in range(8)]
    for thread in threads:
        thread.start()
    began.wait()
    stop.set("enough")
    for thread in threads:
        thread.join()

    assert stop.is_set()
    assert all(late) and len(late) == 16_000
