"""The catalogue of faults: every way in which the real service and the network before it can fail."""

from __future__ import annotations

from dataclasses import replace

from tests.stand_in.faults import UNAVAILABLE as UNAVAILABLE
from tests.stand_in.faults import Ending as Ending
from tests.stand_in.faults import Fault as Fault
from tests.stand_in.faults import Faults as Faults
from tests.stand_in.faults import at_random as at_random
from tests.stand_in.faults import bulk_result as bulk_result
from tests.stand_in.faults import on as on
from tests.stand_in.faults import page as page
from tests.stand_in.faults import rate_limited as rate_limited
from tests.stand_in.faults import raw as raw
from tests.stand_in.faults import redirect as redirect
from tests.stand_in.faults import refused as refused
from tests.stand_in.faults import scripted as scripted
from tests.stand_in.faults import slow as slow

_JWT_ENDPOINT = {"endpoint": "/api/users/update"}


_CUT_BODY = b'{"msg":"User successfully created/updated.","code":"Succ'


RATE_LIMITED = rate_limited()


RATE_LIMITED_TEXT = rate_limited(text=True)


RATE_LIMITED_SECONDS = rate_limited("1")


RATE_LIMITED_DATE = rate_limited("Wed, 21 Oct 2015 07:28:00 GMT", text=True)


RATE_LIMITED_JUNK = rate_limited("soon")


SERVER_ERROR = refused(
    500,
    "GenericError",
    "An error occurred. Please try again later. If problem persists, please contact your CSM",
)


DATABASE_ERROR = refused(500, "DatabaseError")


BAD_GATEWAY = page(502, "502 Bad Gateway")


GATEWAY_TIMEOUT = page(504, "504 Gateway Time-out")


GATEWAY_TIMEOUT_APPLIED = GATEWAY_TIMEOUT.applied()


REQUEST_TIMEOUT = raw("408", 408, b"", "text/plain")


NO_ANSWER = Fault("no answer", silent=True, ending=Ending.HOLD)


NO_ANSWER_APPLIED = NO_ANSWER.applied()


RESET = Fault("reset", silent=True, ending=Ending.RESET)


CLOSED = Fault("closed", silent=True, ending=Ending.CLOSE)


LOST_ANSWER = replace(CLOSED, name="lost answer", applies=True)


CUT_SHORT = replace(raw("cut short", 200, _CUT_BODY), applies=True, missing=20, ending=Ending.CLOSE)


CUT_JSON = raw("200 cut JSON", 200, _CUT_BODY).applied()


ARRAY = raw("200 []", 200, b"[]")


STRING = raw("200 string", 200, b'"ok"')


NULL = raw("200 null", 200, b"null")


EMPTY = raw("200 empty", 200, b"")


NOT_UTF8 = raw("200 not UTF-8", 200, b'{"msg":"\xff\xfe","code":"Success"}')


PAGE = page(200, "Welcome to the hotel network")


TEXT = raw("200 text", 200, b"OK", "text/plain")


NO_CODE = raw("200 without code", 200, b'{"msg":""}')


DISALLOWED_EVENT = raw("200 disallowed", 200, b'{"msg":"event x is disallowed from tracking."}')


DISALLOWED_SUCCESS = refused(200, "Success", "event x is disallowed from tracking.")


OTHER_CODE = refused(200, "BadParams")


SUCCESS_ON_400 = refused(400, "Success", "error.lists.invalidListId(1)", {"listId": 1})


SUCCESS_ON_401 = refused(401, "Success", "Invalid API key")


MOVED = redirect(301)


FOUND = redirect(302)


TEMPORARY_REDIRECT = redirect(307)


ACTION_NOT_FOUND = page(404, "Action not found")


NOT_ALLOWED = page(405, "405 Not Allowed")


BAD_API_KEY = refused(401, "BadApiKey", "Invalid API key", {"ip": "127.0.0.1", **_JWT_ENDPOINT})


FORBIDDEN = refused(403, "Forbidden")


FORGOTTEN = refused(409, "ForgottenUserError")


CONFLICT = refused(409, "Conflict")


TOO_LARGE = page(413, "Request Entity Too Large")


BATCH_TOO_LARGE = refused(400, "BatchTooLarge")


INVALID_EMAIL = refused(400, "InvalidEmailAddressError", "Invalid email: 000")


BAD_PARAMS = refused(400, "BadParams")


