"""What a session is told before the query, and how long the query may take."""

from __future__ import annotations

import math
import time
from typing import Final

from sync.database.server_address import MySQLParams
from sync.database.server_errors import slow_sentence
from sync.rows.source import SourceError

ALWAYS: Final = (
    "time_zone = '+00:00'",
    "TRANSACTION READ ONLY",
    "sql_select_limit = 18446744073709551615",  # a server may have one, and would cut the result without a word
)
"""What every session is told: UTC, only reading, and no row left out."""

_A_LOCK: Final = 60
_A_YEAR: Final = 31_536_000  # the most that each of the servers takes


def where_allowed(query_timeout: float) -> tuple[str, ...]:
    """What a session is told if the server knows the variable and lets this user set it.

    *query_timeout* is in seconds; 0 takes all limits away.
    """
    lock = _lock_seconds(query_timeout)
    return (
        "group_concat_max_len = 1073741824",  # no text can be longer; without, a cut is told by a warning
        "max_error_count = 65535",  # so that a thousand harmless warnings do not hide the one that says what was cut
        f"max_statement_time = {query_timeout:f}",  # MariaDB: seconds, for all statements
        f"max_execution_time = {math.ceil(query_timeout * 1000)}",  # MySQL: milliseconds, for a SELECT alone
        f"lock_wait_timeout = {lock}",  # a table's lock
        f"innodb_lock_wait_timeout = {lock}",  # a row's
    )


def _lock_seconds(query_timeout: float) -> int:
    """How long a lock is waited for: less than the whole time, so that it is the lock that is named."""
    return max(1, min(_A_LOCK, int(query_timeout) - 1)) if query_timeout else _A_YEAR


class TimeLimit:
    """The time of one query, which begins now.

    The server stops most statements by itself, but no CALL of MySQL's; and a SELECT whose time is up in SLEEP() ends
    there as if it were done. So the time is kept here, too.
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
