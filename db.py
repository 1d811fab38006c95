"""The database: connect to it, run the query, and yield its rows as the driver gives them.

Everything that can go wrong on the way is one `SourceError`, whose text is a sentence for the operator.
"""

from __future__ import annotations

import contextlib
import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from io import BufferedReader
from itertools import islice
from typing import Any, Protocol

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CR, SERVER_STATUS
from pymysql.cursors import Cursor, SSCursor

from sync.database.login import refusals
from sync.database.session import ALWAYS, TimeLimit, where_allowed
from sync.database.sockets import connected_socket
from sync.rows.columns import Column
from sync.rows.server_address import MySQLParams, described, exposure
from sync.rows.server_errors import (
    IN_THE_QUERY,
    WHILE_CONNECTING,
    cut_sentence,
    driver_sentence,
    package_sentence,
    stranger_sentence,
    summed_up,
    tls_files_sentence,
    window_sentence,
)
from sync.rows.source import ResultSet, Source, SourceError
from sync.rows.statement import bound_values, double_percent, named_placeholder, parse
from sync.rows.wire_rows import RowParser, row_parser, whole_rows
from sync.rows.wire_types import Field, column_kind

__all__ = ["MySQLParams", "connect"]

logger = logging.getLogger("db")


def connect(params: MySQLParams) -> Source:
    """Connect to MySQL 8 or MariaDB 10.2 or later."""
    return _MySQL(params)


class _Connection(Connection):
    """The driver's connection, whose patience can change."""

    server_status: int
    _next_seq_id: int
    _rfile: BufferedReader
    _secure: bool
    """Whether nobody can listen, so that a password may be sent as it is."""
    _read_timeout: float | None

    def wait_for_answers(self, seconds: float | None) -> None:
        self._read_timeout = seconds

    def rows_that_came(self, parse: RowParser) -> Sequence[tuple[Any, ...]]:
        """The next rows of a result, as far as their packets have come whole.

        What comes after them is for the driver: it waits, and knows what else there may be.
        """
        try:
            came = self._rfile.peek()
        except OSError as error:  # as the driver says it, who would not meet it: a system tells it once
            raise pymysql.err.OperationalError(CR.CR_SERVER_LOST, f"Lost connection during query ({error})") from error
        rows, size = whole_rows(came, self._next_seq_id, parse)
        self._rfile.read(size)
        self._next_seq_id = (self._next_seq_id + len(rows)) % 256
        return rows

    def ask(self, sql: str) -> tuple[Any, ...]:
        """Run a statement of our own; its first row."""
        return next(iter(self.ask_all(sql)), ())

    def ask_all(self, sql: str) -> tuple[tuple[Any, ...], ...]:
        """Run a statement of our own; its few rows."""
        with self.cursor(Cursor) as cursor:
            cursor.execute(sql)
            return cursor.fetchall()


class _Result(Protocol):
    """What the driver keeps of a result while its rows are read."""

    fields: Sequence[Field]
    _read_row_from_packet: Callable[[Any], tuple[Any, ...]]
    _read_rowdata_packet_unbuffered: Callable[[], tuple[Any, ...] | None]
    unbuffered_active: bool
    has_next: bool
    warning_count: int


class _Cursor(SSCursor):
    """The driver's unbuffered cursor, whose unread rows can be left with the server."""

    connection: _Connection
    _result: _Result | None
    _parse: RowParser
    forgotten = False
    window: Sequence[str] = ()
    """The start of the window, as it was bound."""

    @property
    def columns(self) -> list[Column]:
        """The columns of the result; none when the statement has no result."""
        return [Column(each.name, column_kind(each)) for each in self._fields]

    def read_what_comes(self) -> None:
        """Have the rows read by our rules: the driver's own raise on a type that they do not know, and take longer."""
        if self._result is not None:
            self._parse = parse = row_parser(self._fields)
            self._result._read_row_from_packet = lambda packet: parse(packet.get_all_data())

    def rows(self, limit: TimeLimit) -> Iterator[tuple[Any, ...]]:
        """The rows of the result, one at a time; raises SourceError when the last of them comes too late."""
        assert self._result is not None  # noqa: S101 - a result with columns was asked for
        while True:
            self.connection.wait_for_answers(limit.left())
            row = self._result._read_rowdata_packet_unbuffered()
            if row is None:
                return
            yield row
            if self.unread:  # else it was closed meanwhile
                yield from self.connection.rows_that_came(self._parse)

    @property
    def _fields(self) -> Sequence[Field]:
        return getattr(self._result, "fields", ())

    @property
    def warned(self) -> bool:
        """Whether the server has something to say of a result that was read to its end."""
        return self._result is not None and self._result.warning_count != 0  # negative from 32,768 on

    @property
    def unread(self) -> bool:
        return self._result is not None and self._result.unbuffered_active

    def forget(self) -> None:
        """Let the driver believe that all was read: it would read the rest, however much that is."""
        if self._result is not None:
            self._result.unbuffered_active = self._result.has_next = False
        self.forgotten = True


