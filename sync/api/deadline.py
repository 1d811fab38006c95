"""A deadline for one whole attempt, where sockets know only how long one operation may take.

urllib3 hands a connection its time-outs by assigning `timeout`. A connection of this file takes that for the time that
is left, and gives each step (an address, a handshake, the request, a part of the answer) what is left then:
a server that drips byte by byte gains nothing. Looking up a host's name is the system's, with time-outs of its own.
The same connection is not used again after a pause in which whoever stands between may have forgotten it.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import time
from typing import Any, cast

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.util import Timeout

SHORTEST = 0.001
"""Seconds: what is given when nothing is left, because a socket takes 0 for "do not wait at all"."""

LONGEST_IDLE = 4.0
"""Seconds. After five at the earliest (a default of Node.js and Apache), servers and what stands before them drop a
connection that nobody uses, and some of them say so only to the next request, which is lost."""

_FINAL = 200
"""From this status on an answer is the answer."""


class Deadline(Timeout):
    """A time-out that began when it was made, also for whoever copies it or starts it anew."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._ends = time.monotonic() + seconds

    def clone(self) -> Timeout:
        """The same one: urllib3 copies a time-out for CONNECT and again for the request."""
        return self

    def start_connect(self) -> float:
        """Nothing to start."""
        return self._ends

    @property
    def connect_timeout(self) -> float:
        """Seconds that are left."""
        return max(self._ends - time.monotonic(), SHORTEST)

    read_timeout = connect_timeout


class _Timed:
    """Mixed into a connection: `timeout` is what is left, and every step gets that much."""

    _ends: float | None = None
    last_read = 0.0
    """When something last came over this connection, by `time.monotonic`."""

    @property
    def is_connected(self) -> bool:
        """Whether urllib3 may use the connection again; after a pause it makes a new one."""
        connected: bool = super().is_connected  # type: ignore[misc]
        return connected and time.monotonic() - self.last_read < LONGEST_IDLE

    @property
    def timeout(self) -> float | None:
        return None if self._ends is None else max(self._ends - time.monotonic(), SHORTEST)

    @timeout.setter
    def timeout(self, seconds: object) -> None:
        self._ends = time.monotonic() + seconds if isinstance(seconds, (int, float)) else None

    def _new_conn(self) -> socket.socket:
        """Connect; each address of the host gets its share, or the first that is silent would take it all."""
        me, ends = cast("HTTPConnection", self), self._ends
        if ends is not None:
            self.timeout = (ends - time.monotonic()) / _addresses(me)
        try:
            made: socket.socket = super()._new_conn()  # type: ignore[misc]
        finally:
            self._ends = ends
        made.settimeout(self.timeout)
        return made

    def _tunnel(self) -> None:
        """Ask the proxy for a tunnel; what follows, a handshake, gets what is left then."""
        super()._tunnel()  # type: ignore[misc]
        cast("HTTPConnection", self).sock.settimeout(self.timeout)

    def response_class(self, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        """An answer, of the server or to CONNECT, that is read under the deadline."""
        response = _FinalResponse(sock, *args, **options)
        response.fp = io.BufferedReader(_TimedReader(self, sock, response.fp.detach()))
        return response


class _FinalResponse(http.client.HTTPResponse):
    """An answer whose forerunners (102, 103: "more is to come") are read and left.

    The standard library leaves out a 100 alone. It would take any other for the answer, and the answer that comes
    behind it for that to the next request on this connection, which is another user's.
    """

    def begin(self) -> None:
        super().begin()
        while self.status < _FINAL:
            self.headers = self.msg = None  # type: ignore[assignment] # else nothing more is read
            super().begin()


class _TimedReader(io.RawIOBase):
    """What comes from a socket, each read with the time that is left."""

    def __init__(self, connection: _Timed, sock: socket.socket, raw: Any) -> None:
        self._connection, self._sock, self._raw = connection, sock, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._connection.timeout
        if left is not None and left <= SHORTEST:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        read: int | None = self._raw.readinto(buffer)
        self._connection.last_read = time.monotonic()
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


def _addresses(connection: HTTPConnection) -> int:
    """How many addresses will be tried; behind SOCKS it is not this machine that looks for them."""
    if hasattr(connection, "_socks_options"):
        return 1
    try:
        return len(socket.getaddrinfo(connection._dns_host, connection.port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return 1


@functools.cache
def _timed(kind: type) -> type:
    """The same kind of connection with deadlines; its name stands in messages and stays."""
    return type(kind.__name__, (_Timed, kind), {})


class DeadlineAdapter(HTTPAdapter):
    """`requests` over connections that heed a `Deadline`; with any other time-out they are as they were."""

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """The pool for a request, of whatever kind: direct, through a proxy, through SOCKS."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if not issubclass(pool.ConnectionCls, _Timed):
            pool.ConnectionCls = _timed(pool.ConnectionCls)
        return pool
