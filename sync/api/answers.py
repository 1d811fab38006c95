"""What an answer of Iterable's API means: a status and a body in, a verdict out. No I/O.

Sources: the official Swagger document (statuses, the envelope `{"msg", "code", "params"}` and its codes), the
JWT and API-key documentation, and recorded answers. Three things that recordings show and the Swagger does not:
error statuses can carry `code` "Success"; a disallowed event is refused inside a 200; a 429 can be plain text.
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sync.rows.masking import EXCERPT, excerpt
from sync.rows.values import is_deeper

RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})

NAME_CODES = frozenset({"Conflict", "EmailAlreadyExists", "ExternalKeyConflict", "UserIdAlreadyExists"})
"""Codes for a name that another user has. Once that user gives it up, the row will be accepted."""

NO_NAME_CODES = frozenset({"InvalidEmailAddressError", "InvalidUserIdError", "UnknownEmailError", "UnknownUserIdError"})
"""Codes for a name that is not valid, or that no user has."""

ROW_CODES = NAME_CODES | NO_NAME_CODES | {"BadJsonBody", "BadParams", "ForgottenUserError"}
"""Codes that are about the row: if it were sent again unchanged, it would be refused again."""

PROJECT_CODES = frozenset({"RequestFieldsTypesMismatched", "UniqueFieldsLimitExceeded"})
"""Codes for a row that is refused because of the project: a field's type, the field limit."""

JWT_CODES = frozenset({"BadAuthorizationHeader", "InvalidJwtPayload", "JwtUserIdentifiersMismatched"})
"""Codes about the token (Iterable's mobile SDKs); documented with status 400 and recorded with 401."""

BAD_KEY = "BadApiKey"
"""The code about the key, whatever the status."""

_OTHER = {"Success", "GenericError", "DatabaseError", "RateLimitExceeded", "BatchTooLarge", "Forbidden", "NotFound"}
_NOBODY = {"error.users.noUserWithEmailExists", "error.users.noUserWithIdExists"}
KNOWN_CODES = ROW_CODES | PROJECT_CODES | JWT_CODES | {BAD_KEY} | _OTHER | _NOBODY
"""Codes that are compared, or that any client may get: the API's own words, not searched for secrets."""

DISALLOWED_EVENT = "is disallowed from tracking"
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
DEEPEST = 100
"""How deeply an answer may be nested; Iterable's answers have five levels."""


