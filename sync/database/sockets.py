"""A connection to whatever answers where the settings say that the database is."""

from __future__ import annotations

import socket

from sync.rows.server_address import MySQLParams, unknown_host
from sync.rows.source import SourceError


def connected_socket(params: MySQLParams) -> socket.socket:
    """Connect to the server's socket or to its host and port; raises SourceError."""
    try:
        if params.socket:
            return _unix_socket(params.socket, params.connect_timeout)
        connected = socket.create_connection((params.host, params.port), params.connect_timeout)
    except (socket.gaierror, UnicodeError) as error:
        unasked = str(error.args[-1]) if error.args[0] == socket.EAI_AGAIN else ""
        raise SourceError(unknown_host(params.host, unasked)) from error
    except TimeoutError as error:
        raise SourceError(
            f"{params.address} did not answer within {params.connect_timeout:g} s: "
            f"check {params.where}, and whether a firewall stands between."
        ) from error
    except OSError as error:
        raise SourceError(
            f"No database answers at {params.address} ({error.strerror or error}): "
            f"start the server, or check {params.where}."
        ) from error
    _keep_alive(connected)
    return connected


def _unix_socket(path: str, timeout: float) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(timeout)
        connected.connect(path)
    except BaseException:
        connected.close()
        raise
    return connected


def _keep_alive(connected: socket.socket) -> None:
    """Have the system find out when the peer is gone, however long a query takes."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}.items():
        if hasattr(socket, option):  # not every system can be told
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
