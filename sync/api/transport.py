"""Send one request and read its whole answer: connections, proxies, certificates, nothing else."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import requests
from requests.exceptions import InvalidProxyURL
from requests.structures import CaseInsensitiveDict
from urllib3.util import parse_url

from sync.api.deadline import DeadlineAdapter
from sync.api.network import Surroundings, look_around

LONGEST_ANSWER = 32_000_000
"""Bytes, uncompressed. Iterable's longest answers list a project's fields, or why the users of a batch were refused."""

PART = 1_000_000


class Reply(NamedTuple):
    """An answer, read to its end."""

    status_code: int
    content: bytes
    headers: Mapping[str, str]
    request: requests.PreparedRequest


Answer = Reply | requests.Response


class TooLongError(requests.RequestException):
    """An answer too long for any API. Reading on could use up this machine's memory."""


def _body_of(response: requests.Response) -> bytes:
    """The whole body, uncompressed; raises if the connection breaks before its end."""
    body = b""
    for part in response.iter_content(PART):
        body += part
        if len(body) > LONGEST_ANSWER:
            response.close()
            raise TooLongError(f"an answer of more than {LONGEST_ANSWER:,} bytes")
    return body


@functools.lru_cache(maxsize=64)
def _encoded(url: str) -> str | None:
    """The URL as it is sent; raises what `requests` raises for an invalid one."""
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    return request.url


class Transport:
    """Pooled connections to one host. Safe to share between threads; `workers` sizes the pool.

    Requests go straight to the adapter that is mounted on `session`. `Session.send` would follow redirects (and send
    the key along), look into `~/.netrc` (whose entry would replace the Authorization header) and take as long again as
    the request itself. Its useful part, proxies and certificates from the environment, is looked up once.
    """

    def __init__(self, workers: int) -> None:
        self.session = requests.Session()
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, DeadlineAdapter(pool_connections=1, pool_maxsize=workers))
        json = "application/json"
        self._headers: dict[str, Any] = {**self.session.headers, "Content-Type": json, "Accept": json}
        self.surroundings = Surroundings()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Reply:
        """Make one request, which takes at most `timeout` seconds from connect to the last byte.

        Raises one of NETWORK_ERRORS when there is no answer.
        """
        request = requests.PreparedRequest()
        request.method, request.url, request.body = method, _encoded(url), body
        length = {} if body is None else {"Content-Length": str(len(body))}
        request.headers = CaseInsensitiveDict({**self._headers, **headers, **length})
        if not self.surroundings.options:
            self.surroundings = look_around(self.session, url)
        proxy, options = self.surroundings.proxy, self.surroundings.options
        if proxy and not parse_url(proxy).host:
            raise InvalidProxyURL  # `requests` itself raises TypeError for a URL with a user and no host
        response = self.session.get_adapter(url).send(request, timeout=timeout, **options)
        return Reply(response.status_code, _body_of(response), response.headers, request)
