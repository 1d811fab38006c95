"""The command line: its parser, and which flags cannot go together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields

from sync.run.settings import Options

VERSION = "1.1.0"

EPILOG = (
    "Exit codes: 0 done, 1 stopped, 2 usage or settings, 3 finished with something to look at, 4 another run is still "
    "going, 129, 130, 143 interrupted."
)


_MODES = ("--demo", "--check", "--dry-run", "--history", "--verify")
_SENDING = ("--full", "--retry-rejected", "--allow-mass-exit", "--csv")
_DECIDING = ("--new-event-ids", "--same-project", "--new-project")
USELESS = {
    "--demo": (*_MODES[1:], *_DECIDING, "--env-file"),
    "--check": (*_MODES[2:], *_SENDING, *_DECIDING, "--limit", "--json"),
    "--dry-run": (*_MODES[3:], "--csv", "--json"),
    "--history": (*_MODES[4:], *_SENDING, *_DECIDING, "--since", "--limit", "--bulk", "--json"),
    "--verify": (*_SENDING, *_DECIDING, "--json"),
    "--new-project": ("--same-project",),
    "--full": ("--retry-rejected",),
    "--limit": ("--allow-mass-exit",),
    "--since": ("--allow-mass-exit",),
}
"""Flags that would have no effect beside another. Whoever gives both expects something else."""


def parse_options(argv: Sequence[str] | None) -> Options:
    """Parse and check `argv`; wrong usage ends the program with exit code 2, as argparse does."""
    parser = _parser()
    options = Options(**vars(parser.parse_args(argv)))
    for flag, useless in USELESS.items():
        for other in useless:
            if _given(options, flag) and _given(options, other):
                parser.error(f"{other} cannot be used with {flag}: leave one of them out")
    if options.repair and not options.verify:
        parser.error("--repair needs --verify: it marks what differs as pending, so that the next run sends it")
    return options


def _given(options: Options, flag: str) -> bool:
    return getattr(options, flag[2:].replace("-", "_")) not in (None, False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="main.py",
        description="Send the result of one SQL query to an Iterable project: a profile and an event for each user.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    for option in fields(Options):
        parser.add_argument(f"--{option.name.replace('_', '-')}", **option.metadata)
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    return parser
