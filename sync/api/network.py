"""What an error of the network means: nothing was answered, and another attempt may or may not help."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, SSLError
from urllib3.exceptions import LocationValueError, NewConnectionError
from urllib3.exceptions import TimeoutError as UrllibTimeoutError

from sync.api.answers import ApiResponse, Verdict
from sync.api.surroundings import Surroundings, key_log_problem
from sync.api.text import excerpt

MAX_RETRY_AFTER = 120.0
"""Seconds: the longest `Retry-After` that is waited for; longer stops the run."""

PROXY_AUTHENTICATION = 407
_SECONDS = re.compile(r" \((read|connect) timeout=[^)]*\)")
"""What urllib3 says of the time-out: what was left of it in the end, which tells nobody anything."""

_PLAIN_PROXY = "proxy appears to only use HTTP and not HTTPS"
"""What urllib3 says when the answer to its TLS handshake is none."""

UNUSABLE = (InvalidURL, InvalidSchema, MissingSchema, LocationValueError, UnicodeError)
"""A URL that is none, of Iterable or of a proxy; a proxy's password may be in the error's text."""


def no_answer(error: Exception, around: Surroundings, masked: Callable[[str], str] = str) -> ApiResponse:
    """What this machine has to put right stays so, and names its variable; everything else may pass.

    `masked` takes the secrets out of what the libraries say.
    """
    problem = _local_problem(error, around, masked)
    if problem:
        return ApiResponse(Verdict.LOCAL_SETUP, problem)
    if f"Tunnel connection failed: {PROXY_AUTHENTICATION}" in str(error):
        return proxy_refuses(around)
    timed_out = isinstance(error, requests.Timeout) or _is_timeout(_innermost(error))
    return ApiResponse(
        Verdict.RETRYABLE, f"{'timeout' if timed_out else 'connection'}: {_cause(error, masked)}{around.way}"
    )


def _is_timeout(root: BaseException) -> bool:
    """A connection that was refused is none, though urllib3 counts it among them."""
    return isinstance(root, (UrllibTimeoutError, TimeoutError)) and not isinstance(root, NewConnectionError)


def _local_problem(error: Exception, around: Surroundings, masked: Callable[[str], str]) -> str | None:
    """Why no request from this machine can succeed before somebody changes its setup, if that is so."""
    if isinstance(error, InvalidSchema) and (around.proxy or "").lower().startswith("socks"):
        return f"{around.proxy_name} is a SOCKS proxy, which needs the package PySocks"
    if isinstance(error, UNUSABLE) or isinstance(_innermost(error), UNUSABLE):
        what = around.proxy_name if around.proxy else "the base URL"
        return f"{what} cannot be used, its URL is wrong: {type(error).__name__}"
    if _PLAIN_PROXY in str(error):
        return f"{around.proxy_name} speaks no TLS itself: its URL has to begin with http://"
    problem = around.certificates_problem() or (key_log_problem() if _is_about_a_file(_innermost(error)) else None)
    if problem:
        return f"{problem}, so nothing was sent"
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        believed = f" ({around.certificates_variable} says whom to believe)" if around.certificates_variable else ""
        return f"the certificate was not accepted, so nothing was sent: {_cause(error, masked)}{believed}{around.way}"
    return None


def _is_about_a_file(root: BaseException) -> bool:
    """What the system says of a file, and not of a connection."""
    return isinstance(root, OSError) and not isinstance(root, (ConnectionError, TimeoutError))


def proxy_refuses(around: Surroundings) -> ApiResponse:
    """A proxy that wants credentials, or others; what it says is not repeated."""
    told = f"{around.proxy_name} wants a user and a password, or other ones ({PROXY_AUTHENTICATION})"
    return ApiResponse(Verdict.LOCAL_SETUP, told, PROXY_AUTHENTICATION)


def _innermost(error: BaseException) -> BaseException:
    """Where a chain of network errors began."""
    reason = getattr(error, "original_error", None) or getattr(error, "reason", None)
    inner = next((part for part in error.args if isinstance(part, BaseException)), reason)
    return _innermost(inner) if isinstance(inner, BaseException) else error


def _cause(error: BaseException, masked: Callable[[str], str]) -> str:
    """The innermost sentence of a chain of network errors, without object addresses and secrets."""
    root = _innermost(error)
    text = _SECONDS.sub("", str(root.args[-1])) if root.args else ""
    return excerpt(f"{type(root).__name__} {masked(text)}".strip())[:200]


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
