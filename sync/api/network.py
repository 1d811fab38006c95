"""What an error of the network means: nothing was answered, and another attempt may or may not help."""

from __future__ import annotations

from dataclasses import replace

import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, SSLError
from urllib3.exceptions import ReadTimeoutError

from sync.api.answers import ApiResponse, Verdict
from sync.api.text import excerpt

MAX_RETRY_AFTER = 120.0
"""Seconds: the longest `Retry-After` that is waited for; longer stops the run."""


def no_answer(error: Exception) -> ApiResponse:
    """A URL that is none and a certificate that is not accepted stay so; everything else may pass."""
    if isinstance(error, (InvalidURL, InvalidSchema, MissingSchema)):  # in whose text a proxy's password may be
        return ApiResponse(Verdict.LOCAL_SETUP, f"the base URL or a proxy's cannot be used: {type(error).__name__}")
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return ApiResponse(
            Verdict.LOCAL_SETUP, f"the certificate was not accepted, so nothing was sent: {_cause(error)}"
        )
    if isinstance(error, requests.Timeout) or (error.args and isinstance(error.args[0], ReadTimeoutError)):
        return ApiResponse(Verdict.RETRYABLE, f"timeout: {_cause(error)}")
    return ApiResponse(Verdict.RETRYABLE, f"connection: {_cause(error)}")


def _cause(error: BaseException) -> str:
    """The innermost sentence of a chain of network errors, without object addresses."""
    reason = getattr(error, "reason", None)
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else reason
    if isinstance(inner, BaseException):
        return _cause(inner)
    text = str(error.args[-1]) if error.args else ""
    return excerpt(f"{type(error).__name__} {text}".strip())[:200]


def label(answer: ApiResponse) -> str:
    """What a retried attempt met: a status, "timeout" or "connection"."""
    return str(answer.status) if answer.status else answer.reason.partition(":")[0]


def interrupted() -> ApiResponse:
    """A call that was given up because the run stops."""
    return ApiResponse(Verdict.INTERRUPTED, "the run was stopped")


def wait_too_long(answer: ApiResponse, wait: float) -> ApiResponse:
    """An answer that asks for a longer pause than a run makes."""
    told = f"Iterable asks to wait {wait:.0f} s, more than {MAX_RETRY_AFTER:.0f} s: {answer.reason}"
    return replace(answer, verdict=Verdict.WAIT_TOO_LONG, reason=told)
