"""The CSV: whole or absent, readable, harmless."""

from __future__ import annotations

import csv
import errno
import logging
import os
import stat
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.rows.export import SAMPLE_COLUMNS, CsvExport, ExportError, export_results_to_csv, prune, timestamped_name
from tests.examples import examples


def names_in(folder: Path) -> list[str]:
    """Return the names of all files, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def read(path: str | Path) -> list[list[str]]:
    """Return header and rows as a reader of the file finds them."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def cell(value: object, folder: Path) -> str:
    """Return what a spreadsheet finds for one value."""
    path = folder / "cell.csv"
    export_results_to_csv([{"before": 1, "x": value}], str(path))
    return read(path)[1][1]


# -- whole or not at all -------------------------------------------------------------------------------------


def test_failing_query_leaves_nothing(tmp_path: Path) -> None:
    """A query that fails half-way leaves no file, and an older one as it was."""
    target = tmp_path / "out.csv"
    target.write_text("older")

    def rows() -> Iterator[dict[str, Any]]:
        yield {"a": 1}
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        export_results_to_csv(rows(), str(target))
    assert target.read_text() == "older"
    assert names_in(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("call", ["fsync", "flush"])
def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A disk that is full at the very end is an error, not half a file."""

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"), CsvExport(tmp_path / "out.csv", ["a"]) as export:
        export.write_all([[1]])
        if call == "fsync":
            monkeypatch.setattr("os.fsync", full)
        else:
            monkeypatch.setattr(export, "write_all", full)
            export.write_all([[2]])
    assert names_in(tmp_path) == []


def test_really_full_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that is still buffered when the disk is full neither hangs nor hides the error."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    part = tmp_path / ".out.csv.x.part"
    part.touch()
    monkeypatch.setattr("tempfile.mkstemp", lambda **_kwargs: (os.open("/dev/full", os.O_WRONLY), str(part)))
    with pytest.raises(OSError, match="No space left"):
        export_results_to_csv([{"a": 1}], str(tmp_path / "out.csv"))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"a": 1}, "'a', and"),
        ({"a": 1, "b": 2, "c": 3}, "'a', 'b', 'c', and"),
        ({"a": 1, "c": 3}, "'a', 'c', and"),
        ({}, ", and"),
    ],
    ids=str,
)
def test_row_of_other_columns(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    """A row that does not fit the header is named, and nothing is left behind."""
    with pytest.raises(ValueError, match=r"row 2 has the columns .*, and the header of the CSV 'a', 'b'") as caught:
        export_results_to_csv([{"a": 1, "b": 2}, row], str(tmp_path / "out.csv"))
    assert words in str(caught.value)
    assert names_in(tmp_path) == []


def test_missing_folder(tmp_path: Path) -> None:
    """A folder that does not exist is said in a sentence that names the file."""
    with pytest.raises(ExportError, match=r"nowhere/out.csv cannot be written \(No such file or directory\)"):
        export_results_to_csv([{"a": 1}], str(tmp_path / "nowhere" / "out.csv"))


def test_folder_and_device_are_no_files(tmp_path: Path) -> None:
    """What is not a file is never replaced by one."""
    with pytest.raises(ExportError, match="is not a file"):
        export_results_to_csv([{"a": 1}], str(tmp_path))
    with pytest.raises(ExportError, match="is not a file"):
        export_results_to_csv([{"a": 1}], "/dev/null")


def test_file_appears_at_the_end(tmp_path: Path) -> None:
    """While it is written, the file is hidden; it is private from its first byte."""
    path = tmp_path / "out.csv"
    with CsvExport(path, ["a"]) as export:
        export.write_all([[1]])
        (part,) = tmp_path.iterdir()
        assert part.name.startswith(".out.csv.")
        assert part.name.endswith(".part")
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
    assert names_in(tmp_path) == ["out.csv"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (export.path, export.count) == (path, 1)


# -- header, names, log --------------------------------------------------------------------------------------


def test_no_rows_have_a_header(tmp_path: Path) -> None:
    """An empty iterable is a file with a header, that of the sample; that of a query has its columns."""
    path = str(tmp_path / "out.csv")
    export_results_to_csv(iter([]), path)
    assert read(path) == [list(SAMPLE_COLUMNS)]


def test_path_is_returned_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative name counts from the current folder; without one the time makes it."""
    monkeypatch.chdir(tmp_path)
    assert export_results_to_csv([{"a": 1}], "out.csv") == "out.csv"
    name = export_results_to_csv(row for row in [{"a": 1}])
    assert name.startswith("query_results_")
    assert names_in(tmp_path) == ["out.csv", name]


def test_timestamped_name_is_free(tmp_path: Path) -> None:
    """A second export in the same second gets a name of its own."""
    now = datetime(2026, 1, 13, 14, 31, 22)
    names = []
    for _ in range(3):
        names.append(timestamped_name(now, tmp_path))
        (tmp_path / names[-1]).touch()
    stem = "query_results_20260113_143122"
    assert names == [f"{stem}.csv", f"{stem}_2.csv", f"{stem}_3.csv"]


def test_log_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log has one sentence for a complete export, and none for another."""
    caplog.set_level(logging.INFO)
    path = str(tmp_path / "out.csv")
    export_results_to_csv([{"a": 1}, {"a": 2}], path)
    with pytest.raises(ValueError, match="row 2"):
        export_results_to_csv([{"a": 1}, {}], str(tmp_path / "bad.csv"))
    assert [record.getMessage() for record in caplog.records] == [f"Exported 2 records to CSV: {path}"]


# -- cells ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "=cmd|'/c calc'!A0",
        "+cmd()",
        "-cmd()",
        "@SUM(A1)",
        " =1+1",
        "\u00a0=1+1",
        "\ufeff=1+1",
        "\0=1+1",
        "\t=1",
        "\tharmless",
        "\r=1",
        "\nharmless",
        "\uff1dcmd()",
        "\uff0bcmd()",
        "\uff0dcmd()",
        "\uff20cmd()",
        "-5+cmd()",
        "+1 (555) =1",
        "-",
        "=",
        "--5",
    ],
)
def test_formula_is_neutralised(tmp_path: Path, text: str) -> None:
    """Text that a spreadsheet would run is text there, in cells and in the header."""
    assert cell(text, tmp_path) == f"'{text}"
    path = tmp_path / "header.csv"
    export_results_to_csv([{text: 1, "b": 2}], str(path))
    assert read(path)[0] == [f"'{text}", "b"]


@pytest.mark.parametrize(
    "text",
    ["-5", "+3.50", "-1e5", "-1,234.50", "+5%", " -5", "+1 (555) 123-4567", "+49 30 1234", "a=b", "'=1", "", "5-3"],
)
def test_harmless_text_is_left_alone(tmp_path: Path, text: str) -> None:
    """Signed numbers and phone numbers stay what they are."""
    assert cell(text, tmp_path) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (-5, "-5"),
        (2**64, str(2**64)),
        (0.1, "0.1"),
        (Decimal("-12.50"), "-12.50"),
        (datetime(2026, 1, 6, 14, 31, 22), "2026-01-06 14:31:22"),
        (datetime(2026, 1, 6, 14, 31, 22, 5), "2026-01-06 14:31:22.000005"),
        (datetime(33, 1, 6, tzinfo=UTC), "0033-01-06 00:00:00+00:00"),
        (date(2026, 1, 6), "2026-01-06"),
        (timedelta(hours=-30, minutes=-5), "-30:05:00"),
        (b"\x00\xff", "0x00ff"),
        ((1, 2), "(1, 2)"),
        ("\ud83d", "\\ud83d"),
    ],
    ids=str,
)
def test_cell(tmp_path: Path, value: object, expected: str) -> None:
    """Every type that a database gives has one plain form."""
    assert cell(value, tmp_path) == expected


@examples(60)
@given(rows=st.lists(st.fixed_dictionaries({"a": st.text(), "b": st.text() | st.none()}), min_size=1, max_size=5))
def test_any_text_reads_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    """Quotes, line breaks, NUL and every script read back; at most an apostrophe was put before."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    export_results_to_csv(rows, str(path))
    header, *lines = read(path)
    for row, cells in zip(rows, lines, strict=True):
        for name, found in zip(header, cells, strict=True):
            text = row[name] or ""
            assert found in (text, f"'{text}")
            if found[:1] != "'":
                assert found[:1] not in ("=", "@", "\t", "\r", "\n")


def test_rows_are_not_kept(tmp_path: Path) -> None:
    """Memory does not grow with the number of rows."""

    def peak(count: int) -> int:
        tracemalloc.start()
        export_results_to_csv(({"a": "x" * 500, "n": n} for n in range(count)), str(tmp_path / "out.csv"))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(100)
    assert peak(5_000) < peak(500) + 100_000


# -- pruning -------------------------------------------------------------------------------------------------


def export(second: int) -> str:
    """The name of an export."""
    return f"query_results_20260106_12000{second}.csv"


def test_prune_keeps_the_newest(tmp_path: Path) -> None:
    """The oldest exports go; another sync's and other files, and everything when 0 are to be kept, stay."""
    for age, name in enumerate(
        [export(3), export(1), export(2), "query_results_orders_20260106_120000.csv", "mine.csv"]
    ):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (1_000_000 - age, 1_000_000 - age))
    assert prune(tmp_path, 0) == []
    assert prune(tmp_path, 5) == []
    assert [path.name for path in prune(tmp_path, 1)] == [export(2), export(1)]
    assert names_in(tmp_path) == ["mine.csv", export(3), "query_results_orders_20260106_120000.csv"]


def test_prune_removes_what_crashed_runs_left(tmp_path: Path) -> None:
    """A temporary file that nobody wrote to for a day goes, once an export is complete; one of today stays."""
    for name, day in ((f".{export(1)}.abc.part", 0), (f".{export(1)}.new.part", 2), (".other.part", 0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (86400 * day, 86400 * day))
    assert prune(tmp_path, 0) == []
    (tmp_path / export(2)).touch()
    os.utime(tmp_path / export(2), (86400 * 2 + 1, 86400 * 2 + 1))
    assert [path.name for path in prune(tmp_path, 0)] == [f".{export(1)}.abc.part"]
    assert names_in(tmp_path) == [".other.part", f".{export(1)}.new.part", export(2)]
