"""The demonstration: the real run on the embedded sample database, against the demo's server on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from sync.demo.sample_database import sample_database
from sync.run.lock import LockedError, run_lock
from sync.run.setting_values import HOME
from sync.run.settings import Options, load_settings
from sync.run.steps import Run, Screen

OUTPUT = HOME / "demo_output"


def _forget_the_last_demo() -> None:
    """Remove the state; not the lock, which stays for ever, and nothing at all while another demo runs under it."""
    with suppress(LockedError), run_lock(OUTPUT / "demo_state.sqlite3.lock"):
        for old in OUTPUT.glob("demo_state.sqlite3*"):
            if old.suffix != ".lock":
                old.unlink(missing_ok=True)


@contextmanager
def demonstration(options: Options, screen: Screen) -> Iterator[Run]:
    """A demo run, with its server running. The demo starts from nothing each time, so that it shows everything."""
    from sync.demo.server import API_KEY, demo_server  # only a demo needs to load a server

    OUTPUT.mkdir(mode=0o700, exist_ok=True)
    _forget_the_last_demo()
    print(
        "This is a demo: the real program on a sample database in memory. It sends to a small server on this machine,\n"
        "which answers as Iterable does, and fails the third call on purpose. Nothing leaves the machine.\n"
        f"The files are in {OUTPUT.name}/.",
        file=sys.stderr,
    )
    with demo_server() as url:
        settings = load_settings(
            Path(os.devnull),
            {
                "DB_USER": "demo",
                "DB_NAME": "sample",
                "ITERABLE_API_KEY": API_KEY,
                "ITERABLE_API_BASE_URL": url,
                "ITERABLE_BULK": str(options.bulk).lower(),
                "INITIAL_BACKOFF": "0.5",
                "CSV_DIR": str(OUTPUT),
                "STATE_FILE": str(OUTPUT / "demo_state.sqlite3"),
                "LOG_FILE": str(OUTPUT / "demo.log"),
            },
            options.csv,
        )
        source = partial(sample_database, HOME / "schema.sql", HOME / "seed.sql")
        yield Run(settings, options, screen, source, "the sample database (schema.sql, seed.sql)")
    print("For a real run: cp .env.example .env, fill it in, then python3 main.py --check", file=sys.stderr)
