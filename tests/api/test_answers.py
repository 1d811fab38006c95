"""What each answer means. All of it is a function of status and body, so tables and properties say it all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.api.answers import (
    FAILURES,
    JWT_CODES,
    PROJECT_CODES,
    REJECTIONS,
    RETRYABLE_STATUSES,
    ROW_CODES,
    STOPPING,
    ApiResponse,
    ApiResult,
    Verdict,
    read_answer,
)
from sync.rows.masking import EXCERPT
from tests.examples import examples

EVERY_STATUS = range(100, 600)


def envelope(code: object, msg: object = "") -> bytes:
    """Iterable's answer with this code."""
    return json.dumps({"msg": msg, "code": code, "params": None}).encode()


def verdict(status: int, code: object, msg: object = "") -> Verdict:
    """What this answer comes to."""
    return read_answer(status, envelope(code, msg)).verdict


# Refusals


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", envelope("GenericError"), envelope("Success")])
def test_retried_statuses_are_exactly_these(body: bytes) -> None:
    """408, 429, 500, 502, 503 and 504, whatever the body; nothing else of 100 to 599."""
    retried = {
        status for status in EVERY_STATUS if read_answer(status, body).verdict in {Verdict.RETRYABLE, Verdict.THROTTLED}
    }

    assert retried == {408, 429, 500, 502, 503, 504}
    assert retried == RETRYABLE_STATUSES


def test_success_needs_status_200() -> None:
    """`code` Success on another status is no success: recordings have it on 400 and 401."""
    counts = b'{"successCount":1,"failCount":0}'

    assert [status for status in EVERY_STATUS if verdict(status, "Success") is Verdict.ACCEPTED] == [200]
    assert [
        status for status in EVERY_STATUS if read_answer(status, counts, bulk=True).verdict is Verdict.ACCEPTED
    ] == [200]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"<html></html>",
        b"[]",
        b'"Success"',
        b"null",
        b"1",
        b'{"msg":"","code":"Succ',
        b'{"msg":""}',
        b'{"code":1}',
        b'{"code":["Success"]}',
        b'{"msg":"\xff","code":"Success"}',
        b'{"successCount":1,"failCount":0}',
        envelope("success"),
        envelope("GenericError"),
        b"[" * 100_000,
        b'{"code":"Success","params":' + b"[" * 100 + b"]" * 100 + b"}",
    ],
    ids=range(17),
)
def test_200_that_does_not_say_success_is_unreadable(body: bytes) -> None:
    """HTML, text, cut, bottomless or non-object JSON, no code: nobody knows whether the request was taken."""
    assert read_answer(200, body).verdict is Verdict.UNREADABLE


@pytest.mark.parametrize("code", ["Success", None, "BadParams"])
def test_disallowed_event_is_refused_inside_a_200(code: str | None) -> None:
    """The sentence counts, whatever the code; a long event name does not hide it."""
    for name in ("x", "x" * 2 * EXCERPT):
        assert verdict(200, code, f"event {name} is disallowed from tracking.") is Verdict.REJECTED_BY_PROJECT


@pytest.mark.parametrize("code", sorted(ROW_CODES))
@pytest.mark.parametrize("status", [200, 400, 404, 409])
def test_row_codes_reject_the_row(status: int, code: str) -> None:
    """A code that speaks of the row rejects it, with whichever status it comes."""
    assert verdict(status, code) is Verdict.REJECTED


@pytest.mark.parametrize("code", sorted(PROJECT_CODES))
@pytest.mark.parametrize("status", [200, 400, 409, 500, 503])
def test_project_codes_come_before_the_status(status: int, code: str) -> None:
    """A type conflict is permanent even with status 500; it may be every row's."""
    assert verdict(status, code) is Verdict.REJECTED_BY_PROJECT


