"""Where the database is and who asks: the words for it in sentences, and the settings behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")


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
    def hint_for_a_refused_user(self) -> str:
        """What else keeps a user out who has the right password, as the end of a sentence; often empty."""
        if self.socket:
            return f"; where the server knows its users by the socket, run as this machine's user {self.user}"
        if self.host in _THIS_MACHINE:
            return "; many servers know root by their Unix socket alone: name it in DB_SOCKET"
        return ""
