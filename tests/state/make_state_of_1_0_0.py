"""How `made_by_1_0_0.sqlite3` was made: by version 1.0.0's own code, in a checkout of it that has its test harness.

    git worktree add --detach FOLDER 438823b
    python tests/state/make_state_of_1_0_0.py FOLDER tests/state/made_by_1_0_0.sqlite3

Twelve users: ten delivered, user 11 rejected (forgotten), user 12 failed and still owed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RUN = """
import sqlite3, sys
from pathlib import Path
import pytest
from stand_in import UNAVAILABLE
from tests.harness import World, about
from tests.sample_rows import address, people
with pytest.MonkeyPatch.context() as patch:
    world = World(Path(sys.argv[1]), patch, WORKERS="1")
    world.rows = people(12)
    world.iterable.project.rules.forgotten.add(address(11))
    world.iterable.faults = about(address(12), UNAVAILABLE)
    print(world.run().as_json())
state = sqlite3.connect(Path(sys.argv[1], "state.sqlite3"))
state.execute("PRAGMA journal_mode=DELETE")
state.execute("VACUUM")
"""


def main(checkout: Path, target: Path) -> None:
    """Run 1.0.0 once over an empty folder, and keep its state."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", RUN, folder], cwd=checkout, check=True)
        shutil.copy(Path(folder, "state.sqlite3"), target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
