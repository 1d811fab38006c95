"""A session with the server: where it is, who connects and how, what answered, and what is set before the query."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Any, Final, NoReturn

from sync.rows.masking import masking_of
from sync.rows.source import SourceError


@dataclass(frozen=True)
class MySQLParams:
    """Where the database is and who connects."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    socket: str | None = None
    """A Unix socket of this machine, instead of host and port."""
    ssl_ca: str | None = None
    """A file with the authority that signed the server's certificate. Without it TLS is used when the
    server offers it, and nobody knows whose certificate that is."""
    connect_timeout: float = 10
    query_timeout: float = 0
    """Seconds from the query's statement to its last row; 0: as long as it takes."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Other secrets, which are masked in what the server or the driver says."""

    def masked(self, text: str) -> str:
        """What the server or the driver said, with secrets masked, however short they are."""
        return masking_of((self.password, *self.secrets))(text)

    @property
    def address(self) -> str:
        """The server as `host:port`, or its socket."""
        if self.socket:
            return self.socket
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def description(self) -> str:
        """Server, user and database, as one text without the password."""
        at = f"localhost:{self.socket}:" if self.socket else self.address
        return f"mysql://{self.user}@{at}/{self.database}"

    @property
    def where(self) -> str:
        """The settings that say where the server is."""
        return "DB_SOCKET" if self.socket else "DB_HOST and DB_PORT"

    @property
    def is_remote(self) -> bool:
        """Whether the way to the server leaves this machine, as far as its address says."""
        if self.socket or self.host.lower() == "localhost":
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return True


def described(params: MySQLParams, version: str, cipher: str) -> str:
    """The server in words: product, version, how private the connection is."""
    product = "MariaDB" if "mariadb" in version.lower() else "MySQL"
    server = f"{product} {params.masked(version.split('-')[0])}"
    if not cipher:
        return f"{server}, {'through its socket' if params.socket else 'no TLS'}"
    return f"{server}, TLS ({params.masked(cipher)}, {'verified' if params.ssl_ca else 'not verified'})"


_IN_ITS_PLACE: Final = (
    "anybody who answers in the server's place gets the password (if the login method is caching_sha2_password or "
    "sha256_password), and whatever rows they return are sent to Iterable"
)


def exposure(params: MySQLParams, cipher: str) -> str:
    """What others could read or forge on the way to the server, with the remedy; empty if nothing."""
    if not params.is_remote or (cipher and params.ssl_ca):
        return ""
    if cipher:
        return f"the server's certificate is not verified: {_IN_ITS_PLACE}; set DB_SSL_CA"
    return (
        f"there is no TLS: anybody who listens on the way reads all rows, and {_IN_ITS_PLACE}; switch on TLS at the "
        "server, and set DB_SSL_CA"
    )


_IN_CLEAR_TEXT: Final = ("mysql_clear_password", "dialog")
"""The login methods with which a driver sends the password in clear text."""

_TOO_OLD: Final = "mysql_old_password"
"""The method of servers before 4.1. It hides the password from nobody, and the driver no longer knows it."""


def refusals(params: MySQLParams) -> dict[str, Callable[[Any], object]]:
    """The login methods that are refused, by name, in the form that the driver wants.

    The server chooses the method, whoever it is. The password is sent in clear text only over a Unix socket, or to a
    server whose certificate is verified.
    """
    refused = (_TOO_OLD,) if params.socket or params.ssl_ca else (_TOO_OLD, *_IN_CLEAR_TEXT)
    return {way: partial(_refuse, way, params) for way in refused}


def _refuse(way: str, params: MySQLParams, _connection: object) -> NoReturn:
    raise SourceError(
        f"{params.address} asks for the password in clear text ({way}), so it was not sent: set DB_SSL_CA, so that the "
        f"server is verified, or DB_SOCKET on the server's own machine, or give the user {params.user} another login "
        "method; if it never asked before, find out who answers there."
    )


ALWAYS: Final = (
    "time_zone = '+00:00'",
    "TRANSACTION READ ONLY",
    "sql_select_limit = 18446744073709551615",  # a server may have a limit, and would cut off the result silently
)
"""Set in every session: UTC, read-only, and no row left out."""

_A_LOCK: Final = 60
_A_YEAR: Final = 31_536_000  # the most that both servers accept


def where_allowed(query_timeout: float) -> tuple[str, ...]:
    """Set in a session if the server knows the variable and lets this user set it.

    *query_timeout* is in seconds; 0 removes all limits. The wait for a lock is shorter than the whole time, so that the
    error names the lock.
    """
    lock = max(1, min(_A_LOCK, int(query_timeout) - 1)) if query_timeout else _A_YEAR
    return (
        "group_concat_max_len = 1073741824",  # no text can be longer; without it, only a warning would report a cut
        "max_error_count = 65535",  # so that a thousand harmless warnings do not hide the one that says what was cut
        f"max_statement_time = {query_timeout:f}",  # MariaDB: seconds, for all statements
        f"max_execution_time = {math.ceil(query_timeout * 1000)}",  # MySQL: milliseconds, for a SELECT alone
        f"lock_wait_timeout = {lock}",  # a table's lock
        f"innodb_lock_wait_timeout = {lock}",  # a row's
    )
