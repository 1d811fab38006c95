"""Rows are written to the CSV in groups: nothing that is beside a row changes it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.rows.export import CsvExport, export_results_to_csv
from tests.examples import examples
from tests.rows.test_export import read

CELLS = st.one_of(
    st.none(),
    st.integers(),
    st.binary(max_size=3),
    st.datetimes(),
    st.timedeltas(),
    st.text(alphabet='aé/(=+-@ \t\r\n\0,"\u200b\uff1d\ud800', max_size=3),
)


@examples(60)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_rows_written_together(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, object]]) -> None:
    """Whatever is beside a row: it becomes what it becomes alone, and each is counted."""
    folder = tmp_path_factory.mktemp("together")
    with CsvExport(folder / "together.csv", "ab") as together:
        together.write_all(rows)
    with CsvExport(folder / "alone.csv", "ab") as alone:
        for row in rows:
            alone.write_all([row])
    assert together.count == alone.count == len(rows)
    assert read(folder / "together.csv") == read(folder / "alone.csv")


@pytest.mark.parametrize("place", range(4))
def test_one_formula_among_harmless_values(tmp_path: Path, place: int) -> None:
    """Rows are looked at together, and the one value that needs it is found wherever it is."""
    row: dict[str, Any] = {"a": "Ann", "b": 7, "c": None, "d": "x"}
    row["abcd"[place]] = "=1+1"
    path = tmp_path / "out.csv"
    export_results_to_csv([row], str(path))
    with path.open(newline="") as file:
        assert list(csv.reader(file))[1][place] == "'=1+1"