class Verdict(enum.Enum):
    """What became of one call, as far as the caller needs to know."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"  # the row will not be accepted as it is
    REJECTED_BY_PROJECT = "rejected by the project"  # the same, for a reason that may affect other rows too
    TOO_LARGE = "too large"  # the request, not the row
    RETRYABLE = "retryable"  # this attempt failed and another may succeed
    NOT_YET = "not known yet"  # a user who was just created; another attempt may succeed
    THROTTLED = "throttled"  # 429: about the quota, not about the row
    UNREADABLE = "unreadable"  # nobody knows what it means
    JWT_REFUSED = "token refused"
    CREDENTIALS_REFUSED = "credentials refused"  # stops a run
    FORBIDDEN = "forbidden"  # a 401 or 403 that does not name the key: perhaps not from Iterable at all
    LOCAL_SETUP = "local setup"  # a proxy or certificate file of this machine does not work; stops a run
    WRONG_URL = "wrong URL"
    WAIT_TOO_LONG = "asked to wait too long"  # stops a run
    INTERRUPTED = "interrupted"  # stopped before an answer; nothing is known to be accepted


STOPPING = frozenset({Verdict.CREDENTIALS_REFUSED, Verdict.LOCAL_SETUP, Verdict.WAIT_TOO_LONG})
"""Verdicts that would be the same for every other user. They stop a run at once."""

FAILURES = frozenset({Verdict.RETRYABLE, Verdict.UNREADABLE, Verdict.JWT_REFUSED, Verdict.FORBIDDEN, Verdict.WRONG_URL})
"""Verdicts that may be about one user or about all users. A run finds out which before it stops."""

SPENT = frozenset({Verdict.RETRYABLE, Verdict.THROTTLED, Verdict.NOT_YET})
"""Verdicts that another attempt may change. A call ends with one of them when its attempts are used up."""

REJECTIONS = frozenset({Verdict.REJECTED, Verdict.REJECTED_BY_PROJECT})


@dataclass(frozen=True)
class ApiResponse:
    """One answer, read: `status` is None if there was none; `reason` is one sentence for people, without secrets.

    `said` is Iterable's own message in lower case, for comparing it with known words.
    It may hold a secret, so it is never shown.
    """

    verdict: Verdict
    reason: str
    status: int | None = None
    code: str | None = None
    data: Mapping[str, Any] | None = field(default=None, repr=False)
    said: str = field(default="", repr=False)


class ApiResult(tuple[bool, dict[str, Any]]):
    """`success, data = client.update_user(...)`, with the rest as attributes.

    `data` is Iterable's answer on success and `{"error": ..., "status": ..., "code": ...}` otherwise. `verdict`,
    `reason`, `status`, `code`, `attempts` (requests made) and `retried` (what each repeated attempt met: a status,
    "timeout" or "connection") tell a run what it needs beyond the pair. `understood` says that the answer was a JSON
    object, so it came from an API. `said` is as in `ApiResponse`. Secrets are masked in everything except `said` and
    what a run compares: the data of bulk calls and of calls that read.
    """

    answer: ApiResponse
    verdict: Verdict
    reason: str
    status: int | None
    code: str | None
    attempts: int
    retried: tuple[str, ...]
    understood: bool
    said: str

    def __new__(
        cls, answer: ApiResponse, attempts: int, error: str | None = None, retried: tuple[str, ...] = ()
    ) -> ApiResult:
        """Wrap `answer`; `error` replaces its reason as the short word for what happened."""
        data = dict(answer.data or {})
        if not (success := answer.verdict is Verdict.ACCEPTED):
            data = {"error": error or answer.reason, "status": answer.status, "code": answer.code}
            data |= {"reason": answer.reason} if error else {}
        self = super().__new__(cls, (success, data))
        self.verdict, self.reason, self.status, self.code = answer.verdict, answer.reason, answer.status, answer.code
        self.answer, self.said, self.understood = answer, answer.said, answer.data is not None
        self.attempts, self.retried = attempts, retried
        return self

    def __repr__(self) -> str:
        return f"ApiResult({self[0]}, reason={self.reason!r}, status={self.status}, code={self.code!r})"


def read_answer(status: int, body: bytes, *, bulk: bool = False, masked: Callable[[str], str] = str) -> ApiResponse:
    """Say what `status` and `body` mean; `bulk` answers have no `code` when they succeed.

    `masked` removes the secrets from a text. The meaning of an answer never depends on them.
    """
    data = _json_object(body)
    code = data.get("code") if data else None
    code = excerpt(code if code in KNOWN_CODES else masked(code)) if isinstance(code, str) else None
    said = str(data.get("msg") or "") if data and "msg" in data else body.decode("utf-8", "replace")
    message = excerpt(masked(said)) if said else ""
    if status == 200:
        verdict, reason = _meaning_of_200(code, message, data, bulk=bulk)
    else:
        told = f"{status} {code or ('without a code' if body else 'with an empty body')}"
        verdict, reason = _verdict_of_failure(status, code), f"{told}: {message}" if message else told
    return ApiResponse(verdict, reason, status, code, data, said[:EXCERPT].lower())


def _meaning_of_200(code: str | None, message: str, data: dict[str, Any] | None, *, bulk: bool) -> tuple[Verdict, str]:
    """A 200 is accepted only if it says Success, or in bulk if it gives its counts."""
    if data is None:
        return Verdict.UNREADABLE, f"200 without a JSON object: {message}"
    if DISALLOWED_EVENT in str(data.get("msg")):
        return Verdict.REJECTED_BY_PROJECT, f"200 refused: {message}"
    counted = isinstance(data.get("successCount"), int) and isinstance(data.get("failCount"), int)
    if counted if bulk else code == "Success":
        return Verdict.ACCEPTED, "Success"
    if code in PROJECT_CODES or code in ROW_CODES:
        return _verdict_of_failure(200, code), f"200 {code}: {message}"
    return Verdict.UNREADABLE, f"200 with code {code!r} instead of Success: {message}"


def _verdict_of_failure(status: int, code: str | None) -> Verdict:
    """The first match counts. Codes come before statuses, because a type conflict is permanent even with status 500.

    404, 405 and redirects say nothing about the row. Whatever remains is unreadable.
    """
    meanings = (
        (status == 429, Verdict.THROTTLED),
        (code in PROJECT_CODES, Verdict.REJECTED_BY_PROJECT),
        (status in RETRYABLE_STATUSES, Verdict.RETRYABLE),
        (code in JWT_CODES, Verdict.JWT_REFUSED),
        (code == BAD_KEY, Verdict.CREDENTIALS_REFUSED),
        (status in {401, 403}, Verdict.FORBIDDEN),
        (code in ROW_CODES, Verdict.REJECTED),
        (status in {404, 405} or 300 <= status < 400, Verdict.WRONG_URL),
        (status == 413 or code == "BatchTooLarge", Verdict.TOO_LARGE),
    )
    return next((verdict for applies, verdict in meanings if applies), Verdict.UNREADABLE)


def retry_after(value: str | None, date: str | None = None) -> float:
    """Seconds that a `Retry-After` header asks to wait: a number, rounded up, or an HTTP date; 0 for none or junk.

    `date` is the server's own time, from which its dates are measured: this machine's clock may be wrong.
    """
    if not value:
        return 0.0
    if _SECONDS.fullmatch(value.strip()):
        return float(math.ceil(min(float(value), 1e9)))  # more is the same
    moment = _http_date(value)
    return max(0.0, (moment - (_http_date(date) or datetime.now(UTC))).total_seconds()) if moment else 0.0


def _http_date(value: str | None) -> datetime | None:
    """The moment that a header names; None for none or junk."""
    try:
        moment = parsedate_to_datetime(value or "")
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not is_deeper(value, DEEPEST) else None
