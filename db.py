"""The database: connect to it, run the query, and yield its rows, one at a time.

Whatever goes wrong raises a `SourceError`, whose text is a sentence for the operator. What a server is sent, and what
its answers mean, is in `sync/database/`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import struct
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import SERVER_STATUS
from pymysql.cursors import Cursor, SSCursor

from sync.database.server_messages import (
    IN_THE_QUERY,
    WHILE_CONNECTING,
    error_sentence,
    slow_sentence,
    summed_up,
    tls_files_sentence,
    unusable_sentence,
)
from sync.database.session import ALWAYS, MySQLParams, described, exposure, refusals, where_allowed
from sync.database.statement import bound_values, parse
from sync.database.wire_types import Field, column_kind, reader
from sync.rows.source import Column, ResultSet, Source, SourceError

__all__ = ["MySQLParams", "connect"]

logger = logging.getLogger("db")


def connect(params: MySQLParams) -> Source:
    """Connect to MySQL 8 or MariaDB 10.2 or later."""
    return _MySQL(params)


class _Cursor(SSCursor):
    """The driver's unbuffered cursor, and the one place that touches what the driver marks as private.

    There is no public way: the description of a result has no charset, which distinguishes text from bytes; the
    driver's converters raise for values and types that they do not know; closing a result reads all of its remaining
    rows; and the read timeout cannot be changed once a connection is made.
    """

    connection: Connection
    _result: Any
    left_unread = False
    window: Sequence[str] = ()
    """The start of the window, as it was bound."""

    @property
    def columns(self) -> list[Column]:
        """The columns of the result; none when the statement has no result."""
        return [Column(field.name, column_kind(field)) for field in self._fields]

    @property
    def _fields(self) -> Sequence[Field]:
        return getattr(self._result, "fields", ())

    def convert_by_our_rules(self) -> None:
        """Make the driver convert the result's bytes to values as `wire_types` says."""
        if self._result is not None:
            self._result.converters = [(None, reader(field)) for field in self._fields]

    def wait(self, seconds: float | None) -> None:
        """Wait at most this long for each of the next answers; None: for ever."""
        self.connection._read_timeout = seconds  # type: ignore[attr-defined]

    def leave_unread(self) -> None:
        """Make the driver believe that all was read. The protocol cannot stop a result, so the connection is closed."""
        if self._result is not None and self._result.unbuffered_active:
            self._result.unbuffered_active = self._result.has_next = False
            self.left_unread = True
            self.connection.close()


class _TimeLimit:
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


class _MySQL:
    """A Source on MySQL or MariaDB."""

    def __init__(self, params: MySQLParams) -> None:
        self._params = params
        self._cursor: _Cursor | None = None
        self._connection = _open(params)
        self.description = params.description
        self.server, self.exposure = _server(self._connection, params)

    def query(self, sql: str, since: datetime, since_local: datetime, limit: int | None = None) -> ResultSet:
        statement = parse(sql, backslash_escapes=_backslash_escapes(self._connection))
        values = bound_values(since, since_local)
        self._cursor = cursor = self._connection.cursor(_Cursor)
        cursor.window = tuple(values.values())
        time_limit = _TimeLimit(self._params)
        with _advice_in_time(self._params, time_limit):
            cursor.wait(time_limit.left())
            _ask(self._connection, "START TRANSACTION READ ONLY")
            cursor.execute(statement.text, values)
            cursor.convert_by_our_rules()
        if not cursor.columns:
            raise SourceError("The query has no result: QUERY_FILE must contain a SELECT.")
        return ResultSet(
            cursor.columns,
            islice(self._rows(cursor, time_limit), limit),
            uses_since=bool(statement.parameters),
            release=cursor.leave_unread,
        )

    def _rows(self, cursor: _Cursor, limit: _TimeLimit) -> Iterator[tuple[Any, ...]]:
        """The rows of the result, one at a time; raises SourceError when the last of them comes too late."""
        width = len(cursor.columns)
        with _advice_in_time(self._params, limit):
            while row := _next_row(cursor, limit):
                if len(row) != width:  # the driver takes a row that ends early for a row
                    raise IndexError("a row has fewer values than there are columns")
                yield row
            if not cursor.left_unread:
                _refuse_more_results(cursor)
                limit.left()  # raises for a CALL whose rows arrived in time but whose end did not
                _hear_warnings(self._connection, self._params, cursor.window)
        if cursor.left_unread:
            raise RuntimeError("the result was closed before all of it was read")

    def close(self) -> None:
        if self._cursor:
            self._cursor.leave_unread()
        if self._connection.open:
            self._connection.close()