@pytest.mark.parametrize("code", sorted(JWT_CODES))
@pytest.mark.parametrize("status", [400, 401])
def test_jwt_codes_come_with_either_status(status: int, code: str) -> None:
    """Documented with 400, recorded with 401: the code tells a refused token from a bad key."""
    assert verdict(status, code) is Verdict.JWT_REFUSED


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("code", ["Forbidden", "Unauthorized", "Success", "BadParams", "new.code", None])
def test_401_and_403_are_not_about_the_row(status: int, code: str | None) -> None:
    """Not taken for a refused row, or a million rows would be remembered as rejected; nor, without a code that names
    the key, for a refused key: a firewall says 403 as well, and to one user alone.
    """
    assert verdict(status, code) is Verdict.FORBIDDEN


def test_bad_api_key_stops_with_any_status() -> None:
    """`BadApiKey` means the key with 401 and 403, and also where the status is only 400."""
    assert {verdict(status, "BadApiKey") for status in (400, 401, 403)} == {Verdict.CREDENTIALS_REFUSED}


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (300, None, Verdict.WRONG_URL),
        (301, None, Verdict.WRONG_URL),
        (304, None, Verdict.WRONG_URL),
        (307, None, Verdict.WRONG_URL),
        (399, None, Verdict.WRONG_URL),
        (404, None, Verdict.WRONG_URL),
        (404, "NotFound", Verdict.WRONG_URL),
        (405, None, Verdict.WRONG_URL),
        (413, None, Verdict.TOO_LARGE),
        (400, "BatchTooLarge", Verdict.TOO_LARGE),
        (429, "RateLimitExceeded", Verdict.THROTTLED),
        (429, "RequestFieldsTypesMismatched", Verdict.THROTTLED),
        (400, "error.users.noUserWithIdExists", Verdict.UNREADABLE),
        (400, "Success", Verdict.UNREADABLE),
        (400, None, Verdict.UNREADABLE),
        (407, None, Verdict.UNREADABLE),
        (501, None, Verdict.UNREADABLE),
        (204, None, Verdict.UNREADABLE),
    ],
)
def test_status_decides_where_the_code_does_not(status: int, code: str | None, expected: Verdict) -> None:
    """Redirects and unknown paths are a wrong URL, 413 is about the request, what is unknown is not guessed."""
    assert verdict(status, code) is expected


@pytest.mark.parametrize(
    "body", [b"{}", b'{"successCount":1}', b'{"successCount":"1","failCount":"0"}', envelope("Success"), b"[]"]
)
def test_bulk_answer_without_its_counts_is_unreadable(body: bytes) -> None:
    """In bulk only the two counts say that the request was taken."""
    assert read_answer(200, body, bulk=True).verdict is Verdict.UNREADABLE


def test_stopping_and_rejecting_verdicts() -> None:
    """What stops a run at once, what is made sure of first, and what is remembered as rejected; each is one of them."""
    assert {Verdict.CREDENTIALS_REFUSED, Verdict.LOCAL_SETUP, Verdict.WAIT_TOO_LONG} == STOPPING
    others = {Verdict.ACCEPTED, Verdict.TOO_LARGE, Verdict.NOT_YET, Verdict.THROTTLED, Verdict.INTERRUPTED}
    assert set(Verdict) - STOPPING - REJECTIONS - others == FAILURES
    assert {Verdict.REJECTED, Verdict.REJECTED_BY_PROJECT} == REJECTIONS


# What an answer says


@pytest.mark.parametrize(
    ("body", "bulk"),
    [
        (envelope("Success"), False),
        (b'{"code":"Success"}', False),
        (b'{"successCount":1,"failCount":2,"failedUpdates":{}}', True),
    ],
)
def test_success_gives_the_answer(body: bytes, bulk: bool) -> None:
    """On success the data is Iterable's answer, whole."""
    answer = read_answer(200, body, bulk=bulk)

    assert (answer.verdict, answer.status, answer.data) == (Verdict.ACCEPTED, 200, json.loads(body))


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, envelope("BadParams", "no such user"), "400 BadParams: no such user"),
        (400, envelope("BadParams", None), "400 BadParams"),
        (429, b"Rate limit exceeded.", "429 without a code: Rate limit exceeded."),
        (503, b"", "503 with an empty body"),
        (200, b"OK", "200 without a JSON object: OK"),
    ],
)
def test_reason_names_status_code_and_message(status: int, body: bytes, reason: str) -> None:
    """One sentence with what came: status, code, and the server's words."""
    assert read_answer(status, body).reason == reason


