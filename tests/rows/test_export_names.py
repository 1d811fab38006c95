"""Two runs in one second: each export has a name of its own, and is read back as itself."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from sync.rows import export as export_module
from sync.rows.export import (
    CsvExport,
    export_rejected,
    export_results_to_csv,
    timestamped_name,
)

NOW = datetime(2026, 1, 13, 14, 31, 22)
STEM = "query_results_20260113_143122"


def names_in(folder: Path) -> list[str]:
    """All files, also hidden ones."""
    return sorted(path.name for path in folder.iterdir())


def started(folder: Path, value: int) -> CsvExport:
    """An export that is being written, under the name that is free now."""
    export = CsvExport(folder / timestamped_name(NOW, folder), ["a"])
    export.__enter__()
    export.write_all([[value]])
    return export


def test_exports_of_one_second(tmp_path: Path) -> None:
    """Of three exports that chose one name, each is there in the end, whole and private, and knows its name."""
    exports = [started(tmp_path, value) for value in range(3)]
    assert {export.path.name for export in exports} == {f"{STEM}.csv"}
    for export in exports:
        export.__exit__(None, None, None)

    assert [export.path.name for export in exports] == [f"{STEM}.csv", f"{STEM}_2.csv", f"{STEM}_3.csv"]
    assert names_in(tmp_path) == sorted(export.path.name for export in exports)
    assert [export.path.read_text().split() for export in exports] == [["a", str(value)] for value in range(3)]
    assert {export.path.stat().st_mode & 0o777 for export in exports} == {0o600}


def test_function_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that names its file itself replaces none either, and returns the name that the file got."""
    monkeypatch.chdir(tmp_path)
    taken = f"{STEM}.csv"
    monkeypatch.setattr(export_module, "timestamped_name", lambda _now: taken)
    (tmp_path / taken).write_text("of another program")

    assert export_results_to_csv([{"a": 1}]) == f"{STEM}_2.csv"
    assert (tmp_path / taken).read_text() == "of another program"


def test_a_name_with_a_time_stamp_replaces_none(tmp_path: Path) -> None:
    """Such a name is another run's export, even when somebody gives it."""
    path = tmp_path / f"{STEM}.csv"
    path.write_text("of another run")

    assert export_results_to_csv([{"a": 1}], str(path)) == str(tmp_path / f"{STEM}_2.csv")
    assert path.read_text() == "of another run"


def test_given_name_is_replaced(tmp_path: Path) -> None:
    """A name that somebody gave is that file's, over an older one."""
    path = tmp_path / "out.csv"
    path.write_text("old")

    export_results_to_csv([{"a": 1}], str(path))

    assert path.read_text().split() == ["a", "1"]


def test_rejected_rows_come_from_the_own_file(tmp_path: Path) -> None:
    """The rejected rows are read from the very file that was written; when another took its place, that is an error."""
    first, second = started(tmp_path, 1), started(tmp_path, 2)
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)

    statuses = [export.path.stat() for export in (first, second)]
    assert export_rejected(second.path, statuses[1], [(1, "no")], tmp_path / "rejected.csv") == 1
    assert (tmp_path / "rejected.csv").read_text().split() == ["a,rejected_reason", "2,no"]

    second.path.replace(first.path)
    with pytest.raises(FileNotFoundError, match="another file took the place of this export"):
        export_rejected(first.path, statuses[0], [(1, "no")], tmp_path / "rejected.csv")
