"""What the comparison with the state found, as the log tells it before anything is sent."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from sync.rows.identity import log_field
from sync.run.summary import Summary
from sync.state.outbox import Outbox
from sync.state.owed import Plan

logger = logging.getLogger("main")


def announce(plan: Plan, outbox: Outbox, summary: Summary, segment_field: str) -> None:
    """Say what the comparison with the state found."""
    for identity, reason in outbox.new_rejections():
        logger.warning("Row rejected before any request: %s %s", reason, log_field(identity))
    logger.info(
        "Pending: %d users (%d profiles, %d events); unchanged: %d profiles, %d events; leaving the segment: %d",
        plan.owed_users,
        plan.owed_profiles,
        plan.owed_events,
        plan.users.unchanged,
        plan.events.unchanged,
        0 if plan.exit_held_back else plan.leaving,
    )
    if plan.segment_renamed_from:
        logger.warning(
            "SEGMENT_FIELD changed from %s to %s: the old field stays as it is at Iterable; when it comes back, its "
            "members are members still",
            plan.segment_renamed_from,
            segment_field or "none",
        )
    if plan.members_renamed:
        logger.warning(
            "Users are named in another way now: %d members of the segment are known by their old name alone, and are "
            "taken off the record; the field stays as it is at Iterable for who does not come back",
            plan.members_renamed,
        )
    _announce_names(plan, outbox, summary)
    summary.merged_rows = plan.merged_rows
    for sentence in _merged(plan):
        logger.warning(sentence)
    if plan.exit_held_back:
        summary.held_back = (
            f"{plan.leaving:,} of the {plan.segment_size:,} users in the segment would leave it at once, so nobody "
            "leaves; if that is right, run with --allow-mass-exit"
        )
        logger.warning("Mass exit held back: %s", summary.held_back)


def _merged(plan: Plan) -> Iterator[str]:
    """Which rows another one counts for, though they differ from it."""
    if plan.merged_events.rows:
        yield (
            f"Rows that are one event by EVENT_KEY and differ: {plan.merged_events.rows}, the first is row "
            f"{plan.merged_events.first} of the result; the first row of an event counts; name one more column in "
            "EVENT_KEY if they are events of their own (--new-event-ids)"
        )
    if plan.merged_profiles.rows:
        yield (
            "Rows of one user that differ in the profile and not in the event time: "
            f"{plan.merged_profiles.rows}, the first is row {plan.merged_profiles.first} of the result; the first row "
            "of a user counts; give each customer a name of their own, or let the query give the right row first "
            f"{log_field(plan.merged_profiles.identity)}"
        )


def _announce_names(plan: Plan, outbox: Outbox, summary: Summary) -> None:
    """Say whose address is not moved, and whose other name is not sent."""
    for identity, reason in outbox.told_moves():
        logger.warning("Address changed, and not moved at Iterable: %s %s", reason, log_field(identity))
    for identity, address in outbox.waiting():
        logger.warning(
            "Not sent before the next run: another user gives up the address %s in this one %s",
            address,
            log_field(identity),
        )
    for identity, lacks in outbox.lacking():
        logger.info("Profile without the other name: %s %s", lacks, log_field(identity))
    summary.second_name_missing = plan.second_name_missing
    if plan.second_name_missing:
        logger.warning(
            "Users whose other name is missing or unusable: %d; their profiles go without it", plan.second_name_missing
        )
