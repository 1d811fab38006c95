"""What a run did, as data: the counts and circumstances, one JSON object, one log line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sync.delivery.tally import Tally
from sync.run.exit_codes import ExitCode
from sync.state.figures import Figures
from sync.state.pending import Counts

OUTCOMES = ("delivered", "unchanged", "rejected", "failed")
_NOT_IN_JSON = frozenset({"failed_because", "rejected_csv", "figures"})


@dataclass
class Summary:
    """The counts and circumstances of one run, in the order in which `--json` tells them."""

    run_id: str
    sync: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    rows: int = 0
    users: Counts = field(default_factory=Counts)
    events: Counts = field(default_factory=Counts)
    left_segment: int = 0
    moved: int = 0
    second_name_missing: int = 0
    merged_rows: int = 0
    requests: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)
    retry_configuration: Mapping[str, float] = field(default_factory=dict)
    auth: str = "api_key"
    csv: str | None = None
    stopped_because: str | None = None
    held_back: str | None = None
    failed_because: str | None = None
    """What the last of the users who failed met, in a run that was not stopped; not in `--json`, as what follows."""
    rejected_csv: str | None = None
    figures: Figures | None = None

    def as_json(self) -> dict[str, Any]:
        """The object of `--json`."""
        values = {name: value for name, value in vars(self).items() if name not in _NOT_IN_JSON}
        outcomes = {kind: {word: getattr(values[kind], word) for word in OUTCOMES} for kind in ("users", "events")}
        return {**values, **outcomes, "seconds": round(self.seconds, 3)}

    def take_over(self, tally: Tally) -> None:
        """Take over what the delivery counted."""
        self.users, self.events, self.left_segment, self.moved = (
            tally.users,
            tally.events,
            tally.left_segment,
            tally.moved,
        )
        self.requests, self.retries = tally.requests, dict(tally.retries)
        self.stopped_because = tally.stopped_because
        self.failed_because = None if tally.stopped_because else tally.failure or None

    def code_of_counts(self) -> int:
        """The exit code of a run that came to its end."""
        if self.stopped_because:
            return ExitCode.STOPPED
        open_ends = any(count.newly_rejected or count.failed for count in (self.users, self.events))
        return ExitCode.INCOMPLETE if self.held_back or open_ends else ExitCode.DONE

    def for_history(self) -> dict[str, Any]:
        """What the state keeps of the run."""
        return {**self.as_json(), "cause": self.cause}

    @property
    def cause(self) -> str:
        """Why the exit code is not 0, in one sentence; empty when it is."""
        return self.stopped_because or "; ".join(self.attention())

    def attention(self) -> list[str]:
        """What a person has to look at, a sentence each."""
        sentences = []
        if rejected := self.newly_rejected():
            sentences.append(f"newly rejected: {rejected}")
        if self.users.failed or self.events.failed:
            failed = f"failed: {self.users.failed:,} users, {self.events.failed:,} events"
            cause = f", the last with: {self.failed_because}" if self.failed_because else ""
            sentences.append(f"{failed}{cause}; pending, the next run sends them")
        if self.held_back:
            sentences.append(self.held_back)
        return sentences

    def log_line(self) -> str:
        """The counts of a run's last log line."""
        counts = " ".join(
            f"{kind}_{word}={getattr(counts, word)}"
            for kind, counts in (("users", self.users), ("events", self.events))
            for word in OUTCOMES
        )
        reasons = (
            ("stopped_because", self.stopped_because),
            ("failed_because", self.failed_because),
            ("newly_rejected", self.newly_rejected()),
            ("held_back", self.held_back),
        )
        retries = ",".join(f"{status}:{count}" for status, count in sorted(self.retries.items()))
        why = "".join(f" {name}={reason!r}" for name, reason in reasons if reason)
        return (
            f"exit_code={self.exit_code} sync={self.sync} rows={self.rows} {counts} "
            f"left_segment={self.left_segment} moved={self.moved} "
            f"requests={self.requests} retries={retries or 0} "
            f"seconds={self.seconds:.2f} auth={self.auth} "
            f"retry_configuration={pairs(self.retry_configuration)} csv={self.csv}{why}"
        )

    def newly_rejected(self) -> str | None:
        """How much was rejected and was not before, and where the reasons are; None: nothing."""
        users, events = self.users.newly_rejected, self.events.newly_rejected
        where = self.rejected_csv or "the log"
        return f"{users:,} users, {events:,} events; the reasons are in {where}" if users or events else None


def pairs(values: Mapping[str, float], separator: str = ",") -> str:
    """The values as `name=value`."""
    return separator.join(f"{name}={value:g}" for name, value in values.items())
