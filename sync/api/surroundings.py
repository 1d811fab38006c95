"""What this machine puts between the client and Iterable: the proxy and the certificates that its environment names.

`requests` obeys these variables by itself. They are looked up here so that a proxy or a file that does not work is
blamed by the name of its variable, in the spelling that is set.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
KEY_LOG_VARIABLE = "SSLKEYLOGFILE"


class Surroundings(NamedTuple):
    """The proxy's URL and the certificates' path, each with the variable that names it; None where there is none."""

    proxy: str | None = None
    proxy_variable: str | None = None
    certificates: str | None = None
    certificates_variable: str | None = None

    @property
    def proxy_name(self) -> str:
        """The proxy in a sentence, without its URL, in which a password may stand."""
        if self.proxy_variable is None:
            return "the proxy of this machine's network settings"
        return f"the proxy that {self.proxy_variable} names"

    @property
    def way(self) -> str:
        """What stands between here and Iterable, for the end of a sentence."""
        if self.proxy is None:
            return ""
        if self.proxy_variable is None:
            return " (through the proxy of this machine's network settings)"
        return f" (through the proxy that {self.proxy_variable} names)"

    def certificates_problem(self) -> str | None:
        """Why the certificates cannot be read, if they cannot."""
        if self.certificates is None:
            return None
        told = f"{self.certificates_variable or 'the session'} names {self.certificates}, which"
        try:
            _load(self.certificates)
        except FileNotFoundError:
            return f"{told} does not exist"
        except ssl.SSLError:
            return f"{told} is no file of certificates"
        except OSError as error:
            return f"{told} cannot be read: {error.strerror}"
        return None


def key_log_problem() -> str | None:
    """Why the keys of TLS cannot be written to the file that SSLKEYLOGFILE names; without it nothing is written."""
    if path := os.environ.get(KEY_LOG_VARIABLE):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).keylog_filename = path
        except OSError as error:
            return f"{KEY_LOG_VARIABLE} names {path}, which cannot be written: {error.strerror}"
    return None


def _load(certificates: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if Path(certificates).is_dir():
        context.load_verify_locations(capath=certificates)
    else:
        context.load_verify_locations(certificates)


def look_around(scheme: str, proxy: str | None, certificates: object) -> Surroundings:
    """Find the variables behind what `requests` took from the environment for a URL of this `scheme`."""
    path = certificates if isinstance(certificates, str) and scheme == "https" else None
    named = [name for kind in (scheme, "all") for name in _spelled(f"{kind}_proxy")]
    return Surroundings(proxy, _naming(proxy, named), path, _naming(path, CERTIFICATE_VARIABLES))


def _spelled(name: str) -> list[str]:
    """The variables of this name in any case, lower case first, which is the one that counts."""
    return sorted((variable for variable in os.environ if variable.lower() == name), reverse=True)


def _naming(value: str | None, variables: Iterable[str]) -> str | None:
    return next((name for name in variables if value and os.environ.get(name) == value), None)


def passwords_in(proxy: str | None) -> tuple[str, ...]:
    """The password in a proxy's URL in all forms in which it travels."""
    try:
        parts = urlsplit(proxy or "")
    except ValueError:
        return ()
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return (parts.password or "", password, token) if password else ()
