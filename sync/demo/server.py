"""The demo's server: accepts whatever is sent to four of Iterable's endpoints, and fails once, to show a retry."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Final

API_KEY: Final = "demo-api-key"

UNAVAILABLE: Final = 3
"""The number of the request, counted from 1, that is answered 503."""

Body = dict[str, Any]


def _user(_: Body) -> Body:
    return {"msg": "User successfully created/updated.", "code": "Success", "params": None}


def _event(body: Body) -> Body:
    return {"msg": f"Event with id: {body.get('id')} tracked.", "code": "Success", "params": {"id": body.get("id")}}


def _bulk(body: Body) -> Body:
    (items,) = (value for value in body.values() if isinstance(value, list))
    return {"successCount": len(items), "failCount": 0, "invalidEmails": [], "invalidUserIds": [], "failedUpdates": {}}


ANSWERS: Final[dict[str, Callable[[Body], Body]]] = {
    "/api/users/update": _user,
    "/api/events/track": _event,
    "/api/users/bulkUpdate": _bulk,
    "/api/events/trackBulk": _bulk,
}
"""The answers by path, in the forms of Iterable's Swagger: IterableApiResponse, UserBulkUpdateListResponse and
BulkTrackResponse."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.numbers = count(1)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if next(self.server.numbers) == UNAVAILABLE:
            self._send(503, b"")
        elif self.path in ANSWERS:
            self._send(200, json.dumps(ANSWERS[self.path](json.loads(body))).encode())
        else:
            self._send(404, b"")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the run's own log has each call."""


@contextmanager
def demo_server() -> Iterator[str]:
    """The URL of a server on this machine, which is up until the block ends."""
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="demo-server")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
