"""Runs on one state, without a network: rows in, pending users out, outcomes back."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sync.rows.mapping import Mapping, parse_fields
from sync.rows.source import Row
from sync.run.settings import defaults
from sync.state.exchange import Outcome, PayloadResult, PendingUser, Plan, Policy, UserOutcome
from sync.state.file import State
from sync.state.outbox import Outbox
from tests.harness import sync_of, to_load
from tests.sample_rows import T0, person

TODAY = 20_000


DELIVERED, FAILED, REJECTED = (
    PayloadResult(Outcome.DELIVERED),
    PayloadResult(Outcome.FAILED, "down"),
    PayloadResult(Outcome.REJECTED, "forgotten"),
)


SEGMENT = "recent_page_view"


MAPPING = Mapping(
    email_column="email",
    user_fields=parse_fields(defaults()["USER_FIELDS"]),
    segment_field=SEGMENT,
    event_name="page_view",
    event_fields=parse_fields(defaults()["EVENT_FIELDS"]),
    event_time_column="event_time",
    event_key=("event_time", "page"),
    user_id_column=None,
    timezone=UTC,
)


BOTH_NAMES = replace(MAPPING, user_id_column="id", identify_by="email")
"""The address identifies, and the user id is known."""


@cache
def _empty_state() -> bytes:
    """A state in which nothing is on record yet."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state")
        State(path).close()
        return path.read_bytes()


def open_quickly(path: Path) -> State:
    """A state for one of many examples: its tables are not made anew, and nobody pulls the plug."""
    if not path.exists():
        path.write_bytes(_empty_state())
    state = State(path)
    state.db.execute("PRAGMA synchronous=OFF")
    return state


class Runs:
    """Runs on one state: `begin` gives the next one its rows, `deliver` serves it to the end."""

    def __init__(self, state: State, name: str = "default") -> None:
        self.state = state
        self.sync = sync_of(state, name)
        self.outbox: Outbox
        self.plan: Plan
        self.today = TODAY

    def begin(self, rows: Sequence[Row], mapping: Mapping = MAPPING, **policy: Any) -> Plan:
        """Rows in; the backlog is in the state when this returns."""
        tables = "SELECT name FROM temp.sqlite_master WHERE type = 'table'"  # of the run before, which is over
        for (table,) in self.state.db.execute(tables).fetchall():
            self.state.db.execute(f"DROP TABLE temp.{table}")
        of_mapping: dict[str, Any] = {
            "segment_field": mapping.segment_field,
            "by_user_id": mapping.by_user_id,
            "follows_addresses": mapping.follows_addresses,
            "address_ids": mapping.follows_addresses,
        }
        self.outbox = Outbox(self.state, self.sync, Policy(**of_mapping | policy), self.today * 86400.0)
        assert self.outbox.load(*to_load(rows, mapping)) == len(rows)
        self.plan = plan = self.outbox.plan()
        twice = "SELECT sync, key FROM pending WHERE state = 0 GROUP BY sync, key HAVING COUNT(*) > 1"
        assert self.state.db.execute(twice).fetchall() == [], "the backlog has somebody or something twice"
        return plan

    def deliver(self, told: Callable[[PendingUser], PayloadResult] = lambda _: DELIVERED) -> list[PendingUser]:
        """Serve everybody; `told` says what Iterable says of the profile, or of the events where there is none.

        They are as many as the plan has counted.
        """
        served, events = [], 0
        while users := self.outbox.claim(3, 9):
            served += users
            events += sum(len(user.events) + self.outbox.count_rest(user) for user in users)
            self.outbox.record([answered(user, told(user)) for user in users])
        found = (len(served), sum(user.profile is not None and not user.leaves for user in served), events)
        assert found == (
            self.plan.pending_users + self.plan.leavers,
            self.plan.pending_profiles,
            self.plan.pending_events,
        )
        return served

    def run(
        self, rows: Sequence[Row], told: Callable[[PendingUser], PayloadResult] = lambda _: DELIVERED, **policy: Any
    ) -> list[PendingUser]:
        """A whole run; whom it served."""
        self.begin(rows, **policy)
        served = self.deliver(told)
        self.outbox.remember()
        return served


def many_events(count: int) -> list[Row]:
    """Rows of one user, each a view a second later."""
    return [person(1, event_time=T0 + timedelta(seconds=second)) for second in range(count)]


def forget_raw_values(runs: Runs) -> None:
    """From here on no row is known by its raw values: every payload is made, and compared."""
    runs.state.db.execute("UPDATE known SET fingerprint = substr(fingerprint, 1, 8)")


def answered(user: PendingUser, told: PayloadResult) -> UserOutcome:
    """What Iterable said of a user's profile; the events follow a profile that was accepted."""
    profile = told if user.profile is not None else None
    derived = profile is not None and told.outcome is not Outcome.DELIVERED
    return UserOutcome(user, profile, (told,) * len(user.events), derived=derived)


def names(users: Sequence[PendingUser]) -> list[str]:
    """Who was served, in order."""
    return [user.identity.split("@")[0] for user in users]


def fields_of(user: PendingUser) -> dict[str, Any]:
    """The data fields of the profile."""
    assert user.profile is not None
    fields: dict[str, Any] = json.loads(user.profile)["dataFields"]
    return fields


def bodies(user: PendingUser) -> list[str]:
    """The events as they are sent, with their ids."""
    return [event.body for event in user.events]


def pages(user: PendingUser) -> list[str]:
    """The pages of the events, in order."""
    return [json.loads(event.body)["dataFields"]["page"] for event in user.events]
