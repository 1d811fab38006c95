"""What the comparison with the state found, as the log tells it before anything is sent."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain

from sync.rows.identity import log_field
from sync.run.summary import Summary
from sync.state.outbox import Outbox
from sync.state.pending import Plan

logger = logging.getLogger("main")


def announce(plan: Plan, outbox: Outbox, summary: Summary, segment_field: str) -> None:
    """Say what the comparison with the state found."""
    summary.merged_rows, summary.second_name_missing = plan.merged_rows, plan.second_name_missing
    if plan.exit_held_back:
        summary.held_back = (
            f"{plan.leaving:,} of the {plan.segment_size:,} users in the segment would leave it at once, so nobody "
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
        logger.info("Profile without the other name: %s %s", lacks, log_field(identity))
    for sentence in chain(_of_users(outbox), _of_all(plan, segment_field or "none")):
        logger.warning(sentence)
    if summary.held_back:
        logger.warning("Mass exit held back: %s", summary.held_back)


def _of_users(outbox: Outbox) -> Iterator[str]:
    """Who is rejected before any request, whose address is not changed, and who waits."""
    for identity, reason in outbox.new_rejections():
        yield f"Row rejected before any request: {reason} {log_field(identity)}"
    for identity, reason in outbox.changes_not_made():
        yield f"Address changed, and not moved at Iterable: {reason} {log_field(identity)}"
    for identity, address in outbox.waiting():
        gives_up = f"another user gives up the address {address} in this one"
        yield f"Not sent before the next run: {gives_up} {log_field(identity)}"


def _of_all(plan: Plan, segment_field: str) -> Iterator[str]:
    """What changed for the segment, and which rows do not count as they are."""
    if plan.segment_renamed_from:
        yield (
            f"SEGMENT_FIELD changed from {plan.segment_renamed_from} to {segment_field}: the old field stays as it is "
            "at Iterable; when it comes back, its members are members still"
        )
    if plan.members_renamed:
        yield (
            f"Users are named in another way now: {plan.members_renamed} members of the segment are known by their old "
            "name alone, and are taken off the record; the field stays as it is at Iterable for who does not come back"
        )
    if plan.second_name_missing:
        yield f"Users whose other name is missing or unusable: {plan.second_name_missing}; their profiles go without it"
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
