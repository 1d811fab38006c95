"""Where the database is, who connects and what answered: the words for it, and the settings behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from sync.rows.masking import masking_of


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