def _next_row(cursor: _Cursor, limit: _TimeLimit) -> tuple[Any, ...] | None:
    cursor.wait(limit.left())
    row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def _refuse_more_results(cursor: _Cursor) -> None:
    """Read what follows the rows. After a CALL, this may be an error or a second result, and neither may be lost."""
    while cursor.nextset():
        if cursor.columns:
            raise SourceError(
                "The query gives more than one result, and only the first would be read: QUERY_FILE must contain one "
                "SELECT, or CALL a procedure that contains one."
            )


def _hear_warnings(connection: Connection, params: MySQLParams, window: Sequence[str]) -> None:
    """Log the server's warnings about the result; one that was cut off, or has the wrong window, is a failed query."""
    kept = [(level, number, params.masked(text)) for level, number, text in _ask(connection, "SHOW WARNINGS")]
    ((counted,),) = _ask(connection, "SHOW COUNT(*) WARNINGS")
    for number, said in summed_up(kept):
        logger.warning("The database warns about the result: %s code=%s", said, number)
    if counted > len(kept):
        logger.warning("The database kept only %d of its %d warnings; the others may be important", len(kept), counted)
    if sentence := unusable_sentence(kept, map(params.masked, window), params.address):
        raise SourceError(sentence)


def _backslash_escapes(connection: Connection) -> bool:
    status: int = connection.server_status  # type: ignore[attr-defined]
    return not status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES


def _ask(connection: Connection, sql: str) -> tuple[tuple[Any, ...], ...]:
    """Run one of our own statements and return its few rows."""
    with connection.cursor(Cursor) as cursor:
        cursor.execute(sql)
        return tuple(cursor.fetchall())


def _open(params: MySQLParams) -> Connection:
    """Open a read-only session whose time zone is UTC."""
    try:
        connection: Connection = Connection(
            host=params.host,
            port=params.port,
            unix_socket=params.socket,
            user=params.user,
            # As bytes, because the driver would encode text as Latin-1.
            password=params.password.encode("utf-8", "surrogateescape"),
            database=params.database,
            charset="utf8mb4",
            ssl_ca=params.ssl_ca,
            ssl_verify_identity=params.ssl_ca is not None,
            connect_timeout=params.connect_timeout,
            read_timeout=params.connect_timeout,  # until the query: a server may accept, then say nothing
            auth_plugin_map=refusals(params),
            defer_connect=True,
        )
    except OSError as error:
        raise SourceError(tls_files_sentence(error, params)) from error
    with _advice(params, WHILE_CONNECTING):
        connection.connect()
        for setting in ALWAYS:
            _ask(connection, f"SET SESSION {setting}")
        for setting in where_allowed(params.query_timeout):
            _try_to_set(connection, setting)
    return connection


def _try_to_set(connection: Connection, setting: str) -> None:
    try:
        _ask(connection, f"SET SESSION {setting}")
    except pymysql.err.OperationalError:
        if not connection.open:
            raise


def _server(connection: Connection, params: MySQLParams) -> tuple[str, str]:
    """Which server answered, and what others could read or forge on the way to it."""
    with _advice(params, WHILE_CONNECTING):
        ((version,),) = _ask(connection, "SELECT VERSION()")
        status = dict(_ask(connection, "SHOW SESSION STATUS LIKE 'Ssl_cipher'"))
    cipher = status.get("Ssl_cipher", "")
    return described(params, version, cipher), exposure(params, cipher)


@contextlib.contextmanager
def _advice_in_time(params: MySQLParams, limit: _TimeLimit) -> Iterator[None]:
    """Like `_advice`, for the query; an error after its time is up, such as a timeout, is reported as a slow query."""
    with _advice(params, IN_THE_QUERY):
        try:
            yield
        except pymysql.err.OperationalError:
            limit.left()
            raise


@contextlib.contextmanager
def _advice(params: MySQLParams, remedy: str) -> Iterator[None]:
    """Turn what the driver raises into a sentence for the operator; *remedy* is for errors without one of their own."""
    try:
        yield
    except (pymysql.MySQLError, RuntimeError, AssertionError, IndexError, ValueError, struct.error) as error:
        raise SourceError(error_sentence(error, params, remedy)) from error
