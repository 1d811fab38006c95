"""`--verify`: what was read back, a line each difference, and a last line that anybody understands."""

from __future__ import annotations

from collections.abc import Iterator

from sync.console.screen import print_error, warnings_on_screen
from sync.run.differences import Verified, refuse_key_with_jwt, repair, verify
from sync.run.exit_codes import ExitCode
from sync.run.log import LineFormatter
from sync.run.steps import Run

MOST_LINES = 20


def verify_and_tell(run: Run, count: int, *, and_repair: bool) -> int:
    """Compare, print what differs, and with `and_repair` let it be pending again; the exit code."""
    refuse_key_with_jwt(run.settings)
    try:
        with warnings_on_screen(run.settings):
            verified = verify(run, count)
            if and_repair and verified.differing:
                repair(run, verified)
    except Exception as error:
        return print_error(error, run.settings)
    for line in told(verified, LineFormatter("", run.settings.secrets().values())):
        print(line)
    return ExitCode.INCOMPLETE if verified.differing else ExitCode.DONE


def told(verified: Verified, formatter: LineFormatter) -> Iterator[str]:
    """The lines: differences, what became of them, and how many users are as they should be."""
    lines = [
        f"{user}: {difference.field}: sent {difference.sent}, found {difference.found}"
        for user, difference in verified.lines()
    ]
    yield from map(formatter.clean, lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"... and {len(lines) - MOST_LINES:,} more"
    if verified.csv:
        yield f"all differences: {verified.csv}"
    if verified.pending:
        yield f"not compared: {verified.pending:,} users with something pending; the next run sends it"
    if verified.repaired:
        yield f"pending again: {verified.repaired:,} users; the next run sends what differs"
    elif verified.differing:
        yield "to send what differs again: --verify --repair, and then a run"
    if not verified.compared:
        yield "nobody to compare: by the state, Iterable has no user as the database has him now"
        return
    right = verified.compared - len(verified.differing)
    yield f"{right:,} of {verified.compared:,} users are at Iterable as in the database"
