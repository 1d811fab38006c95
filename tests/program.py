"""The program with its rows from a file instead of a database: `python -m tests.program rows.json`, for tests that
kill it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import main
from sync.rows.source import Row
from sync.run import connections
from tests.sample_rows import Rows


def _rows_of(path: str) -> Iterable[Row]:
    for row in json.loads(Path(path).read_text("utf-8")):
        yield {**row, "event_time": datetime.fromisoformat(row["event_time"])}


if __name__ == "__main__":
    read = list(_rows_of(sys.argv[1]))
    vars(connections)["connect"] = lambda _params: Rows(read)
    raise SystemExit(main.main(sys.argv[2:]))
