"""A connection that nobody used for a while may be gone without a word: the next request does not pay for that."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
import requests

from iterable_client import IterableClient
from sync.api import transport
from sync.api.answers import Verdict
from sync.api.transport import LONGEST_IDLE
from tests.iterable_client.helpers import Waits, client_of, update
from tests.iterable_client.serving import BODY, HEAD, Server, read_request, serving
from tests.stand_in.stand_in import StandIn


class Later:
    """Stands for the module `time`: the clock runs, and can be put on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic() + self.ahead


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """The clock of the connections."""
    clock = Later()
    monkeypatch.setattr("sync.api.transport.time", clock)
    return clock


class Balancer:
    """A load balancer that forgets its connections on demand, and resets one only when it is used again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._known: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def forget(self) -> None:
        """Have no flow any more, and tell nobody."""
        self._known.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._known.add(client)
                self._threads.append(threading.Thread(target=self._pass_on, args=(client,)))
                self._threads[-1].start()

    def _pass_on(self, client: socket.socket) -> None:
        """Carry bytes both ways as they come, a request in however many parts, until one end closes."""
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._port)) as server:
            other = {client: server, server: client}
            while True:
                for end in select.select([client, server], [], [])[0]:
                    if not (part := end.recv(65536)):
                        return
                    if client not in self._known:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    other[end].sendall(part)

    def close(self) -> None:
        """Wait until every client is gone."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def balancer(iterable: StandIn) -> Iterator[Balancer]:
    """Between the client and the project."""
    made = Balancer(iterable.port)
    yield made
    made.close()


def test_a_connection_that_was_forgotten(iterable: StandIn, balancer: Balancer, later: Later) -> None:
    """After a pause the first attempt is answered, although the load balancer knows the connection no more."""
    with closing(client_of(iterable, base_url=balancer.url)) as client:
        assert update(client)[0]

        balancer.forget()
        later.ahead += LONGEST_IDLE
        result = update(client)
    assert (result.verdict, result.attempts) == (Verdict.ACCEPTED, 1)


def test_a_connection_in_use_is_kept(iterable: StandIn, later: Later) -> None:
    """Without such a pause all requests go over one connection, however long that takes; after it, over a new one."""
    with closing(client_of(iterable)) as client:
        for _ in range(5):
            assert update(client)[0]
            later.ahead += LONGEST_IDLE / 2
        assert iterable.connections == 1

        later.ahead += LONGEST_IDLE / 2
        assert update(client)[0]
        assert iterable.connections == 2


def test_nobody_gets_a_pool_before_its_connections_know_the_deadline() -> None:
    """Another thread may ask for the pool of a host as soon as it is kept."""
    kept = []

    class Watched(dict[Any, Any]):
        def __setitem__(self, host: Any, pool: Any) -> None:
            kept.append(issubclass(pool.ConnectionCls, transport._Timed))
            super().__setitem__(host, pool)

    with closing(transport.DeadlineAdapter()) as adapter:
        adapter._pools = Watched()
        request = requests.Request("POST", "http://127.0.0.1:9/").prepare()
        adapter.get_connection_with_tls_context(request, verify=True)
    assert kept == [True]


def test_close_ends_the_connections() -> None:
    """After `close` the server sees the end of each connection that the client had kept."""
    ended = threading.Event()

    def serve(connection: socket.socket, _: Server) -> None:
        read_request(connection)
        connection.sendall(HEAD + BODY)
        if not connection.recv(1):
            ended.set()

    with serving(serve) as server:
        client = IterableClient("key", base_url=f"http://127.0.0.1:{server.port}", sleep=Waits())
        assert update(client)[0]
        assert not ended.is_set()
        client.close()
        assert ended.wait(4)
