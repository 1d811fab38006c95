"""`--history`: the runs that the state has on record."""

from __future__ import annotations

import sys
from pathlib import Path

from sync.console.report import history_table
from sync.run.exit_codes import ExitCode
from sync.state.file import StateError, read_history


def show_history(state_file: Path, count: int) -> int:
    """Print the last `count` runs, newest first."""
    try:
        print(history_table(read_history(state_file, count)))
    except StateError as error:
        print(error, file=sys.stderr)
        return ExitCode.STOPPED
    return ExitCode.DONE
