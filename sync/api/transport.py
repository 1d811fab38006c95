"""How one request goes out and its answer comes back whole: connections, proxies, certificates, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import requests
from requests.exceptions import InvalidProxyURL
from requests.utils import select_proxy
from urllib3.util import parse_url

from sync.api.deadline import Deadline, DeadlineAdapter
from sync.api.endpoints import is_this_machine
from sync.api.surroundings import Surroundings, look_around, passwords_in

LONGEST_ANSWER = 32_000_000
"""Bytes, unpacked. Iterable's longest answers name a project's fields, or why the users of a batch were refused."""

PART = 1_000_000


class Answer(Protocol):
    """What is read of an answer: `requests.Response` has it, too."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""

    @property
    def content(self) -> bytes | Any:
        """The whole body, unpacked."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, found in any case."""

    @property
    def request(self) -> requests.PreparedRequest:
        """What was asked."""


class Reply(NamedTuple):
    """An answer, read to its end."""

    status_code: int
    content: bytes
    headers: Mapping[str, str]
    request: requests.PreparedRequest


class TooLongError(requests.RequestException):
    """An answer that no API gives: reading on would cost the memory of this machine."""


def _body_of(response: requests.Response) -> bytes:
    """The whole body, unpacked; a connection that breaks inside of it breaks here."""
    body = b""
    for part in response.iter_content(PART):
        body += part
        if len(body) > LONGEST_ANSWER:
            response.close()
            raise TooLongError(f"an answer of more than {LONGEST_ANSWER:,} bytes")
    return body


class Transport:
    """Pooled connections to one host. Safe to share between threads; `workers` sizes the pool.

    Requests go straight to the adapter that is mounted on `session`. `Session.send` would follow redirects (the key
    would travel), look into `~/.netrc` (whose entry would replace the Authorization header) and cost as much time
    again as the request itself. What it is good for, proxies and certificates from the environment, is asked for once.
    """

    def __init__(self, workers: int) -> None:
        self.session = requests.Session()
        self.surroundings = Surroundings()
        self.passwords: tuple[str, ...] = ()
        adapter = DeadlineAdapter(pool_connections=1, pool_maxsize=workers)
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)
        self._prepared: dict[tuple[str, str], requests.PreparedRequest] = {}
        self._environment: dict[str, Any] | None = None

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Reply:
        """Make one request, which takes at most `timeout` seconds from connect to the last byte.

        Raises what `requests` and urllib3 raise when there is no answer.
        """
        request = self._template(method, url).copy()
        request.headers.update(headers)
        if body is not None:
            request.body = body
            request.headers["Content-Length"] = str(len(body))
        adapter = self.session.get_adapter(url)
        environment = self._environment or self._look_around(url)
        deadline: Any = Deadline(timeout)  # urllib3's kind of time-out, which the stubs of `requests` do not know
        response = adapter.send(request, timeout=deadline, **environment)
        return Reply(response.status_code, _body_of(response), response.headers, request)

    def _look_around(self, url: str) -> dict[str, Any]:
        """Ask the environment for proxies and certificates, and remember which of its variables named them."""
        parts = urlsplit(url)
        environment: dict[str, Any] = dict(self.session.merge_environment_settings(url, {}, False, None, None))
        if is_this_machine(parts.hostname):
            environment["proxies"] = {}  # what is meant for this machine stays on it
        proxy = select_proxy(url, environment["proxies"])
        self.passwords = passwords_in(proxy)
        self.surroundings = look_around(parts.scheme, proxy, environment["verify"])
        if proxy and not parse_url(proxy).host:
            raise InvalidProxyURL  # `requests` itself fails with a TypeError where a user is given and no host
        self._environment = environment
        return environment

    def _template(self, method: str, url: str) -> requests.PreparedRequest:
        """The request without body and credentials; made once for each endpoint."""
        template = self._prepared.get((method, url))
        if template is None:
            headers = {
                **self.session.headers,
                "Content-Type": "application/json",
                "Accept": "application/json",
            }
            template = requests.Request(method, url, headers=headers).prepare()
            if method == "POST":
                self._prepared[method, url] = template
        return template
