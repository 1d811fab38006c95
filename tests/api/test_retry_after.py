"""How long Retry-After asks to wait, in whatever form it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.api.answers import retry_after
from tests.examples import examples

NOW = "Tue, 13 Jan 2026 14:31:22 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("1", 1),
        (" 120 ", 120),
        ("Tue, 13 Jan 2026 14:31:52 GMT", 30),
        ("Tue, 13 Jan 2026 14:31:52 -0000", 30),
        ("Tue, 13 Jan 2026 15:31:52 +0100", 30),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        (None, 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("1.5", 2),
        ("0.001", 1),
        ("2.0", 2),
        ("00.00", 0),
        ("119.99999999999999999999", 120),
        ("1.", 0),
        (".5", 0),
        ("1.5.2", 0),
        ("1,5", 0),
        ("1 .5", 0),
        ("+1", 0),
        ("-1", 0),
        ("-1.5", 0),
        ("-0.5", 0),
        ("1e9", 0),
        ("1.5e9", 0),
        ("1_0", 0),
        ("0x10", 0),
        ("-inf", 0),
        ("\u0661.\u0665", 0),
        ("inf", 0),
        ("nan", 0),
        ("\u0665", 0),
        ("\u00b2", 0),
        ("Tue, 99 Jan 2026 14:31:52 GMT", 0),
        ("Tue, 13 Jan 99999 14:31:52 GMT", 0),
        ("Tue, 13 Jan 2026 14:31:52 +999999", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    """Seconds, rounded up, and HTTP dates count; the past, negative numbers and junk are no wait."""
    assert retry_after(value, NOW) == seconds


def test_huge_retry_after() -> None:
    """A number of any length is a long wait, not an error."""
    assert retry_after("9" * 5_000) > 1e8
    assert retry_after(f"{'9' * 5_000}.{'9' * 5_000}") > 1e8


@examples(150)
@given(st.text() | st.text("0123456789.-+e "))
def test_any_retry_after_is_a_wait(value: str) -> None:
    """No header makes the client raise or wait a negative time."""
    assert 0 <= retry_after(value, NOW) < float("inf")
