"""What a server may ask for when it is signed in to, and what it may not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn

from sync.database.server_address import MySQLParams
from sync.rows.source import SourceError

_IN_CLEAR_TEXT: Final = ("mysql_clear_password", "dialog")
"""The ways of signing in by which a driver sends the password as it is."""

_TOO_OLD: Final = "mysql_old_password"
"""The way of servers before 4.1. The driver has its name, and raises AttributeError when it is asked for."""


def refusals(params: MySQLParams) -> dict[str, Callable[[Any], object]]:
    """What the driver takes for the ways of signing in that are refused, each under its name.

    The server names the way, whoever it is. The password goes in clear text only over a Unix socket, or to a server
    whose certificate is verified.
    """
    refused = {
        _TOO_OLD: f"{params.address} wants {_TOO_OLD}, which is not safe: give the user {params.user} another way."
    }
    if not (params.socket or params.ssl_ca):
        refused |= {way: _clear_text_sentence(way, params.address) for way in _IN_CLEAR_TEXT}
    return {way: partial(_Refusal, sentence) for way, sentence in refused.items()}


def _clear_text_sentence(way: str, at: str) -> str:
    return (
        f"{at} asks for the password in clear text ({way}), and it was not sent: set DB_SSL_CA, so that the server is "
        "verified, or DB_SOCKET on the server's own machine; if it never asked before, find out who answers there."
    )


class _Refusal:
    """A way of signing in as the driver wants one; it sends nothing."""

    def __init__(self, sentence: str, _connection: object) -> None:
        self._sentence = sentence

    def authenticate(self, _packet: object) -> NoReturn:
        """Raise SourceError."""
        raise SourceError(self._sentence)
