"""Where the database is, who asks and what answered: the words for it, and the settings behind them."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from sync.rows.masking import masking_of
from sync.rows.source import SourceError


@dataclass(frozen=True)
class MySQLParams:
    """Where the database is and who asks."""

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
    """What else may not be repeated where the server or the driver says it."""

    def masked(self, text: str) -> str:
        """What the server or the driver said without secrets, however short they are."""
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

    @property
    def hint_for_a_refused_user(self) -> str:
        """What else keeps a user out who has the right password, as the end of a sentence; often empty."""
        if self.socket:
            return f"; where the server knows its users by the socket, run as this machine's user {self.user}"
        return "" if self.is_remote else "; many servers know root by their Unix socket alone: name it in DB_SOCKET"


def unreachable(cause: OSError | UnicodeError, params: MySQLParams) -> str:
    """The sentence for a server that could not be connected to."""
    if isinstance(cause, socket.gaierror | UnicodeError):
        return _unknown_host(params.host, str(cause.args[-1]) if cause.args[0] == socket.EAI_AGAIN else "")
    if isinstance(cause, TimeoutError):
        waited = f"{params.address} did not answer within {params.connect_timeout:g} s"
        return f"{waited}: check {params.where}, and whether a firewall stands between."
    reason = cause.strerror or cause
    return f"No database answers at {params.address} ({reason}): start the server, or check {params.where}."


def _unknown_host(host: str, unasked: str) -> str:
    """The sentence for a host without an address; *unasked* is why nobody could be asked for it, else empty.

    >>> _unknown_host("db", "")
    "The host name 'db' is not known: check DB_HOST."
    """
    if unasked:
        return (
            f"The address of the host {host!r} cannot be looked up now ({unasked}): see whether the network and its "
            "name server are up, and run again; a job at boot has to wait for them (After=network-online.target)."
        )
    is_more = host.count(":") == 1 or "://" in host
    remedy = "DB_HOST takes a name alone, the port goes into DB_PORT" if is_more else "check DB_HOST"
    return f"The host name {host!r} is not known: {remedy}."


_OLDEST: Final = {"MySQL": (8, 0), "MariaDB": (10, 2)}  # the first with WITH and ROW_NUMBER


def described(params: MySQLParams, version: str, cipher: str) -> str:
    """The server in words: product, version, how private the connection is; raises SourceError for one too old."""
    product = "MariaDB" if "mariadb" in version.lower() else "MySQL"
    number = version.split("-")[0]
    server = f"{product} {params.masked(number)}"
    if tuple(int(part) for part in re.findall(r"\d+", number)[:2]) < _OLDEST[product]:
        raise SourceError(f"{params.address} runs {server}, which is too old: use MySQL 8 or MariaDB 10.2, or later.")
    if not cipher:
        return f"{server}, {'by its socket' if params.socket else 'no TLS'}"
    verified = "verified" if params.ssl_ca else "not verified"
    return f"{server}, TLS ({params.masked(cipher)}, {verified})"


_IN_ITS_PLACE: Final = (
    "whoever answers in the server's place gets the password (by a login with caching_sha2_password or "
    "sha256_password), and the rows that it gives are sent to Iterable"
)


def exposure(params: MySQLParams, cipher: str) -> str:
    """What the way to the server leaves open to others, with the remedy; empty when that is nothing."""
    if not params.is_remote or (cipher and params.ssl_ca):
        return ""
    if cipher:
        return f"nobody verifies the server's certificate: {_IN_ITS_PLACE}; set DB_SSL_CA"
    return (
        f"there is no TLS: whoever listens on the way reads all rows, and {_IN_ITS_PLACE}; have TLS switched on at the "
        "server, and set DB_SSL_CA"
    )
