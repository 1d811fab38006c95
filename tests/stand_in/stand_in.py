"""A strict stand-in for Iterable's REST API on the loopback interface, spoken to over a real socket.

    with StandIn(latency=0.01, faults=scripted([None, UNAVAILABLE])) as iterable:
        client = IterableClient(api_key=iterable.api_key, base_url=iterable.url)
        ...
        assert iterable.profiles["ann@example.com"]["plan"] == "gold"

Here is the wire: HTTP on a socket, and answers that fail on purpose. How a project behaves is in `project.py`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.stand_in.answers import Answer, Request, html_answer, on_the_wire
from tests.stand_in.faults import Ending, Fault, Faults
from tests.stand_in.names import Owner
from tests.stand_in.project import Project
from tests.stand_in.rules import ProjectRules

_LONGEST_HEAD = 65_536


@dataclass(kw_only=True, eq=False)
class StandIn(ProjectRules):
    """The stand-in, a context manager: its arguments are the project's rules and those of the wire.

    All attributes may be changed, and all that was seen may be read, while it runs. Rate limits count the
    requests that reach the project: a fault that does not apply keeps its request out of the count.
    """

    latency: float = 0.0
    """Seconds between a request and its answer; requests take effect when they arrive."""
    faults: Faults | None = None
    keep_requests: bool = True
    port: int = 0
    """0: any free one."""
    url: str = field(default="", init=False)
    connections: int = field(default=0, init=False)
    """Accepted so far."""
    most_in_flight: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._project = Project(self)
        self._requests: list[Request] = []
        self._counts: Counter[tuple[str, int]] = Counter()
        self._open: set[_Connection] = set()
        self._in_flight = 0
        self._first = self._last = 0.0
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="stand-in", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop at once, whatever is still waiting for an answer."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    @property
    def profiles(self) -> dict[str, dict[str, Any]]:
        """Identity (lower-cased e-mail address, or user id) -> data fields."""
        return self._project.profiles

    @property
    def names(self) -> Mapping[str, Owner]:
        """Both names of each user, by the key of the profile."""
        return self._project.users.names.owners()

    @property
    def events(self) -> dict[str, dict[str, Any]]:
        """Event id -> the event as last sent, with `writes`: how many times it was."""
        return self._project.events.copy()

    @property
    def writes(self) -> Counter[str]:
        """How many times each profile was written."""
        return Counter(self._project.users.writes)

    @property
    def warnings(self) -> list[str]:
        """What Iterable would have taken and the sender should not have sent."""
        return list(self._project.warnings.copy())

    @property
    def requests(self) -> list[Request]:
        """Every request in order of arrival, unless `keep_requests` is off."""
        return self._requests.copy()

    @property
    def counts(self) -> Counter[tuple[str, int]]:
        """How many requests to each path ended with which status; 0: without an answer."""
        return Counter(self._counts)

    def stats(self) -> dict[str, Any]:
        """All that was seen, in numbers."""
        return {
            "requests": self._counts.total(),
            "counts": {f"{path} {status}": times for (path, status), times in sorted(self._counts.items())},
            "connections": self.connections,
            "most_in_flight": self.most_in_flight,
            "seconds": round(self._last - self._first, 3),
            "cpu_seconds": round(time.process_time(), 3),
            "profiles": len(self._project.users.stored),
            "profile_writes": self._project.users.writes.total(),
            "events": len(self._project.events),
            "event_writes": sum(event["writes"] for event in self._project.events.values()),
            "warnings": self.warnings,
        }

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await self._loop.create_server(
            lambda: _Connection(self, self._loop), "127.0.0.1", self.port, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._ready.set()
        await self._stop.wait()
        while len(asyncio.all_tasks()) > 1:  # the other tasks accept; a server that is closed leaves their sockets open
            await asyncio.sleep(0)
        server.close()
        while self._open:
            for connection in self._open.copy():
                connection.abort()
            await asyncio.sleep(0)

    def _opened(self, connection: _Connection) -> None:
        self._open.add(connection)
        self.connections += 1

    def _closed(self, connection: _Connection) -> None:
        self._open.discard(connection)

    def _arrived(self, request: Request) -> None:
        self._last = request.arrived
        self._first = self._first or request.arrived
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        if self.keep_requests:
            self._requests.append(request)

    def _decide(self, request: Request) -> tuple[Fault, Answer]:
        """Let the project and the faults have the request; what to send, and how."""
        try:
            fault = (self.faults(request) if self.faults else None) or _NO_FAULT
            request.fault = fault.name
            answer = self._project.handle(request) if fault.applies else None
        except Exception as error:
            self._project.warn(f"the stand-in itself failed: {error!r}")
            raise
        return fault, fault.answer or answer or _NOTHING

    def _ended(self, request: Request, status: int) -> None:
        request.status = status
        self._counts[request.path, status] += 1
        self._in_flight -= 1


_NO_FAULT = Fault("", applies=True)
_NOTHING = Answer(0, b"")


class _Connection(asyncio.Protocol):
    """HTTP/1.1 on one connection: bodies with a Content-Length, answered one after the other."""

    _transport: asyncio.Transport

    def __init__(self, server: StandIn, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._buffer = bytearray()
        self._head: tuple[str, str, dict[str, str], int] | None = None
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server._opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base class names it
        self._server._closed(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def abort(self) -> None:
        self._transport.abort()

    def _next(self) -> None:
        """Take up what is complete in the buffer, as long as nothing waits for its answer."""
        while not self._busy and not self._transport.is_closing():
            request = self._take()
            if request is None:
                return
            self._handle(request)

    def _take(self) -> Request | None:
        if self._head is None:
            self._head = self._take_head()
        if self._head is None:
            return None
        method, target, headers, length = self._head
        if len(self._buffer) < length:
            return None
        with memoryview(self._buffer) as view:
            body = bytes(view[:length])
        del self._buffer[:length]
        self._head = None
        path, _, query = target.partition("?")
        return Request(method, path, query, headers, body, time.monotonic())

    def _take_head(self) -> tuple[str, str, dict[str, str], int] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _LONGEST_HEAD:
                self._give_up(431)
            return None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        first = lines[0].split(" ")
        length = headers.get("content-length", "0")
        if len(first) != 3 or not length.isdecimal() or "transfer-encoding" in headers:
            self._give_up(411 if "transfer-encoding" in headers else 400)
            return None
        if headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return first[0], first[1], headers, int(length)

    def _give_up(self, status: int) -> None:
        self._transport.write(on_the_wire(html_answer(status, str(status)), 0, 0))
        self._transport.close()

    def _handle(self, request: Request) -> None:
        self._server._arrived(request)
        fault, answer = self._server._decide(request)
        delay = self._server.latency + fault.delay
        if delay > 0:
            self._busy = True
            self._loop.call_later(delay, self._finish_later, request, fault, answer)
        else:
            self._finish(request, fault, answer)

    def _finish_later(self, request: Request, fault: Fault, answer: Answer) -> None:
        self._busy = False
        self._finish(request, fault, answer)
        self._next()

    def _finish(self, request: Request, fault: Fault, answer: Answer) -> None:
        self._server._ended(request, 0 if fault.silent else answer.status)
        if not fault.silent:
            elapsed = int((time.monotonic() - request.arrived) * 1000)
            self._transport.write(on_the_wire(answer, fault.missing, elapsed))
        if fault.ending is Ending.HOLD:
            self._busy = True
        elif fault.ending is Ending.RESET:
            self._reset()
        elif fault.ending is Ending.CLOSE or request.headers.get("connection", "").lower() == "close":
            self._transport.close()

    def _reset(self) -> None:
        """A connection that does not linger is closed with RST instead of FIN."""
        wire = self._transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
