"""A strict stand-in for Iterable's REST API on the loopback interface, spoken to over a real socket.

    with StandIn(latency=0.01, faults=scripted([SERVER_ERROR, None, LOST_ANSWER])) as iterable:
        client = IterableClient(api_key=iterable.api_key, base_url=iterable.url)
        ...
        assert iterable.profiles["ann@example.com"]["plan"] == "gold"

It fails in every way the real service and the network before it can: see `Fault`. How a project behaves
is in `project.py`; here are the wire and the faults.

As a process of its own (`python3 -m sync.sandbox.stand_in --latency 0.1`) it prints its URL, serves until its standard
input ends or SIGTERM comes, and prints what it saw as one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import enum
import json
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from sync.sandbox.project import (
    DOCUMENTED_LIMITS,
    Answer,
    FieldTypes,
    Project,
    ProjectRules,
    Request,
    envelope,
    html_answer,
    json_answer,
    rate_limit_answer,
)

__all__ = [
    "DOCUMENTED_LIMITS",
    "EVERY_FAULT",
    "EVERY_GARBLED_FAULT",
    "EVERY_JWT_FAULT",
    "EVERY_REFUSAL",
    "EVERY_TRANSIENT_FAULT",
    "Ending",
    "Fault",
    "Faults",
    "FieldTypes",
    "Request",
    "StandIn",
    "at_random",
    "on",
    "scripted",
]

_LONGEST_HEAD = 65_536


class Ending(enum.Enum):
    """What becomes of the connection instead of, or after, an answer."""

    KEEP = "kept open"
    CLOSE = "closed"
    RESET = "reset"
    HOLD = "held without a word"


@dataclass(frozen=True)
class Fault:
    """One way to fail: *answer* (None: the project's own), sent or not, and what becomes of the connection.

    A fault that *applies* lets the project take the request first, so that only the answer goes wrong.
    """

    name: str
    answer: Answer | None = None
    applies: bool = False
    ending: Ending = Ending.KEEP
    silent: bool = False
    """No answer is sent at all."""
    missing: int = 0
    """Bytes that Content-Length promises beyond the body."""
    delay: float = 0.0
    """Seconds on top of the latency."""

    def applied(self) -> Fault:
        """The same failure, after the project took the request."""
        return replace(self, name=f"{self.name} (applied)", applies=True)

    def __str__(self) -> str:
        return self.name


Faults = Callable[[Request], Fault | None]
"""Asked for each request, in the order of arrival and in the server's thread."""


def rate_limited(retry_after: str | None = None, *, text: bool = False) -> Fault:
    """429 as JSON or plain text, with any Retry-After."""
    form = "text" if text else "JSON"
    answer = rate_limit_answer("/api/users/update", text=text, retry_after=retry_after)
    return Fault(f"429 {form} Retry-After {retry_after}", answer)


def refused(status: int, code: str, msg: str = "", params: dict[str, Any] | None = None) -> Fault:
    """*status* with Iterable's envelope."""
    return Fault(f"{status} {code} {msg}".rstrip(), json_answer(status, envelope(code, msg, params)))


def page(status: int, title: str) -> Fault:
    """*status* with an HTML page."""
    return Fault(f"{status} page {title}", html_answer(status, title))


def raw(name: str, status: int, body: bytes, content_type: str = "application/json") -> Fault:
    """*status* with exactly *body*."""
    return Fault(name, Answer(status, body, content_type))


def redirect(status: int, location: str = "https://elsewhere.invalid/api") -> Fault:
    """A redirection to another host, which must not get the credentials."""
    answer = Answer(status, b"", "text/html", (("Location", location),))
    return Fault(f"{status} to {location}", answer)


def slow(seconds: float) -> Fault:
    """The right answer, *seconds* late."""
    return Fault(f"slow by {seconds} s", applies=True, delay=seconds)


def bulk_result(succeeded: int, failed: int, **lists: object) -> Fault:
    """A bulk answer that says this, whatever was sent: counts that do not add up, lists left out."""
    body = {"successCount": succeeded, "failCount": failed, **lists}
    return Fault(f"200 bulk {succeeded}/{failed}", json_answer(200, body), applies=True)


_JWT_ENDPOINT = {"endpoint": "/api/users/update"}
_CUT_BODY = b'{"msg":"User successfully created/updated.","code":"Succ'

RATE_LIMITED = rate_limited()
RATE_LIMITED_TEXT = rate_limited(text=True)
RATE_LIMITED_SECONDS = rate_limited("1")
RATE_LIMITED_DATE = rate_limited("Wed, 21 Oct 2015 07:28:00 GMT", text=True)
RATE_LIMITED_JUNK = rate_limited("soon")
SERVER_ERROR = refused(
    500,
    "GenericError",
    "An error occurred. Please try again later. If problem persists, please contact your CSM",
)
DATABASE_ERROR = refused(500, "DatabaseError")
BAD_GATEWAY = page(502, "502 Bad Gateway")
UNAVAILABLE = raw("503 empty", 503, b"", "text/plain")
GATEWAY_TIMEOUT = page(504, "504 Gateway Time-out")
GATEWAY_TIMEOUT_APPLIED = GATEWAY_TIMEOUT.applied()
REQUEST_TIMEOUT = raw("408", 408, b"", "text/plain")
NO_ANSWER = Fault("no answer", silent=True, ending=Ending.HOLD)
NO_ANSWER_APPLIED = NO_ANSWER.applied()
RESET = Fault("reset", silent=True, ending=Ending.RESET)
CLOSED = Fault("closed", silent=True, ending=Ending.CLOSE)
LOST_ANSWER = replace(CLOSED, name="lost answer", applies=True)
CUT_SHORT = replace(raw("cut short", 200, _CUT_BODY), applies=True, missing=20, ending=Ending.CLOSE)

CUT_JSON = raw("200 cut JSON", 200, _CUT_BODY).applied()
ARRAY = raw("200 []", 200, b"[]")
STRING = raw("200 string", 200, b'"ok"')
NULL = raw("200 null", 200, b"null")
EMPTY = raw("200 empty", 200, b"")
NOT_UTF8 = raw("200 not UTF-8", 200, b'{"msg":"\xff\xfe","code":"Success"}')
PAGE = page(200, "Welcome to the hotel network")
TEXT = raw("200 text", 200, b"OK", "text/plain")
NO_CODE = raw("200 without code", 200, b'{"msg":""}')

DISALLOWED_EVENT = raw("200 disallowed", 200, b'{"msg":"event x is disallowed from tracking."}')
DISALLOWED_SUCCESS = refused(200, "Success", "event x is disallowed from tracking.")
OTHER_CODE = refused(200, "BadParams")
SUCCESS_ON_400 = refused(400, "Success", "error.lists.invalidListId(1)", {"listId": 1})
SUCCESS_ON_401 = refused(401, "Success", "Invalid API key")
MOVED = redirect(301)
FOUND = redirect(302)
TEMPORARY_REDIRECT = redirect(307)
ACTION_NOT_FOUND = page(404, "Action not found")
NOT_ALLOWED = page(405, "405 Not Allowed")
BAD_API_KEY = refused(401, "BadApiKey", "Invalid API key", {"ip": "127.0.0.1", **_JWT_ENDPOINT})
FORBIDDEN = refused(403, "Forbidden")
FORGOTTEN = refused(409, "ForgottenUserError")
CONFLICT = refused(409, "Conflict")
TOO_LARGE = page(413, "Request Entity Too Large")
BATCH_TOO_LARGE = refused(400, "BatchTooLarge")
INVALID_EMAIL = refused(400, "InvalidEmailAddressError", "Invalid email: 000")
BAD_PARAMS = refused(400, "BadParams")
TYPES_MISMATCHED = refused(400, "RequestFieldsTypesMismatched", "", {"validationErrors": {}})
TYPES_MISMATCHED_500 = refused(500, "RequestFieldsTypesMismatched", "", {"validationErrors": {}})
UNKNOWN_CODE = refused(400, "error.users.noUserWithIdExists")

JWT_EXPIRED = refused(401, "InvalidJwtPayload", "JWT token is expired", _JWT_ENDPOINT)
JWT_TOO_LONG = refused(401, "InvalidJwtPayload", "exp must be less than 1 year from iat", _JWT_ENDPOINT)
JWT_FORMAT = refused(401, "InvalidJwtPayload", "JWT format is invalid", _JWT_ENDPOINT)
JWT_SIGNATURE = refused(401, "InvalidJwtPayload", "JWT is invalid", _JWT_ENDPOINT)
JWT_PAYLOAD = refused(401, "InvalidJwtPayload", "Invalid payload", _JWT_ENDPOINT)
JWT_WITHOUT_USER = refused(401, "InvalidJwtPayload", "JWT payload requires a value for userId or email", _JWT_ENDPOINT)
JWT_UNKNOWN_USER = refused(401, "InvalidJwtPayload", "Email could not be found", _JWT_ENDPOINT)
JWT_INVALIDATED = refused(401, "InvalidJwtPayload", "JWT token has been invalidated", _JWT_ENDPOINT)
JWT_MISSING = refused(401, "BadAuthorizationHeader", "JWT authorization header is not set", _JWT_ENDPOINT)
JWT_MISMATCH = refused(401, "JwtUserIdentifiersMismatched", "", _JWT_ENDPOINT)
JWT_MISMATCH_400 = refused(400, "JwtUserIdentifiersMismatched", "", _JWT_ENDPOINT)

EVERY_TRANSIENT_FAULT: tuple[Fault, ...] = (
    RATE_LIMITED,
    RATE_LIMITED_TEXT,
    RATE_LIMITED_SECONDS,
    RATE_LIMITED_DATE,
    RATE_LIMITED_JUNK,
    SERVER_ERROR,
    DATABASE_ERROR,
    BAD_GATEWAY,
    UNAVAILABLE,
    GATEWAY_TIMEOUT,
    GATEWAY_TIMEOUT_APPLIED,
    REQUEST_TIMEOUT,
    NO_ANSWER,
    NO_ANSWER_APPLIED,
    RESET,
    CLOSED,
    LOST_ANSWER,
    CUT_SHORT,
)
"""The same request may well succeed the next time."""

EVERY_GARBLED_FAULT: tuple[Fault, ...] = (
    CUT_JSON,
    ARRAY,
    STRING,
    NULL,
    EMPTY,
    NOT_UTF8,
    PAGE,
    TEXT,
    NO_CODE,
)
"""A complete 200 that does not say whether the request was taken."""

EVERY_REFUSAL: tuple[Fault, ...] = (
    DISALLOWED_EVENT,
    DISALLOWED_SUCCESS,
    OTHER_CODE,
    SUCCESS_ON_400,
    SUCCESS_ON_401,
    MOVED,
    FOUND,
    TEMPORARY_REDIRECT,
    ACTION_NOT_FOUND,
    NOT_ALLOWED,
    BAD_API_KEY,
    FORBIDDEN,
    FORGOTTEN,
    CONFLICT,
    TOO_LARGE,
    BATCH_TOO_LARGE,
    INVALID_EMAIL,
    BAD_PARAMS,
    TYPES_MISMATCHED,
    TYPES_MISMATCHED_500,
    UNKNOWN_CODE,
)
"""The same request would get the same answer again."""

EVERY_JWT_FAULT: tuple[Fault, ...] = (
    JWT_EXPIRED,
    JWT_TOO_LONG,
    JWT_FORMAT,
    JWT_SIGNATURE,
    JWT_PAYLOAD,
    JWT_WITHOUT_USER,
    JWT_UNKNOWN_USER,
    JWT_INVALIDATED,
    JWT_MISSING,
    JWT_MISMATCH,
    JWT_MISMATCH_400,
)
"""What is said of a JWT (the messages that Iterable's SDKs know)."""

EVERY_FAULT = EVERY_TRANSIENT_FAULT + EVERY_GARBLED_FAULT + EVERY_REFUSAL + EVERY_JWT_FAULT


def scripted(faults: Iterable[Fault | None]) -> Faults:
    """The n-th fault for the n-th request; none once they are used up."""
    script = iter(faults)
    return lambda _request: next(script, None)


def at_random(seed: int, share: float, faults: Sequence[Fault]) -> Faults:
    """Any of *faults* for this *share* of the requests; the same ones for the same seed and order."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    return lambda _request: chance.choice(faults) if chance.random() < share else None


def on(path: str, faults: Faults) -> Faults:
    """*faults*, asked only for requests to *path*."""
    return lambda request: faults(request) if request.path == path else None


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
    def events(self) -> dict[str, dict[str, Any]]:
        """Event id -> the event as last sent, with `writes`: how many times it was."""
        return self._project.events.copy()

    @property
    def writes(self) -> Counter[str]:
        """How many times each profile was written."""
        return Counter(self._project.writes)

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
            "profiles": len(self._project.stored),
            "profile_writes": self._project.writes.total(),
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
        server.close()
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
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server gives
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
        self._transport.write(_on_the_wire(html_answer(status, str(status)), 0, 0))
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
            self._transport.write(_on_the_wire(answer, fault.missing, elapsed))
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


@lru_cache(maxsize=256)
def _fixed_head(status: int, content_type: str, _second: int) -> str:
    """The lines of a head that stay the same for a second, as recorded answers have them."""
    reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown"
    return (
        f"HTTP/1.1 {status} {reason}\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: {content_type}\r\n"
        "Connection: keep-alive\r\nVary: Origin\r\nServer: iterable-ingress b48a\r\n"
    )


def _on_the_wire(answer: Answer, missing: int, milliseconds: int) -> bytes:
    own = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    fixed = _fixed_head(answer.status, answer.content_type, int(time.time()))
    length = len(answer.body) + missing
    head = f"{fixed}Request-Time: {milliseconds}\r\n{own}Content-Length: {length}\r\n\r\n"
    return head.encode("latin-1") + answer.body


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stand_in", description="A local stand-in for Iterable's REST API.")
    parser.add_argument("--port", type=int, default=0, help="0: any free one (default)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--limits", action="store_true", help="enforce the documented rate limits")
    parser.add_argument(
        "--limit", action="append", default=[], metavar="ENDPOINT=N", help="enforce N requests a second there"
    )
    parser.add_argument("--retry-after", help="the Retry-After header of a 429")
    parser.add_argument("--api-key", default=ProjectRules.api_key)
    parser.add_argument("--jwt-api-key")
    parser.add_argument("--jwt-secret")
    parser.add_argument("--fault-share", type=float, default=0.0, help="share of requests that fail, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    return parser


def _limits(options: argparse.Namespace) -> dict[str, float] | None:
    limits = dict(DOCUMENTED_LIMITS) if options.limits else {}
    for item in options.limit:
        endpoint, _, number = item.partition("=")
        limits[f"/api/{endpoint}"] = float(number)
    return limits or None


def _from_arguments(options: argparse.Namespace) -> StandIn:
    # A process nobody can ask for its requests does not keep them, and a fault that never answers
    # would measure the client's time-out.
    answered = [fault for fault in EVERY_TRANSIENT_FAULT if fault.ending is not Ending.HOLD]
    return StandIn(
        port=options.port,
        latency=options.latency,
        limits=_limits(options),
        retry_after=options.retry_after,
        api_key=options.api_key,
        jwt_api_key=options.jwt_api_key,
        jwt_secret=options.jwt_secret,
        faults=at_random(options.seed, options.fault_share, answered) if options.fault_share else None,
        keep_requests=False,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until standard input ends or SIGTERM comes, then print what was seen."""
    iterable = _from_arguments(_parser().parse_args(argv))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with iterable:
        print(iterable.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.buffer.read()
    print(json.dumps(iterable.stats()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
