"""A deadline for one whole attempt, where sockets know only how long one operation may take.

Each step of an attempt (an address, a handshake, the request, a part of the answer) gets what is left of the time that
its thread has: a server that drips byte by byte gains nothing. Looking up a host's name is the system's, with time-outs
of its own. A connection is not used again after a pause in which whoever stands between may have forgotten it.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

SHORTEST = 0.001
"""Seconds: what is given when nothing is left, because a socket takes 0 for "do not wait at all"."""

LONGEST_IDLE = 4.0
"""Seconds. After five at the earliest (a default of Node.js and Apache), servers and what stands before them drop a
connection that nobody uses, and some of them say so only to the next request, which is lost."""

_attempt = threading.local()
"""`ends`: when the attempt that this thread makes is over, by `time.monotonic`."""


def _left() -> float:
    """Seconds that are left of this thread's attempt."""
    return max(float(_attempt.ends) - time.monotonic(), SHORTEST)


class DeadlineAdapter(HTTPAdapter):
    """`requests`, with a time-out that is one for the whole attempt; the thread that sends also reads the answer."""

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Begin the attempt, which takes at most `timeout` seconds."""
        _attempt.ends = time.monotonic() + options["timeout"]
        return super().send(request, *args, **options)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """The pool for a request, of whatever kind: direct, through a proxy, through SOCKS."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        kind = pool.ConnectionCls
        if not issubclass(kind, _Timed):
            pool.ConnectionCls = type(kind.__name__, (_Timed, kind), {})  # its name stands in messages
        return pool


class _Timed:
    """Mixed into a connection of urllib3: whatever it waits for, it waits for what is left."""

    last_read = 0.0
    """When something last came over this connection, by `time.monotonic`."""

    shares = 1

    @property
    def timeout(self) -> float:
        """What urllib3 gives a socket; what it assigns itself, the same time-out for each step, does not count."""
        return _left() / self.shares

    @timeout.setter
    def timeout(self, _seconds: object) -> None: ...

    @property
    def is_connected(self) -> bool:
        """Whether urllib3 may use the connection again; after a pause it makes a new one."""
        return time.monotonic() - self.last_read < LONGEST_IDLE and bool(super().is_connected)  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        """Connect; each address of the host gets its share, or the first that is silent would take it all."""
        me: Any = self
        if not hasattr(self, "_socks_options"):  # behind SOCKS it is not this machine that looks for addresses
            with suppress(OSError, UnicodeError):  # urllib3 says itself what is wrong with a name
                self.shares = len(socket.getaddrinfo(me._dns_host, me.port, type=socket.SOCK_STREAM))
        try:
            made: socket.socket = super()._new_conn()  # type: ignore[misc]
        finally:
            self.shares = 1
        made.settimeout(_left())
        return made

    def _tunnel(self) -> None:
        """Ask the proxy for a tunnel; what follows, a handshake, gets what is left then."""
        super()._tunnel()  # type: ignore[misc]
        self.sock.settimeout(_left())  # type: ignore[attr-defined]

    def response_class(self, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        """An answer, of the server or to CONNECT, that is read under the deadline."""
        response = _FinalResponse(sock, *args, **options)
        reader: Any = response.fp.raw
        reader.__class__, reader.connection = _TimedReader, self
        return response


class _FinalResponse(http.client.HTTPResponse):
    """An answer whose forerunners (102, 103: "more is to come") are read and left.

    The standard library leaves out a 100 alone. It would take any other for the answer, and the answer that comes
    behind it for that to the next request on this connection, which is another user's.
    """

    def begin(self) -> None:
        super().begin()
        while self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment] # else nothing more is read
            super().begin()


class _TimedReader(socket.SocketIO):
    """What comes from a socket, as the standard library reads it, each read with the time that is left."""

    connection: _Timed

    def readinto(self, buffer: Any) -> int | None:
        left = _left()
        if left <= SHORTEST:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)  # type: ignore[attr-defined]
        read = super().readinto(buffer)
        self.connection.last_read = time.monotonic()
        return read