def test_html_is_named_as_such() -> None:
    """A page is told from an answer at first sight, its text shortened."""
    reason = read_answer(404, b"<!DOCTYPE html>\n<html>" + b"x" * 5_000 + b"</html>").reason

    assert reason.startswith("404 without a code: an HTML page of 5029 characters: <!DOCTYPE html> <html>xxx")
    assert len(reason) < EXCERPT + 50


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
CODES = st.sampled_from(["Success", "InvalidJwtPayload", *sorted(ROW_CODES)]) | st.text() | JSON
ENVELOPES = st.fixed_dictionaries({"msg": st.text() | JSON, "code": CODES}).map(json.dumps).map(str.encode)


@examples(150)
@given(status=st.integers(100, 599) | st.just(200), body=st.binary() | ENVELOPES, bulk=st.booleans())
def test_any_answer_has_a_verdict_and_one_printable_line(status: int, body: bytes, bulk: bool) -> None:
    """Whatever a server sends is read without an exception, and told in one line that a log can hold."""
    answer = read_answer(status, body, bulk=bulk)

    assert answer.verdict in Verdict
    assert answer.reason.isprintable() and (answer.code or "").isprintable()
    assert len(answer.reason) < 3 * EXCERPT
    if answer.verdict is Verdict.ACCEPTED:
        assert status == 200
        assert bulk or json.loads(body)["code"] == "Success"


@pytest.mark.parametrize("nasty", ["a\nb", "a\r\nb", "a\x00b", "a\x1b[31mb", "a\u2028b", "a\ud800b", "a\x85b"])
def test_code_and_message_cannot_break_a_line(nasty: str) -> None:
    """Line breaks, control characters and lone surrogates do not get into a log."""
    answer = read_answer(400, envelope(nasty, nasty))

    assert nasty not in answer.reason
    assert answer.code is not None
    assert (answer.code + answer.reason).isprintable()


# The result


def test_success_unpacks_into_a_pair() -> None:
    """`success, data = ...` as in the seed, and the rest as attributes."""
    result = ApiResult(ApiResponse(Verdict.ACCEPTED, "Success", 200, "Success", {"msg": "", "code": "Success"}), 2)
    success, data = result

    assert (success, data) == (True, {"msg": "", "code": "Success"})
    assert (result.verdict, result.status, result.code, result.attempts) == (Verdict.ACCEPTED, 200, "Success", 2)


def test_failure_unpacks_into_a_pair() -> None:
    """A failed call's data has the reason as its error, the status and the code."""
    success, data = ApiResult(
        ApiResponse(Verdict.REJECTED, "400 BadParams: x", 400, "BadParams", {"code": "BadParams"}), 1
    )

    assert (success, data) == (False, {"error": "400 BadParams: x", "status": 400, "code": "BadParams"})


def test_spent_retries_keep_the_last_reason() -> None:
    """The fixed words are the error; what the last attempt met is beside them."""
    answer = ApiResponse(Verdict.RETRYABLE, "503 without a code", 503)
    result = ApiResult(answer, 3, "Max retries exceeded", ("503", "timeout"))
    reason = {"status": 503, "code": None, "reason": "503 without a code"}

    assert tuple(result) == (False, {"error": "Max retries exceeded", **reason})
    assert result.retried == ("503", "timeout")


def test_what_an_answer_holds_is_not_in_its_repr() -> None:
    """It may be about a user, or hold a secret."""
    shown = repr(read_answer(200, b'{"code": "Success", "user": "ann@example.com", "msg": "of ann"}'))
    assert "ann" not in shown and "ACCEPTED" in shown