class _MySQL:
    """A Source on MySQL or MariaDB."""

    def __init__(self, params: MySQLParams) -> None:
        self._params = params
        self._cursor: _Cursor | None = None
        self._connection = _open(params)
        self.description = params.description
        self.server, self.exposure = _server(self._connection, params)

    def query(self, sql: str, since: datetime, since_local: datetime, limit: int | None = None) -> ResultSet:
        self._release(self._cursor)
        if not self._connection.open:
            self._connection = _open(self._params)
        statement = parse(sql, backslash_escapes=_backslash_escapes(self._connection))
        values = bound_values(since, since_local)
        self._cursor = cursor = self._connection.cursor(_Cursor)
        cursor.window = tuple(values.values())
        time_limit = TimeLimit(self._params)
        with _advice_in_time(self._params, time_limit):
            self._connection.wait_for_answers(time_limit.left())
            self._connection.ask("START TRANSACTION READ ONLY")
            cursor.execute(statement.render(double_percent, named_placeholder), values)
            cursor.read_what_comes()
        if not cursor.columns:
            raise SourceError("The query has no result: QUERY_FILE must hold a SELECT.")
        return ResultSet(
            cursor.columns,
            islice(self._rows(cursor, time_limit), limit),
            parameters=statement.parameters,
            release=partial(self._release, cursor),
        )

    def _rows(self, cursor: _Cursor, limit: TimeLimit) -> Iterator[tuple[Any, ...]]:
        with _advice_in_time(self._params, limit):
            yield from cursor.rows(limit)
            warned = _warned_at_the_end(cursor)
            limit.left()  # raises for a CALL whose rows came in time, and whose end did not
            if warned:
                _hear_warnings(self._connection, self._params, cursor.window)
        if cursor.forgotten:  # else a result closed half way would look complete
            raise RuntimeError("the result was closed before all of it was read")

    def _release(self, cursor: _Cursor | None) -> None:
        """Be done with a result. The protocol cannot stop one half way, so unread rows cost the connection."""
        if cursor is not None and cursor.unread:
            cursor.forget()
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection.open:
            self._connection.close()

    def close(self) -> None:
        self._release(self._cursor)
        self._disconnect()


def _warned_at_the_end(cursor: _Cursor) -> bool:
    """Read what follows the rows: after a CALL that may be an error, or a second result, not to be lost in silence."""
    warned = cursor.warned
    while cursor.nextset():
        if cursor.columns:
            raise SourceError(
                "The query gives more than one result, and only the first would be read: "
                "QUERY_FILE must hold one SELECT, or CALL a procedure with one."
            )
        warned |= cursor.warned
    return warned


def _hear_warnings(connection: _Connection, params: MySQLParams, window: Sequence[str]) -> None:
    """Log what the server says of the result; one that was cut, or that has another window, is a failed query."""
    kept = connection.ask_all("SHOW WARNINGS")
    (counted,) = connection.ask("SHOW COUNT(*) WARNINGS")
    warnings = summed_up((level, number, params.masked(text)) for level, number, text in kept)
    for number, said in warnings:
        logger.warning("The database warns of the result: %s code=%s", said, number)
    if counted > len(kept):
        logger.warning("The database keeps %d of its %d warnings: the others may say more", len(kept), counted)
    if sentence := cut_sentence(warnings, params.address) or window_sentence(kept, window, params.address):
        raise SourceError(sentence)


def _backslash_escapes(connection: _Connection) -> bool:
    return not connection.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES


def _open(params: MySQLParams) -> _Connection:
    """A session that only reads, and whose time is UTC."""
    try:
        connection = _Connection(
            host=params.host,
            port=params.port,
            user=params.user,
            # As bytes, for the driver would put text into Latin-1.
            password=params.password.encode("utf-8", "surrogateescape"),
            database=params.database,
            charset="utf8mb4",
            ssl_ca=params.ssl_ca,
            ssl_verify_identity=params.ssl_ca is not None,
            read_timeout=params.connect_timeout,  # until the query: a server may accept and be silent
            auth_plugin_map=refusals(params),
            defer_connect=True,
        )
    except OSError as error:
        raise SourceError(tls_files_sentence(error.strerror or str(error), params.ssl_ca)) from error
    connection._secure = params.socket is not None
    with _advice(params, WHILE_CONNECTING):
        connection.connect(connected_socket(params))
        for setting in ALWAYS:
            connection.ask(f"SET SESSION {setting}")
        for setting in where_allowed(params.query_timeout):
            _try_to_set(connection, setting)
    return connection


def _try_to_set(connection: _Connection, setting: str) -> None:
    try:
        connection.ask(f"SET SESSION {setting}")
    except pymysql.err.OperationalError:
        if not connection.open:
            raise


def _server(connection: _Connection, params: MySQLParams) -> tuple[str, str]:
    """What answered, and what the way to it leaves open to others."""
    with _advice(params, WHILE_CONNECTING):
        (version,) = connection.ask("SELECT VERSION()")
        (_, cipher) = connection.ask("SHOW SESSION STATUS LIKE 'Ssl_cipher'") or ("", "")
    try:
        return described(params, version, cipher), exposure(params, cipher)
    except SourceError:
        connection.close()
        raise


@contextlib.contextmanager
def _advice_in_time(params: MySQLParams, limit: TimeLimit) -> Iterator[None]:
    """As `_advice` for the query; what breaks when its time is up, such as the wait for an answer, is told as that."""
    with _advice(params, IN_THE_QUERY):
        try:
            yield
        except pymysql.err.OperationalError:
            limit.left()
            raise


@contextlib.contextmanager
def _advice(params: MySQLParams, remedy: str) -> Iterator[None]:
    """Turn what the driver raises into a sentence for the operator; *remedy* is for errors that name none."""
    try:
        yield
    except pymysql.MySQLError as error:
        raise SourceError(driver_sentence(error, params, remedy)) from error
    except RuntimeError as error:
        if not (sentence := package_sentence(str(error), params.address)):
            raise
        raise SourceError(sentence) from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{params.address} gave a text that is not UTF-8 ({error.reason}): convert the column in QUERY_FILE."
        ) from error
    except (AssertionError, IndexError, ValueError, struct.error) as error:
        raise SourceError(stranger_sentence(params.address, params.where)) from error
