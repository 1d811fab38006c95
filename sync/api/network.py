"""What it means if there is no answer: is the problem temporary, or a fault of this machine that will stay?

This machine's faults are those of the proxy and the certificates that environment variables name. `requests` reads
these variables itself. They are looked up here so that a message can name the variable, spelt as it is set.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from requests.utils import select_proxy
from urllib3 import exceptions as urllib3_errors

from sync.api.answers import ApiResponse, Verdict
from sync.rows.masking import excerpt

CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXY_AUTHENTICATION = 407

_SECONDS = re.compile(r" \((read|connect) timeout=[^)]*\)")
"""The timeout in a message of urllib3: only the time that was left in the end, which means nothing to a reader."""

_PLAIN_PROXY = "proxy appears to only use HTTP and not HTTPS"
"""What urllib3 says if the answer to its TLS handshake is not TLS."""

NETWORK_ERRORS = (requests.RequestException, urllib3_errors.HTTPError, OSError, UnicodeError)
"""What `requests` and urllib3 raise when there is no answer."""

UNUSABLE = (InvalidURL, InvalidSchema, MissingSchema, urllib3_errors.LocationValueError, UnicodeError)
"""Errors for an invalid URL, of Iterable or of a proxy. Their text may contain the proxy's password."""


class Surroundings(NamedTuple):
    """What is between here and Iterable, for `requests` and for messages: a proxy, and the certificates to trust."""

    options: Mapping[str, Any] = {}
    certificates: str | None = None
    certificates_variable: str = ""
    proxy: str | None = None
    whose_proxy: str = ""
    passwords: tuple[str, ...] = ()


def look_around(session: requests.Session, url: str) -> Surroundings:
    """Find out what `requests` takes from the environment for this `url`, and from which of its variables."""
    parts = urlsplit(url)
    options: dict[str, Any] = dict(session.merge_environment_settings(url, {}, False, None, None))
    if is_this_machine(parts.hostname):
        options["proxies"] = {}  # what is meant for this machine stays on it
    proxy, verify = select_proxy(url, options["proxies"]), options["verify"]
    counting = (f"{parts.scheme}_proxy", "all_proxy", *map(str.lower, CERTIFICATE_VARIABLES))
    spelled = sorted(os.environ, key=lambda name: (name.lower(), name))  # lower case last, because it wins
    variables = {os.environ[name]: name for name in spelled if name.lower() in counting}
    believed = verify if isinstance(verify, str) and parts.scheme == "https" else None
    naming = variables.get(proxy or "")
    whose = f"that {naming} names" if naming else "of this machine's network settings"
    return Surroundings(options, believed, variables.get(verify, "the session"), proxy, whose, _passwords_in(proxy))


def _passwords_in(proxy: str | None) -> tuple[str, ...]:
    """The password in a proxy's URL, in every form in which it is sent."""
    login = (proxy or "").rpartition("@")[0].rpartition("://")[2]
    password = login.partition(":")[2]
    return (password, unquote(password), base64.b64encode(unquote(login).encode()).decode()) if password else ()


def no_answer(error: Exception, around: Surroundings, masked: Callable[[str], str] = str) -> ApiResponse:
    """Interpret a missing answer: a fault of this machine is permanent and names its variable; anything else may pass.

    `masked` removes the secrets from what the libraries say.
    """
    if f"Tunnel connection failed: {PROXY_AUTHENTICATION}" in str(error):
        return proxy_refuses(around)
    root = _innermost(error)
    said = _SECONDS.sub("", str(root.args[-1])) if root.args else ""
    cause = excerpt(f"{type(root).__name__} {masked(said)}".strip())[:200]
    cause += f" (through the proxy {around.whose_proxy})" if around.proxy else ""
    if problem := _own_fault(error, root, around, cause):
        return ApiResponse(Verdict.LOCAL_SETUP, problem)
    timed_out = isinstance(error, requests.Timeout) or isinstance(root, (urllib3_errors.TimeoutError, TimeoutError))
    refused = isinstance(root, urllib3_errors.NewConnectionError)  # which urllib3 counts among the time-outs
    return ApiResponse(Verdict.RETRYABLE, f"{'timeout' if timed_out and not refused else 'connection'}: {cause}")


def proxy_refuses(around: Surroundings) -> ApiResponse:
    """A proxy that asks for credentials, or for different ones. Its own words are not repeated."""
    told = f"the proxy {around.whose_proxy} wants a user and a password, or different ones ({PROXY_AUTHENTICATION})"
    return ApiResponse(Verdict.LOCAL_SETUP, told, PROXY_AUTHENTICATION)


def _own_fault(error: Exception, root: BaseException, around: Surroundings, cause: str) -> str | None:
    """Why no request from this machine can succeed until its setup is changed; None if that is not so."""
    said, proxy = str(error), f"the proxy {around.whose_proxy}" if around.proxy else "the base URL"
    needs_socks = isinstance(error, InvalidSchema) and (around.proxy or "").lower().startswith("socks")
    wrong_url = isinstance(error, UNUSABLE) or isinstance(root, UNUSABLE)
    refused = f"the certificate was not accepted, so nothing was sent: {cause}"
    believed = f" ({around.certificates_variable} names the certificates to trust)" if around.certificates else ""
    file = _unusable_file(root, around)
    faults = (
        (needs_socks, f"{proxy} is a SOCKS proxy, which needs the package PySocks"),
        (wrong_url, f"{proxy} cannot be used, its URL is wrong: {type(error).__name__}"),
        (_PLAIN_PROXY in said, f"{proxy} speaks no TLS itself: its URL has to begin with http://"),
        (file, f"{file}, so nothing was sent"),
        ("CERTIFICATE_VERIFY_FAILED" in said, f"{refused}{believed}"),
    )
    return next((told for applies, told in faults if applies), None)


def _unusable_file(root: BaseException, around: Surroundings) -> str | None:
    """The file that a variable names and that cannot be read or, for SSLKEYLOGFILE, cannot be written."""
    if isinstance(root, OSError) and root.filename and root.filename == os.environ.get("SSLKEYLOGFILE"):
        return f"SSLKEYLOGFILE names {root.filename}, which cannot be written: {root.strerror}"
    if not (path := around.certificates):
        return None
    told, context = f"{around.certificates_variable} names {path}, which", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(*((None, path) if Path(path).is_dir() else (path,)))
    except FileNotFoundError:
        return f"{told} does not exist"
    except OSError as problem:
        return f"{told} is not a readable file of certificates: {problem.strerror}"
    return None


def _innermost(error: BaseException) -> BaseException:
    """The first error of a chain of network errors."""
    reason = getattr(error, "original_error", None) or getattr(error, "reason", None)
    inner = next((part for part in error.args if isinstance(part, BaseException)), reason)
    return _innermost(inner) if isinstance(inner, BaseException) else error


# -- addresses that may be called ----------------------------------------------------------------------------------


def is_this_machine(host: str | None) -> bool:
    """Whether the host is this machine, which is called without a proxy and may be called without TLS."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def is_readable_on_the_way(base_url: str) -> bool:
    """Whether others could read what is sent to this address: http, and not to this machine.

    Only a plain host and port are known to be this machine, since libraries read anything else in different ways.
    """
    url = base_url.strip().lower()
    host = re.sub(r":[0-9]+$", "", url.removeprefix("http://").split("/")[0])
    return url.startswith("http:") and not is_this_machine(host.strip("[]"))
