"""`--history`: the runs that the state has on record."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from sync.console.report import history_table
from sync.run.exit_codes import ExitCode
from sync.state.file import State, StateError


def show_history(state_file: Path, count: int) -> int:
    """Print the last `count` runs, newest first."""
    try:
        with closing(State(state_file, writable=False)) as state:
            print(history_table(state.history(count)))
    except StateError as error:
        print(error, file=sys.stderr)
        return ExitCode.STOPPED
    return ExitCode.DONE
