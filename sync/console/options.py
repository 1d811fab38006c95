"""The command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sync.run.settings import Options

VERSION = "1.0.0"

EPILOG = (
    "Exit codes: 0 done, 1 stopped, 2 usage or settings, 3 finished with open ends, 4 locked, "
    "129, 130, 143 interrupted."
)


EVERYBODY = 2**62
"""What `all` means: more than there can be."""

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
"""Flags that would do nothing beside another: whoever gives both means something else."""


def parse_options(argv: Sequence[str] | None) -> Options:
    """Parse and check `argv`; wrong usage ends the program with exit code 2, as argparse does."""
    parser = _parser()
    options = Options(**vars(parser.parse_args(argv)))
    for flag, useless in USELESS.items():
        for other in useless:
            if _given(options, flag) and _given(options, other):
                parser.error(f"{other} cannot go with {flag}: it would do nothing there")
    if options.repair and not options.verify:
        parser.error("--repair goes with --verify: it lets what differs be sent again")
    return options


def _given(options: Options, flag: str) -> bool:
    return getattr(options, flag[2:].replace("-", "_")) not in (None, False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="main.py",
        description="Bring the result of one SQL query into an Iterable project: a profile and an event for each user.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--demo", action="store_true", help="run on a sample database against a server of its own; needs no .env")
    add("--check", action="store_true", help="check settings, database, query, state, credentials; send no data")
    add("--dry-run", action="store_true", help="print the exact requests as JSON lines; send and write nothing")
    add("--since", type=_since, metavar="WHEN", help="the value of :since, such as 2026-01-06 or 7d")
    add("--limit", type=_positive, metavar="N", help="read at most N rows of the query; nobody leaves the segment")
    add("--full", action="store_true", help="deliver everything, also what is unchanged or was rejected before")
    add("--retry-rejected", action="store_true", help="send again what was rejected before")
    add("--bulk", action="store_true", help="use users/bulkUpdate and events/trackBulk")
    add("--allow-mass-exit", action="store_true", help="let more than half of a segment leave it in one run")
    add("--new-event-ids", action="store_true", help="let a run through that would give events a new id")
    add("--same-project", action="store_true", help="after a new key or base URL: go on with what is on record")
    add("--new-project", action="store_true", help="after a new key or base URL: start anew beside it")
    add("--csv", type=Path, metavar="FILE", help="the CSV's name instead of query_results_YYYYMMDD_HHMMSS.csv")
    add("--history", type=_positive, nargs="?", const=10, metavar="N", help="print the last N runs (default 10)")
    compared = "read N users back from Iterable (default 100; all) and compare them with the database; send nothing"
    add("--verify", type=_number_or_all, nargs="?", const=100, metavar="N", help=compared)
    add("--repair", action="store_true", help="with --verify: what differs is pending again, and the next run sends it")
    add("--json", action="store_true", help="print the summary as one JSON object on standard output")
    add("--env-file", type=Path, metavar="FILE", help="settings from FILE instead of .env beside main.py")
    add("--version", action="version", version=f"%(prog)s {VERSION}")
    return parser


def _positive(text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999999")
    return int(text)


def _number_or_all(text: str) -> int:
    return EVERYBODY if text == "all" else _positive(text)


def _since(text: str) -> datetime | timedelta:
    """A day or moment without a zone (it is in DB_TIMEZONE), or a length of time before now."""
    if match := re.fullmatch(r"([0-9]{1,5})([dhm])", text):
        return timedelta(**{{"d": "days", "h": "hours", "m": "minutes"}[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    if not 1000 <= moment.year <= 9998:  # what a DATETIME holds, in every time zone
        raise argparse.ArgumentTypeError(f"{text!r} is neither a date such as 2026-01-06 nor a length such as 7d")
    return moment
