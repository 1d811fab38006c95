"""What names a user to Iterable, and what does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from sync.rows.identity import address_of, identity_fields, is_usable
from sync.rows.mapping import named_columns
from sync.rows.payloads import PayloadBuilder, RejectedEvent
from sync.rows.raw_values import Rejection
from sync.rows.source import Column, Kind
from tests.rows.payload_samples import COLUMNS, ONE_USER, SAMPLE, USER_ID, body_of, build, values_of


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("000", id="no-at"),
        pytest.param("ada@@example.com", id="two-ats"),
        pytest.param("ada@bob@example.com", id="two-ats-apart"),
        pytest.param("@example.com", id="nobody"),
        pytest.param("ada@", id="nowhere"),
        pytest.param("user @example.com", id="space"),
        pytest.param("ada@exam\u00a0ple.com", id="no-break-space"),
        pytest.param("ada\u200b@example.com", id="zero-width-space"),
        pytest.param("\u202eada@example.com", id="right-to-left-mark"),
        pytest.param("ada\0@example.com", id="nul"),
        pytest.param("ada\n@example.com", id="newline"),
        pytest.param("ada\ud83d@example.com", id="half-surrogate"),
        pytest.param(".ada@example.com", id="leading-dot"),
        pytest.param("ada.@example.com", id="trailing-dot"),
        pytest.param("a..da@example.com", id="double-dot"),
        pytest.param("a" * 65 + "@example.com", id="long-local-part"),
        pytest.param("ada@" + "a." * 130 + "com", id="long-address"),
        pytest.param("ada@localhost", id="bare-host"),
        pytest.param("ada@127.0.0.1", id="ip-address"),
        pytest.param("ada@[127.0.0.1]", id="ip-literal"),
        pytest.param("ada@example.c", id="short-tld"),
        pytest.param("ada@example.com.", id="dot-at-end"),
        pytest.param("ada@.example.com", id="empty-label"),
        pytest.param("ada@-example.com", id="hyphen-first"),
        pytest.param("ada@example-.com", id="hyphen-last"),
        pytest.param("ada@exam_ple.com", id="underscore"),
        pytest.param("a(b)c@example.com", id="parentheses"),
        pytest.param("ada@example.com,bob@example.com", id="list"),
        pytest.param("Ada <ada@example.com>", id="display-name"),
        pytest.param(5, id="number"),
        pytest.param(b"ada@example.com", id="bytes"),
    ],
)
def test_unusable_address(address: object) -> None:
    """An address that no rule book accepts rejects profile and event, with column and value."""
    result = build(email=address)
    assert isinstance(result.profile, Rejection)
    assert isinstance(result.event, RejectedEvent)
    assert result.event.reason == result.profile.reason
    assert result.profile.reason.startswith("email is ")
    assert result.profile.reason.endswith(": not an e-mail address that Iterable accepts; correct it in the database")
    assert "\n" not in result.profile.reason
    assert not is_usable(result.identity)
    assert result == build(email=address)


@pytest.mark.parametrize(
    "address",
    [
        "x+uuid@example.com",
        "o'brien@example.co.uk",
        '"a b"@example.com',
        '"a@b".c@example.com',
        "a\\@b@example.com",
        "!#$%&*+/=?^_`{|}~-@example.com",
        "?.a@example.com",
        "a@xn--bcher-kva.example",
        "ada@bücher.example",
        "jörg@example.com",
        "a" * 64 + "@example.com",
        "a@1.com",
        "ada@example.unknown",
    ],
)
def test_usable_address(address: str) -> None:
    """What Iterable may accept is Iterable's to outcome_of, also outside ASCII and under unknown top-level domains."""
    result = build(email=address)
    assert result.identity == address_of(result.identity) == body_of(result.profile)["email"] == address
    assert is_usable(result.identity)


def test_identity_ignores_case_and_space() -> None:
    """Two spellings of one address are one user, one event and one digest."""
    assert build(email="ada@example.com") == build(email=" ADA@EXAMPLE.COM\t")


def test_rows_that_name_nobody_stay_apart() -> None:
    """Each row without an address stands for itself, and is the same one in the next run."""
    first, again, other = build(email=None), build(email=None), build(email=None, page="settings")
    assert first == again
    assert first.identity != other.identity
    assert first.profile.reason.startswith("email is NULL: the row names no user")
    assert build(email="  ").identity != first.identity


def test_mapped_columns_alone_tell_rows_apart_that_name_nobody() -> None:
    """Each of them does, in whatever order the query and the settings have them; what no setting names does not."""
    nobody = ONE_USER | {"email": None}
    columns = [*COLUMNS, Column("now", Kind.DATETIME), Column("rank", Kind.INTEGER)]
    first = build(email=None).identity
    for given in (columns, columns[::-1]):
        for mapping in (SAMPLE, replace(SAMPLE, user_fields=SAMPLE.user_fields[::-1])):
            builder = PayloadBuilder(mapping, given)
            for number in (1, 2):
                row = nobody | {"now": datetime(2026, 1, number), "rank": number, "id": number}
                assert builder.build(values_of(row, given)).identity == first
    assert {build(**nobody | {name: "x"}).identity == first for name in named_columns(SAMPLE)} == {False}
    no_events = replace(SAMPLE, event_name="")
    assert build(no_events, email=None).identity == build(no_events, email=None, page="x").identity


def test_bad_value_is_the_key_of_its_row() -> None:
    """The same bad address comes to the same key, whatever else the row holds, and a reader recognises it."""
    assert build(email="not-an-address").identity == build(email="not-an-address", page="x").identity
    assert address_of(build(email="not-an-address").identity) == "not-an-address"
    long = {build(email="x" * 500 + end).identity for end in "ab"}
    assert len(long) == 2
    assert max(map(len, long)) < 120


def test_user_id() -> None:
    """A user id is sent as text and alone; a missing user is created; nothing of it changes its case."""
    result = build(USER_ID, id=7)
    assert (result.identity, address_of(result.identity)) == ("id:7", "7")
    profile, event = body_of(result.profile), body_of(result.event)
    assert list(profile) == ["userId", "preferUserId", "dataFields"]
    assert profile["userId"] == event["userId"] == "7"
    assert profile["preferUserId"] is True
    assert "email" not in profile | event
    assert identity_fields(result.identity) == {"userId": "7"}
    assert build(USER_ID, id="AbC").identity == "id:AbC"


@pytest.mark.parametrize(
    "value",
    [True, 1.0, Decimal(1), b"a", "a" * 53, "a ", "é", "a\n", 10**60, [1]],
)
def test_unusable_user_id(value: object) -> None:
    """A user id that Iterable documents as invalid is rejected here."""
    assert isinstance(build(USER_ID, id=value).profile, Rejection)


def test_identity_column_wins() -> None:
    """With a user id column the e-mail column does not matter."""
    assert build(replace(SAMPLE, user_id_column="id"), email="junk").identity == "id:7"


def test_the_person_is_the_user_id_where_the_row_has_one() -> None:
    """The address names the user to Iterable, the id says who it is; without either that can be used, the name does."""
    both = replace(SAMPLE, user_id_column="id", identify_by="email")
    row = build(both)
    assert (row.identity, row.person) == ("ada@example.com", "id:7")
    assert build(both, id=None).person == "ada@example.com"
    nobody = build(both, email="no address")
    assert nobody.person == nobody.identity
