"""Two runs that choose one name for their export."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.run import steps
from tests.harness import World
from tests.sample_rows import person


def test_second_run_of_a_second(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The later one gets a number, says so in its summary and log, and its rejected rows are its own."""
    monkeypatch.setattr(steps, "timestamped_name", lambda *_: "query_results_20260113_143122.csv")
    summaries = []
    for number in (1, 2):
        world.rows = [person(number, email=f"nobody {number}")]
        summaries.append(world.run())

    assert [Path(str(told.csv)).name for told in summaries] == [
        "query_results_20260113_143122.csv",
        "query_results_20260113_143122_2.csv",
    ]
    for number, told in enumerate(summaries, 1):
        assert f"Exported 1 records to CSV: {told.csv}" in world.log()
        assert f"nobody {number}" in Path(str(told.csv)).read_text()
        assert f"nobody {number}" in Path(str(told.rejected_csv)).read_text()
