"""Servers of our own behind the port or the socket where a database should be."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pymysql.constants import CLIENT

from db import MySQLParams


@contextlib.contextmanager
def listener(serve: Callable[[socket.socket], object], path: Path | None = None) -> Iterator[MySQLParams]:
    """A port on loopback, or the Unix socket *path*, behind which *serve* has each connection."""
    stopped = threading.Event()

    def accept() -> None:
        while not stopped.is_set():
            with contextlib.suppress(OSError), listening.accept()[0] as client:
                serve(client)
                client.recv(1)  # until the other side is done

    family, address = (socket.AF_UNIX, str(path)) if path else (socket.AF_INET, ("127.0.0.1", 0))
    with socket.socket(family) as listening:
        listening.bind(address)
        listening.listen()
        listening.settimeout(0.05)
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        port = 1 if path else listening.getsockname()[1]
        yield MySQLParams(
            "127.0.0.1", port, "app", "hidden", "shop", socket=str(path) if path else None, connect_timeout=0.3
        )
        stopped.set()
        thread.join(5)


def packet(number: int, payload: bytes) -> bytes:
    """A packet of MySQL's protocol."""
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


def greeting(way: str, capabilities: int = 0) -> bytes:
    """A server's first packet, with the way of signing in that it would like; *capabilities* are offered, too."""
    offered = CLIENT.CAPABILITIES | capabilities
    text = b"\x0a8.4.0\0" + bytes(4) + b"12345678\0" + struct.pack("<H", offered & 0xFFFF)
    text += struct.pack("<BHHB", 45, 2, offered >> 16, 21) + bytes(10) + b"123456789012\0"
    return packet(0, text + way.encode() + b"\0")
