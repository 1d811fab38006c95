"""A server on a loopback socket that a test writes: what it sends, how slowly, and when it falls silent."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

BODY = b'{"msg":"","code":"Success"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Serve = Callable[[socket.socket, "Server"], None]


class Server:
    """A server on a loopback socket: `serve` has each connection, and what to wait with instead of sleeping."""

    def __init__(self, serve: Serve, wrap: ssl.SSLContext | None = None) -> None:
        self._serve, self._context = serve, wrap
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self.connections += 1
                self._threads.append(threading.Thread(target=self._handle, args=(connection,)))
                self._threads[-1].start()

    def _handle(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with suppress(OSError), connection:
            if self._context is None:
                self._serve(connection, self)
            else:
                with self._context.wrap_socket(connection, server_side=True) as secure:
                    self._serve(secure, self)

    def pause(self, seconds: float) -> None:
        """Let time pass, or break off when the test is over."""
        if self._over.wait(seconds):
            raise OSError("the test is over")

    def drip(self, connection: socket.socket, data: bytes) -> None:
        """Send byte by byte, each well before any time-out between two bytes."""
        for number in range(len(data)):
            connection.sendall(data[number : number + 1])
            self.pause(0.02)

    def close(self) -> None:
        """Break off whatever goes on."""
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@contextmanager
def serving(serve: Serve, wrap: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server for the block."""
    server = Server(serve, wrap)
    try:
        yield server
    finally:
        server.close()


def read_request(connection: socket.socket) -> bytes:
    """Read one whole request, in however many parts it comes; nothing at the end of the connection.

    A connection that is closed with something unread in it is reset.
    """
    request = b""
    while b"\r\n\r\n" not in request:
        if not (more := connection.recv(65536)):
            return b""
        request += more
    length = re.search(rb"(?i)\r\nContent-Length: *(\d+)", request)
    end = request.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
    while len(request) < end and (more := connection.recv(65536)):
        request += more
    return request


def sending(head: bytes, dripped: bytes) -> Serve:
    """Read the request, send `head` at once and the rest byte by byte."""

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        connection.sendall(head)
        server.drip(connection, dripped)

    return serve
