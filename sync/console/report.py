"""What was done, as text: the summary for a person, the lines for cron, the history, and what `--verify` found."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sync.console.screen import warnings_on_screen
from sync.rows.masking import Masking
from sync.run.exit_codes import NO_SECRETS, ExitCode, exit_of
from sync.run.log import LineFormatter, on_this_clock, printable
from sync.run.settings import SettingsError
from sync.run.steps import Run
from sync.run.summary import OUTCOMES, Summary, pairs
from sync.run.verify import Verified, repair, verify
from sync.state.exchange import Counts
from sync.state.file import RunRecord


def print_summary(run: Run) -> None:
    """Print everything for a person who watches, only what went wrong for cron, and one JSON object for a program."""
    summary, log_file, is_watched = run.summary, str(run.settings.log_file), run.screen.lines is not None
    if run.options.json:
        print(json.dumps(summary.as_json()))
    if is_watched and not run.options.json:
        print(for_a_person(summary, log_file))
    elif summary.exit_code and not is_watched:
        print(for_cron(summary, log_file), file=sys.stderr)


def print_error(error: BaseException, masking: Masking = NO_SECRETS) -> int:
    """Print what ended a mode without a log, or came before there was one, and return its exit code."""
    code, sentence = exit_of(error, masking)
    if isinstance(error, SettingsError):
        listed = "".join(f"\n  - {problem}" for problem in error.problems)
        sentence = f"The settings cannot be used ({len(error.problems)} to fix):{listed}"
    print(sentence, file=sys.stderr)
    return code


def for_a_person(summary: Summary, log_file: str) -> str:
    """The summary at the end of a run at a terminal."""
    rows = [f"{'':10}{''.join(f'{word:>11}' for word in OUTCOMES)}"]
    for kind, counts in (("users", summary.users), ("events", summary.events)):
        rows.append(f"{kind:10}{''.join(f'{getattr(counts, word):>11,}' for word in OUTCOMES)}")
    facts = (
        ("rows read", f"{summary.rows:,}"),
        ("left the segment", f"{summary.left_segment:,}" if summary.left_segment else ""),
        ("addresses changed", f"{summary.moved:,}" if summary.moved else ""),
        ("second name missing", f"{summary.second_name_missing:,} users" if summary.second_name_missing else ""),
        ("requests", f"{summary.requests:,} in {summary.seconds:.1f} s"),
        ("retries", ", ".join(f"{status}: {count}" for status, count in sorted(summary.retries.items())) or "none"),
        ("retry settings", pairs(summary.retry_configuration, ", ")),
        ("authentication", "JWT for each user" if summary.auth == "jwt" else "API key"),
        ("CSV", summary.csv or "none was written"),
        ("rejected rows", summary.rejected_csv or ""),
        ("log", f"{log_file} (grep run={summary.run_id})"),
    )
    lines = ["", headline(summary), "", *rows, "", *(f"{name:17} {value}" for name, value in facts if value)]
    lines += ["", *(f"Needs attention: {sentence}" for sentence in summary.attention())]
    return "\n".join([*lines, f"Next: {next_step(summary)}", ""])


def headline(summary: Summary) -> str:
    """One sentence: what became of the run."""
    if summary.stopped_because:
        return f"STOPPED (exit code {summary.exit_code}): {summary.stopped_because}"
    if summary.exit_code:
        return f"FINISHED, BUT SOMETHING NEEDS ATTENTION (exit code {summary.exit_code})"
    sent = summary.users.delivered + summary.events.delivered + summary.left_segment + summary.moved
    return "DONE: everything pending was delivered" if sent else "DONE: nothing was pending"


def next_step(summary: Summary) -> str:
    """What to do next."""
    if summary.exit_code == ExitCode.LOCKED:
        return "nothing, if that run is only slow; if it hangs, end its process: the next run sends what is pending"
    if summary.stopped_because:
        return "fix the cause and run again; what was not sent is still pending"
    if summary.held_back:
        return "look at the source table; if these users should leave the segment, run once with --allow-mass-exit"
    if summary.newly_rejected():
        return "correct the rows at the source and run again; if you corrected the project, use --retry-rejected"
    if summary.users.failed + summary.events.failed:
        return "run again; the log says why each of them failed"
    return "nothing to do; run it from cron as often as you like"


def for_cron(summary: Summary, log_file: str) -> str:
    """Two or three lines for standard error: what, why, next step."""
    counts = "nothing was sent"
    if summary.rows or summary.requests:
        counts = f"users {_short(summary.users)}; events {_short(summary.events)}"
    lines = (
        f"iterable sync: exit code {summary.exit_code}, {counts}",
        f"why: {summary.cause}",
        f"next: {next_step(summary)}; details: grep run={summary.run_id} {log_file}",
    )
    return "\n".join(" ".join(line.split()) for line in lines)


# -- the history -------------------------------------------------------------------------------------------------

COLUMNS = ("start", "run", "sync", "seconds", "rows", *OUTCOMES, "exit code", "cause")
"""The columns of the history. Numbers are aligned to the right."""

NUMBERS = frozenset({"seconds", "rows", *OUTCOMES, "exit code"})


def history_table(runs: Sequence[RunRecord]) -> str:
    """The runs as a table, newest first; users and events are counted together, as in `3+3`."""
    if not runs:
        return "no run is on record"
    table = [COLUMNS, *(_history_row(run) for run in runs)]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS) - 1)]
    lines = [
        "  ".join(
            cell.rjust(width) if name in NUMBERS else cell.ljust(width)
            for name, cell, width in zip(COLUMNS, row, [*widths, 0], strict=True)
        )
        for row in table
    ]
    return "\n".join(line.rstrip() for line in [*lines, "counts are users+events; times are local"])


def _history_row(run: RunRecord) -> tuple[str, ...]:
    start, sync = on_this_clock(run.started), run.sync or "-"
    if run.summary is None:
        return start, run.id, sync, *["-"] * len(NUMBERS), "it was killed, or is still running"
    summary = run.summary
    counts = tuple(f"{summary['users'][word]}+{summary['events'][word]}" for word in OUTCOMES)
    seconds, rows, code = f"{summary['seconds']:.1f}", str(summary["rows"]), str(summary["exit_code"])
    return start, run.id, sync, seconds, rows, *counts, code, _cause(summary)


def _cause(summary: Mapping[str, Any]) -> str:
    """Why the exit code was not 0, on one line; runs of earlier versions have it only where they were stopped."""
    cause = summary.get("cause") or summary.get("stopped_because") or summary.get("held_back") or ""
    return printable(" ".join(cause.split()))


def _short(counts: Counts) -> str:
    return " ".join(f"{word}={getattr(counts, word)}" for word in OUTCOMES)


# -- what was read back ------------------------------------------------------------------------------------------

MOST_LINES = 20


def verify_and_tell(run: Run) -> int:
    """Compare, print what differs, and with `--repair` mark it as pending; return the exit code."""
    with warnings_on_screen(run.settings):
        verified = verify(run)
        if run.options.repair and verified.differing:
            repair(run, verified)
    for line in told(verified, LineFormatter("", run.settings.secrets().values())):
        print(line)
    return ExitCode.INCOMPLETE if verified.differing else ExitCode.DONE


def told(verified: Verified, formatter: LineFormatter) -> Iterator[str]:
    """The lines: differences, what became of them, and how many users are as they should be."""
    lines = [
        f"{user}: {one.field}: {'not found at Iterable' if one.is_absent else f'sent {one.sent}, found {one.found}'}"
        for user, one in verified.lines()
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
        yield "to send what differs again: run --verify all --repair, then a normal run"
    if not verified.compared:
        yield "nobody to compare: according to the state, no user at Iterable is as in the database now"
        return
    right = verified.compared - len(verified.differing)
    yield f"{right:,} of {verified.compared:,} users are the same at Iterable and in the database"