TYPES_MISMATCHED = refused(400, "RequestFieldsTypesMismatched", "", {"validationErrors": {}})


TYPES_MISMATCHED_500 = refused(500, "RequestFieldsTypesMismatched", "", {"validationErrors": {}})


UNKNOWN_CODE = refused(400, "error.users.noUserWithIdExists")


JWT_EXPIRED = refused(401, "InvalidJwtPayload", "JWT token is expired", _JWT_ENDPOINT)


JWT_TOO_LONG = refused(401, "InvalidJwtPayload", "exp must be less than 1 year from iat", _JWT_ENDPOINT)


JWT_FORMAT = refused(401, "InvalidJwtPayload", "JWT format is invalid", _JWT_ENDPOINT)


JWT_SIGNATURE = refused(401, "InvalidJwtPayload", "JWT is invalid", _JWT_ENDPOINT)


JWT_PAYLOAD = refused(401, "InvalidJwtPayload", "Invalid payload", _JWT_ENDPOINT)


JWT_WITHOUT_USER = refused(401, "InvalidJwtPayload", "JWT payload requires a value for userId or email", _JWT_ENDPOINT)


JWT_UNKNOWN_USER = refused(401, "InvalidJwtPayload", "Email could not be found", _JWT_ENDPOINT)


JWT_INVALIDATED = refused(401, "InvalidJwtPayload", "JWT token has been invalidated", _JWT_ENDPOINT)


JWT_MISSING = refused(401, "BadAuthorizationHeader", "JWT authorization header is not set", _JWT_ENDPOINT)


JWT_MISMATCH = refused(401, "JwtUserIdentifiersMismatched", "", _JWT_ENDPOINT)


JWT_MISMATCH_400 = refused(400, "JwtUserIdentifiersMismatched", "", _JWT_ENDPOINT)


EVERY_TRANSIENT_FAULT: tuple[Fault, ...] = (
    RATE_LIMITED,
    RATE_LIMITED_TEXT,
    RATE_LIMITED_SECONDS,
    RATE_LIMITED_DATE,
    RATE_LIMITED_JUNK,
    SERVER_ERROR,
    DATABASE_ERROR,
    BAD_GATEWAY,
    UNAVAILABLE,
    GATEWAY_TIMEOUT,
    GATEWAY_TIMEOUT_APPLIED,
    REQUEST_TIMEOUT,
    NO_ANSWER,
    NO_ANSWER_APPLIED,
    RESET,
    CLOSED,
    LOST_ANSWER,
    CUT_SHORT,
)
"""The same request may well succeed the next time."""


EVERY_GARBLED_FAULT: tuple[Fault, ...] = (
    CUT_JSON,
    ARRAY,
    STRING,
    NULL,
    EMPTY,
    NOT_UTF8,
    PAGE,
    TEXT,
    NO_CODE,
)
"""A complete 200 that does not say whether the request was taken."""


EVERY_REFUSAL: tuple[Fault, ...] = (
    DISALLOWED_EVENT,
    DISALLOWED_SUCCESS,
    OTHER_CODE,
    SUCCESS_ON_400,
    SUCCESS_ON_401,
    MOVED,
    FOUND,
    TEMPORARY_REDIRECT,
    ACTION_NOT_FOUND,
    NOT_ALLOWED,
    BAD_API_KEY,
    FORBIDDEN,
    FORGOTTEN,
    CONFLICT,
    TOO_LARGE,
    BATCH_TOO_LARGE,
    INVALID_EMAIL,
    BAD_PARAMS,
    TYPES_MISMATCHED,
    TYPES_MISMATCHED_500,
    UNKNOWN_CODE,
)
"""The same request would get the same answer again."""


EVERY_JWT_FAULT: tuple[Fault, ...] = (
    JWT_EXPIRED,
    JWT_TOO_LONG,
    JWT_FORMAT,
    JWT_SIGNATURE,
    JWT_PAYLOAD,
    JWT_WITHOUT_USER,
    JWT_UNKNOWN_USER,
    JWT_INVALIDATED,
    JWT_MISSING,
    JWT_MISMATCH,
    JWT_MISMATCH_400,
)
"""What is said of a JWT (the messages that Iterable's SDKs know)."""


EVERY_FAULT = EVERY_TRANSIENT_FAULT + EVERY_GARBLED_FAULT + EVERY_REFUSAL + EVERY_JWT_FAULT
