"""What is pending is what is sent, letter for letter, though `update_user` and `track_event` are given its parts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from iterable_client import IterableClient
from sync.delivery.rules import StopRules
from sync.delivery.stop import Stop
from sync.delivery.turn import take_turn
from sync.delivery.work import Ended, Gate, Turn, Work
from sync.rows.mapping import Mapping, parse_fields
from sync.rows.payloads import Event, Payload, PayloadBuilder
from sync.rows.source import Column, Kind
from sync.state.exchange import PendingEvent, PendingUser
from tests.examples import examples
from tests.harness import Wire
from tests.rows.payload_samples import SAMPLE

text = st.text(max_size=12)
number = st.integers() | st.floats() | st.decimals(allow_nan=False, allow_infinity=False) | st.just(Decimal("12.30"))
document = st.recursive(
    st.none() | st.booleans() | number.filter(lambda it: not isinstance(it, Decimal)) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
)
BY_KIND: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.BOOLEAN: st.integers(0, 1) | st.sampled_from([b"\0", b"\1"]),
    Kind.INTEGER: st.integers(),
    Kind.YEAR: st.integers(1901, 2155),
    Kind.NUMBER: number,
    Kind.TEXT: text,
    Kind.DATE: st.dates(),
    Kind.DATETIME: st.datetimes() | st.just("0000-00-00 00:00:00"),
    Kind.TIMESTAMP: st.datetimes(),
    Kind.TIME: st.timedeltas(timedelta(hours=-838), timedelta(hours=838)),
    Kind.JSON: document,
    Kind.BINARY: st.binary(max_size=4),
}
VALUES = st.fixed_dictionaries({kind: st.none() | values for kind, values in BY_KIND.items()})
WAYS = (
    SAMPLE,
    replace(SAMPLE, user_id_column="id", email_column=None),
    replace(SAMPLE, user_id_column="id", send_address=True),
    replace(SAMPLE, user_id_column="id", send_address=True, identify_by="email"),
)


def mapping_of(way: Mapping, kinds: list[Kind]) -> Mapping:
    """A mapping that sends these columns in profile and event, some of them inside an object."""
    fields = parse_fields(
        ",".join(f"{kind.value}:inner.{kind.value}" if at % 2 else kind.value for at, kind in enumerate(kinds))
    )
    return replace(way, user_fields=fields, event_fields=fields, event_time_column="at", event_key=("at",))


def bodies(mapping: Mapping, kinds: list[Kind], values: dict[Kind, Any], address: str) -> tuple[str | None, str | None]:
    """The bodies of one row, as they would be stored; None for what is rejected."""
    columns = [Column("id", Kind.TEXT), Column("email", Kind.TEXT), Column("at", Kind.DATETIME)]
    columns += [Column(kind.value, kind) for kind in kinds]
    row = ("u 7", address, datetime(2026, 1, 6), *(values[kind] for kind in kinds))
    made = PayloadBuilder(mapping, columns).build(row)
    return (
        made.profile.body if isinstance(made.profile, Payload) else None,
        made.event.body if isinstance(made.event, Event) else None,
    )


def sent(wire: Wire, user: PendingUser) -> str:
    """The body of the one request that this user's turn makes."""
    client = IterableClient(api_key="k" * 32)
    client.session.mount("https://", wire)
    wire.requests.clear()
    with suppress(Ended):
        take_turn(Turn(Work((user,)), Gate(StopRules(), Stop(), lambda: 0.0), lambda _: None), client)
    (request,) = wire.requests
    return request.body.decode()


@examples(60)
@given(
    VALUES,
    st.lists(st.sampled_from(list(Kind)), unique=True),
    st.sampled_from(WAYS),
    st.sampled_from(["ann@example.com", " Ann@EXAMPLE.com", "o'\u00fc+x@example.com"]),
)
def test_any_row(values: dict[Kind, Any], kinds: list[Kind], way: Mapping, address: str) -> None:
    """Whatever the columns hold, however they are mapped, and whichever name the user has."""
    profile, event = bodies(mapping_of(way, kinds), kinds, values, address)
    wire = Wire()
    if profile:
        assert sent(wire, PendingUser("any", profile, ())) == profile
    if event:
        assert sent(wire, PendingUser("any", None, (PendingEvent(b"", event),))) == event


def test_a_decimal() -> None:
    """A price keeps its digits, as far as a number of JSON has them."""
    kinds = [Kind.NUMBER]
    profile, event = bodies(mapping_of(SAMPLE, kinds), kinds, {Kind.NUMBER: Decimal("1234567.30")}, "ann@example.com")
    assert profile and '"number":1234567.3,' in profile
    wire = Wire()
    assert sent(wire, PendingUser("any", profile, ())) == profile
    assert event and sent(wire, PendingUser("any", None, (PendingEvent(b"", event),))) == event


def test_dates_are_text() -> None:
    """And stay what they were."""
    kinds = [Kind.DATE]
    profile, _ = bodies(mapping_of(SAMPLE, kinds), kinds, {Kind.DATE: date(2026, 1, 6)}, "ann@example.com")
    assert profile and '"date":"2026-01-06 00:00:00 +00:00"' in profile
    assert sent(Wire(), PendingUser("any", profile, ())) == profile
