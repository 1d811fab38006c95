"""How a session begins: which login methods are refused, its settings, and how long the query may take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn

from sync.database.server_address import MySQLParams
from sync.database.server_messages import slow_sentence
from sync.rows.source import SourceError

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


class TimeLimit:
    """The time limit of one query, which begins now.

    The server stops most statements itself. But MySQL does not stop a CALL, and a SELECT that runs out of time in
    SLEEP() ends as if it were done. So the time is measured here, too.
    """

    def __init__(self, params: MySQLParams) -> None:
        self._params = params
        self._ends = time.monotonic() + (params.query_timeout or math.inf)

    def left(self) -> float | None:
        """The seconds that are left, None for any number; raises SourceError when there are none."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise SourceError(slow_sentence(self._params))
        return None if left == math.inf else left
