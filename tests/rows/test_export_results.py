"""The export of a run: a result of db.py, and what becomes of the exports of quiet days."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sync.rows.export import export_results_to_csv, prune
from sync.rows.source import Column, Kind, ResultSet


def read(path: Path) -> list[list[str]]:
    """The cells of a file."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
def test_result_of_a_query(tmp_path: Path, count: int) -> None:
    """A result of db.py gives the file that its rows give as dicts; it knows its columns before the first row."""
    columns = [Column("id", Kind.INTEGER), Column("name", Kind.TEXT)]
    rows = [(number, f"=name {number}") for number in range(count)]
    released: list[bool] = []
    result = ResultSet(columns, rows, uses_since=False, release=lambda: released.append(True))
    assert export_results_to_csv(result, str(tmp_path / "result.csv")) == str(tmp_path / "result.csv")
    assert released

    if rows:
        export_results_to_csv(({"id": number, "name": name} for number, name in rows), str(tmp_path / "dicts.csv"))
        assert (tmp_path / "result.csv").read_bytes() == (tmp_path / "dicts.csv").read_bytes()
    assert read(tmp_path / "result.csv")[0] == ["id", "name"]
    assert len(read(tmp_path / "result.csv")) == count + 1


def test_rows_pass_through(tmp_path: Path) -> None:
    """Who wants the rows on their way sees each of them, and the file holds what is passed on."""
    result = ResultSet([Column("a", Kind.INTEGER)], [(1,), (2,)], uses_since=False, release=lambda: None)
    seen: list[Any] = []

    def doubled(rows: Iterable[Any]) -> Iterator[Any]:
        for (value,) in rows:
            seen.append(value)
            yield (value * 2,)

    export_results_to_csv(result.passed_through(doubled), str(tmp_path / "out.csv"))
    assert seen == [1, 2]
    assert read(tmp_path / "out.csv") == [["a"], ["2"], ["4"]]


def exports(folder: Path, *contents: str) -> list[Path]:
    """Exports of one sync with these contents, the oldest first."""
    paths = [folder / f"query_results_2026010{number}_120000.csv" for number in range(1, len(contents) + 1)]
    for number, (path, content) in enumerate(zip(paths, contents, strict=True)):
        path.write_text(content)
        os.utime(path, (1_000_000 + number, 1_000_000 + number))
    return paths


@pytest.mark.parametrize(
    ("contents", "keep", "left"),
    [
        (["a", "b", "b"], 100, [0, 2]),
        (["a", "b", "b"], 2, [0, 2]),
        (["a", "b", "b"], 1, [2]),
        (["a", "a", "b"], 100, [0, 1, 2]),
        (["a", "b", "a"], 100, [0, 1, 2]),
        (["b", "c"], 100, [0, 1]),
        (["b", "b"], 0, [0, 1]),
        (["b"], 100, [0]),
        ([], 100, []),
    ],
)
def test_quiet_days_push_out_no_changes(tmp_path: Path, contents: list[str], keep: int, left: list[int]) -> None:
    """An export that is byte for byte the one before takes its place; where all are kept, both stay."""
    paths = exports(tmp_path, *contents)
    prune(tmp_path, keep)
    assert [path for path in paths if path.exists()] == [paths[number] for number in left]
