"""What a run found and did, as data: the counts and circumstances, one JSON object, the sentences of the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sync.delivery.tally import Tally
from sync.rows.identity import log_field
from sync.run.exit_codes import ExitCode
from sync.state.backlog import Figures
from sync.state.exchange import Counts, Outcome, Plan
from sync.state.outbox import Outbox

logger = logging.getLogger("main")

OUTCOMES = tuple(outcome.value for outcome in Outcome)
_NOT_IN_JSON = frozenset({"failed_because", "rejected_csv", "figures"})


@dataclass
class Summary:
    """The counts and circumstances of one run, in the order in which `--json` shows them."""

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
    """Why the last failed user failed, in a run that was not stopped. Like what follows, it is not in `--json`."""
    rejected_csv: str | None = None
    figures: Figures | None = None

    def as_json(self) -> dict[str, Any]:
        """The object of `--json`."""
        values = {name: value for name, value in vars(self).items() if name not in _NOT_IN_JSON}
        outcomes = {kind: {word: getattr(values[kind], word) for word in OUTCOMES} for kind in ("users", "events")}
        return {**values, **outcomes, "seconds": round(self.seconds, 3)}

    def take_over(self, tally: Tally) -> None:
        """Take over what the delivery counted."""
        for name in ("users", "events", "left_segment", "moved", "requests", "retries", "stopped_because"):
            setattr(self, name, getattr(tally, name))
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
        """What a person has to look at, in a sentence each."""
        sentences = []
        if rejected := self.newly_rejected():
            sentences.append(f"newly rejected: {rejected}")
        if self.users.failed or self.events.failed:
            failed = f"failed: {self.users.failed:,} users, {self.events.failed:,} events, which the next run sends"
            sentences.append(f"{failed}; the last reason: {self.failed_because}" if self.failed_because else failed)
        if self.held_back:
            sentences.append(self.held_back)
        return sentences

    def log_line(self) -> str:
        """The counts of a run's last log line."""
        kinds = (("users", self.users), ("events", self.events))
        counts = [f"{kind}_{word}={getattr(counts, word)}" for kind, counts in kinds for word in OUTCOMES]
        retries = ",".join(f"{status}:{count}" for status, count in sorted(self.retries.items()))
        reasons = {
            "stopped_because": self.stopped_because,
            "failed_because": self.failed_because,
            "newly_rejected": self.newly_rejected(),
            "held_back": self.held_back,
        }
        why = "".join(f" {name}={reason!r}" for name, reason in reasons.items() if reason)
        return (
            f"exit_code={self.exit_code} sync={self.sync} rows={self.rows} {' '.join(counts)} "
            f"left_segment={self.left_segment} moved={self.moved} requests={self.requests} retries={retries or 0} "
            f"seconds={self.seconds:.2f} auth={self.auth} "
            f"retry_configuration={pairs(self.retry_configuration)} csv={self.csv}{why}"
        )

    def newly_rejected(self) -> str | None:
        """How much was rejected that was not before, and where the reasons are; None: nothing."""
        users, events = self.users.newly_rejected, self.events.newly_rejected
        where = self.rejected_csv or "the log"
        return f"{users:,} users, {events:,} events; the reasons are in {where}" if users or events else None


def pairs(values: Mapping[str, float], separator: str = ",") -> str:
    """The values as `name=value`."""
    return separator.join(f"{name}={value:g}" for name, value in values.items())


# -- what the comparison with the state found ----------------------------------------------------------------------


def announce(plan: Plan, outbox: Outbox, summary: Summary, segment_field: str) -> None:
    """Say what the comparison with the state found."""
    summary.merged_rows, summary.second_name_missing = plan.merged_rows, plan.second_name_missing
    if plan.exit_held_back:
        summary.held_back = (
            f"{plan.leaving:,} of the {plan.segment_size:,} users in the segment would leave it in one run, so nobody "
            "leaves; if that is right, run with --allow-mass-exit"
        )
    logger.info(
        "Pending: %d users (%d profiles, %d events); unchanged: %d profiles, %d events; leaving the segment: %d",
        plan.pending_users,
        plan.pending_profiles,
        plan.pending_events,
        plan.users.unchanged,
        plan.events.unchanged,
        0 if plan.exit_held_back else plan.leaving,
    )
    for identity, lacks in outbox.lacking():
        logger.info("Profile without the second name: %s %s", lacks, log_field(identity))
    for sentence in chain(_of_users(outbox), _of_all(plan, segment_field or "none")):
        logger.warning(sentence)
    if summary.held_back:
        logger.warning("Mass exit held back: %s", summary.held_back)


def _of_users(outbox: Outbox) -> Iterator[str]:
    """Users who are rejected before any request, whose address is not changed, or who wait."""
    for identity, reason in outbox.new_rejections():
        yield f"Row rejected before any request: {reason} {log_field(identity)}"
    for identity, reason in outbox.changes_not_made():
        yield f"Address changed in the database, but not at Iterable: {reason} {log_field(identity)}"
    for identity, address in outbox.waiting():
        yield (
            f"Not sent before the next run: the new address {address} is free only once another user's address is "
            f"changed {log_field(identity)}"
        )


def _of_all(plan: Plan, segment_field: str) -> Iterator[str]:
    """What changed for the segment, and which rows do not count as they are."""
    if plan.segment_renamed_from:
        yield (
            f"SEGMENT_FIELD changed from {plan.segment_renamed_from} to {segment_field}: the old field keeps its values"
            " at Iterable; if you change back to it, its members are still known"
        )
    if plan.members_renamed:
        yield (
            f"IDENTIFY_BY or USER_ID_COLUMN changed: {plan.members_renamed} users of the segment cannot be matched "
            "with rows any more; for those who are no longer in the result, the segment field that was set keeps its "
            "value at Iterable: clear it there"
        )
    if plan.second_name_missing:
        missing = f"Users without a usable second name (address or user id): {plan.second_name_missing}"
        yield f"{missing}; their profiles are sent without it"
    if plan.merged_events.rows:
        yield (
            f"Rows with the same EVENT_KEY as another row, but other values: {plan.merged_events.rows} (the first is "
            f"row {plan.merged_events.first} of the result); only the first row of each event is used; if they are "
            "different events, add a column to EVENT_KEY (needs --new-event-ids)"
        )
    if plan.merged_profiles.rows:
        yield (
            "Rows with the same user and event time as another row, but other profile values: "
            f"{plan.merged_profiles.rows} (the first is row {plan.merged_profiles.first} of the result); only the "
            "first row of each user is used; correct the address or user id in the database, or the query's ORDER BY "
            f"{log_field(plan.merged_profiles.identity)}"
        )
