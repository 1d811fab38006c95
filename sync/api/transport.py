"""Send one request and read its whole answer, within one deadline: connections, proxies, certificates, nothing else.

Sockets only have timeouts for single operations. So each step of an attempt (an address, a handshake, the request, a
part of the answer) gets the time that is left, and a server that sends byte by byte gains nothing. Host names are
looked up by the system, with its own timeouts. A connection is not used again after a pause, because a load balancer in
between may have dropped it.
"""

from __future__ import annotations

import functools
import http.client
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidProxyURL
from urllib3.util import parse_url

from sync.api.network import Surroundings, look_around

LONGEST_ANSWER = 32_000_000
"""Bytes, uncompressed. Iterable's longest answers list a project's fields, or why the users of a batch were refused."""


class Reply(NamedTuple):
    """An answer, read to its end."""

    status_code: int
    content: bytes
    headers: Mapping[str, str]
    request: PreparedRequest


Answer = Reply | Response


class TooLongError(requests.RequestException):
    """An answer too long for any API. Reading on could use up this machine's memory."""


def _body_of(response: Response) -> bytes:
    """The whole body, uncompressed; raises if the connection breaks before its end."""
    body: bytes = response.raw.read(LONGEST_ANSWER + 1, decode_content=True)
    if len(body) > LONGEST_ANSWER:
        response.close()
        raise TooLongError(f"an answer of more than {LONGEST_ANSWER:,} bytes")
    return body


@functools.lru_cache(maxsize=64)
def _encoded(url: str) -> str | None:
    """The URL as it is sent; raises what `requests` raises for an invalid one."""
    request = PreparedRequest()
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
        request = PreparedRequest()
        request.method, request.url, request.body = method, _encoded(url), body
        length = {} if body is None else {"Content-Length": str(len(body))}
        request.headers = {**self._headers, **headers, **length}  # type: ignore[assignment] # all that is asked of it
        if not self.surroundings.options:
            self.surroundings = look_around(self.session, url)
        proxy, options = self.surroundings.proxy, self.surroundings.options
        if proxy and not parse_url(proxy).host:
            raise InvalidProxyURL  # `requests` itself raises TypeError for a URL with a user and no host
        response = self.session.get_adapter(url).send(request, timeout=timeout, **options)
        return Reply(response.status_code, _body_of(response), response.headers, request)


# -- the deadline of an attempt -----------------------------------------------------------------------------------

SHORTEST = 0.001
"""Seconds: the timeout when no time is left, because a socket takes 0 for "do not wait at all"."""

LONGEST_IDLE = 4.0
"""Seconds. Servers, and load balancers in front of them, drop idle connections after five seconds at the earliest (a
default of Node.js and Apache). Some report it only to the next request, which is then lost."""

_attempt = threading.local()
"""`ends`: the `time.monotonic` at which this thread's attempt must be over."""


def _left() -> float:
    """Seconds that are left of this thread's attempt."""
    return max(float(_attempt.ends) - time.monotonic(), SHORTEST)


class DeadlineAdapter(HTTPAdapter):
    """`requests` with one timeout for the whole attempt. The thread that sends must also read the answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pools: dict[tuple[str, ...], Any] = {}

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Begin the attempt, which takes at most `timeout` seconds."""
        _attempt.ends = time.monotonic() + options["timeout"]
        return super().send(request, *args, **options)

    def get_connection_with_tls_context(self, request: PreparedRequest, *args: Any, **options: Any) -> Any:
        """The pool for a request, of whatever kind: direct, through a proxy, through SOCKS.

        A host's pool is kept, because finding it again costs a tenth of a call.
        """
        host = urlsplit(str(request.url))[:2]
        pool: Any = self._pools.get(host)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, *args, **options)
            kind = pool.ConnectionCls
            if not issubclass(kind, _Timed):
                pool.ConnectionCls = type(kind.__name__, (_Timed, kind), {})  # its name stands in messages
            self._pools[host] = pool  # only now may other threads have it
        return pool

    def close(self) -> None:
        """Close the connections; urllib3 closes those of a pool once nobody holds it."""
        self._pools.clear()
        super().close()


class _Timed:
    """Mixed into a connection of urllib3, so that it never waits longer than the time that is left."""

    last_read = 0.0
    """When something last arrived over this connection, by `time.monotonic`."""

    shares = 1

    @property
    def timeout(self) -> float:
        """The timeout that urllib3 gives a socket. What urllib3 assigns, the same timeout for each step, is ignored."""
        return _left() / self.shares

    @timeout.setter
    def timeout(self, _seconds: object) -> None: ...

    @property
    def is_connected(self) -> bool:
        """Whether urllib3 may use the connection again; after a pause it makes a new one."""
        return time.monotonic() - self.last_read < LONGEST_IDLE and bool(super().is_connected)  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        """Connect. Each address of the host gets a share of the time, or the first silent one would use it all up."""
        me: Any = self
        if not hasattr(self, "_socks_options"):  # behind SOCKS, the proxy looks up the addresses
            with suppress(OSError, UnicodeError):  # urllib3 says itself what is wrong with a name
                self.shares = len(socket.getaddrinfo(me._dns_host, me.port, type=socket.SOCK_STREAM))
        try:
            made: socket.socket = super()._new_conn()  # type: ignore[misc]
        finally:
            self.shares = 1
        made.settimeout(_left())
        return made

    def _tunnel(self) -> None:
        """Ask the proxy for a tunnel; the handshake that follows gets the time that is left then."""
        super()._tunnel()  # type: ignore[misc]
        self.sock.settimeout(_left())  # type: ignore[attr-defined]

    def response_class(self, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        """An answer from the server, or from a proxy to CONNECT, that is read within the deadline."""
        response = _FinalResponse(sock, *args, **options)
        reader: Any = response.fp.raw
        reader.__class__, reader.connection = _TimedReader, self
        return response


class _FinalResponse(http.client.HTTPResponse):
    """An answer that skips the preliminary ones (102, 103: "more is to come").

    The standard library skips only a 100. It would take any other preliminary answer for the answer, and then the real
    answer for the answer to the next request on this connection, which is about another user.
    """

    def begin(self) -> None:
        super().begin()
        while self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment] # else nothing more is read
            super().begin()


class _TimedReader(socket.SocketIO):
    """Reads from a socket for the standard library; each read may take only the time that is left."""

    connection: _Timed

    def readinto(self, buffer: Any) -> int | None:
        left = _left()
        if left <= SHORTEST:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)  # type: ignore[attr-defined]
        read = super().readinto(buffer)
        self.connection.last_read = time.monotonic()
        return read
