"""What a run did, told three ways: one log line, a summary for a person, one JSON object; and the history table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sync.run.exit_codes import ExitCode
from sync.state.file import RunRecord
from sync.state.owed import Counts

OUTCOMES = ("delivered", "unchanged", "rejected", "failed")


@dataclass
class Summary:
    """The counts and circumstances of one run."""

    run_id: str
    auth: str = "api_key"
    retry_configuration: Mapping[str, float] = field(default_factory=dict)
    exit_code: int = 0
    seconds: float = 0.0
    rows: int = 0
    users: Counts = field(default_factory=Counts)
    events: Counts = field(default_factory=Counts)
    left_segment: int = 0
    requests: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)
    csv: str | None = None
    stopped_because: str | None = None
    rejected_csv: str | None = None
    held_back: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The object of `--json` and of the state's history."""
        return {
            "run_id": self.run_id,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "rows": self.rows,
            "users": _outcomes(self.users),
            "events": _outcomes(self.events),
            "left_segment": self.left_segment,
            "requests": self.requests,
            "retries": dict(self.retries),
            "retry_configuration": dict(self.retry_configuration),
            "auth": self.auth,
            "csv": self.csv,
            "stopped_because": self.stopped_because,
        }

    def log_line(self) -> str:
        """The counts of a run's last log line."""
        counts = " ".join(
            f"{kind}_{word}={getattr(counts, word)}"
            for kind, counts in (("users", self.users), ("events", self.events))
            for word in OUTCOMES
        )
        stopped = f" stopped_because={self.stopped_because!r}" if self.stopped_because else ""
        return (
            f"exit_code={self.exit_code} rows={self.rows} {counts} "
            f"left_segment={self.left_segment} requests={self.requests} retries={_retries(self.retries, ',')} "
            f"seconds={self.seconds:.2f} auth={self.auth} "
            f"retry_configuration={self._configuration(',')} csv={self.csv}{stopped}"
        )

    def for_a_person(self, log_file: str) -> str:
        """The summary at the end of a run at a terminal."""
        rows = [f"{'':10}{''.join(f'{word:>11}' for word in OUTCOMES)}"]
        for kind, counts in (("users", self.users), ("events", self.events)):
            rows.append(f"{kind:10}{''.join(f'{getattr(counts, word):>11,}' for word in OUTCOMES)}")
        facts = (
            ("rows read", f"{self.rows:,}"),
            ("left the segment", f"{self.left_segment:,}" if self.left_segment else ""),
            ("requests", f"{self.requests:,} in {self.seconds:.1f} s"),
            ("retries", _retries(self.retries, ", ")),
            ("retry rule", self._configuration(", ")),
            ("signed in by", "JWT for each user" if self.auth == "jwt" else "API key"),
            ("CSV", self.csv or "none was written"),
            ("rejected rows", self.rejected_csv or ""),
            ("log", f"{log_file} (grep run={self.run_id})"),
        )
        lines = ["", self.headline(), "", *rows, "", *(f"{name:17} {told}" for name, told in facts if told)]
        lines += ["", *(f"Needs attention: {told}" for told in self.attention())]
        return "\n".join([*lines, f"Next: {self.next_step()}", ""])

    def headline(self) -> str:
        """One sentence: what became of the run."""
        if self.stopped_because:
            return f"STOPPED (exit code {self.exit_code}): {self.stopped_because}"
        if self.exit_code:
            return f"FINISHED WITH OPEN ENDS (exit code {self.exit_code})"
        sent = self.users.delivered + self.events.delivered + self.left_segment
        return "DONE: everything owed was delivered" if sent else "DONE: nothing was owed"

    def attention(self) -> list[str]:
        """What a person has to look at, a sentence each."""
        told = []
        if self.users.newly_rejected or self.events.newly_rejected:
            where = self.rejected_csv or "the log"
            told.append(
                f"newly rejected: {self.users.newly_rejected:,} users, {self.events.newly_rejected:,} events; "
                f"the reasons are in {where}"
            )
        if self.users.failed or self.events.failed:
            told.append(
                f"failed: {self.users.failed:,} users, {self.events.failed:,} events; owed, the next run sends them"
            )
        if self.held_back:
            told.append(self.held_back)
        return told

    def next_step(self) -> str:
        """The command or deed that helps now."""
        if self.exit_code == ExitCode.LOCKED:
            return "nothing, if that run is a long one; the next run sends what is new"
        if self.stopped_because:
            return "mend the cause above, then run again; what was not sent is still owed"
        if self.held_back:
            return "look at the source table; if the exits are right, run with --allow-mass-exit"
        if self.users.newly_rejected + self.events.newly_rejected:
            return "correct the rows at the source and run again; --retry-rejected when the project was corrected"
        if self.users.failed + self.events.failed:
            return "run again; grep 'Max retries' in the log for what they met"
        return "nothing to do; run it from cron as often as you like"

    def for_cron(self, log_file: str) -> str:
        """Two or three lines for standard error: what, why, next step."""
        why = [self.stopped_because] if self.stopped_because else self.attention()
        counts = (
            f"users {_short(self.users)}; events {_short(self.events)}"
            if self.rows or self.requests
            else "nothing was sent"
        )
        return "\n".join(
            " ".join(line.split())
            for line in [
                f"iterable sync: exit code {self.exit_code}, {counts}",
                f"why: {'; '.join(why)}",
                f"next: {self.next_step()} (grep run={self.run_id} {log_file})",
            ]
        )

    def _configuration(self, separator: str) -> str:
        return separator.join(f"{name}={value:g}" for name, value in self.retry_configuration.items())


def history_table(runs: Sequence[RunRecord]) -> str:
    """The runs as a table, newest first; users and events are counted together, as in `3+3`."""
    header = ("start (UTC)", "seconds", "rows", "delivered", "unchanged", "rejected", "failed", "exit code")
    table = [header, *(_history_row(run) for run in runs)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join(line.rstrip() for line in [*lines, "counts are users+events"])


def _history_row(run: RunRecord) -> tuple[str, ...]:
    if run.summary is None:
        return run.started, "-", "-", "-", "-", "-", "-", "none: it was killed, or is still running"
    told = run.summary
    counts = tuple(f"{told['users'][word]}+{told['events'][word]}" for word in OUTCOMES)
    return run.started, f"{told['seconds']:.1f}", str(told["rows"]), *counts, str(told["exit_code"])


def _outcomes(counts: Counts) -> dict[str, int]:
    return {word: getattr(counts, word) for word in OUTCOMES}


def _short(counts: Counts) -> str:
    return " ".join(f"{word}={getattr(counts, word)}" for word in OUTCOMES)


def _retries(retries: Mapping[str, int], separator: str) -> str:
    return separator.join(
        f"{status}: {count}" if " " in separator else f"{status}:{count}" for status, count in sorted(retries.items())
    ) or ("none" if " " in separator else "0")
