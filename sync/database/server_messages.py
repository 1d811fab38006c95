"""What a server or the driver says: an error becomes a sentence that ends in the next step, a warning may fail a query.

Ten errors that operators meet have a sentence of their own. Any other error is reported in the server's words, and when
it happens shows whether the query or the server has to be corrected.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Sequence
from typing import Final

from sync.database.session import MySQLParams

WHILE_CONNECTING: Final = "correct the server, or the DB_ settings"
IN_THE_QUERY: Final = "correct QUERY_FILE"

_SENTENCES: Final = {
    (1040, 1203, 1226): "{at} accepts no more connections ({said}): run again later, or raise the limit there.",
    (1044,): "The user {user} may not use the database {database} at {at}: GRANT SELECT on it, or correct DB_NAME.",
    (1045, 1698): (
        "{at} refused the user {user} ({said}): check DB_USER and DB_PASSWORD, and which hosts this user may connect "
        "from; TROUBLESHOOTING.md, `refused the user`, says more about accounts that require TLS, a client certificate "
        "or the Unix socket."
    ),
    (1049,): "There is no database {database} at {at}: check DB_NAME.",
    (1142, 1143, 1227, 1370): (  # a table, a column, a privilege, a routine
        "The user {user} may not read what the query asks of {at} ({said}): GRANT SELECT on it."
    ),
    (1205,): (
        "The query waited too long for a lock that another connection to {at} holds ({said}): find that connection "
        "with SHOW PROCESSLIST there, and run again when it is done."
    ),
    (1317, 1927): "{at} stopped the query ({said}): find out who killed it, and run again.",
    (1449, 1356): (
        "A view or routine that the query uses does not work at {at}: its definer is gone or has too few rights, or "
        "one of its tables is missing ({said}). Create it again there."
    ),
    (1969, 3024): (  # MariaDB's number and MySQL's
        "The query at {at} took longer than QUERY_TIMEOUT, or the server's own limit, allows ({said}): shorten the "
        "window, add an index, or raise the limit."
    ),
    (2013, 2006, 2003, 2055, 1053): (
        "The connection to {at} was lost ({said}): check that the server is up, and run again."
    ),
}
KNOWN: Final = {number: sentence for numbers, sentence in _SENTENCES.items() for number in numbers}
"""The error numbers with a sentence of their own; what is in braces is filled in."""

_REFUSED, _WITHOUT_DEFINER, _TOO_SLOW = 1045, 1449, 1969

_ANY_OTHER: Final = "{at} answered with error {number} ({said}): {remedy}."

_LONGEST: Final = 300


def _one_line(text: object) -> str:
    """What a server said, on one line and not too long."""
    return " ".join(str(text).split())[:_LONGEST]


def error_sentence(error: Exception, params: MySQLParams, remedy: str) -> str:
    """The sentence for an error that the driver raised; `remedy` is for errors without one of their own."""
    cause = getattr(error, "original_exception", error)  # the driver's, when it could not connect
    said = _one_line(params.masked(str((cause.args or ("nothing",))[-1]))).rstrip(".")  # our sentence goes on
    if isinstance(cause, OSError | UnicodeError):
        return _unreachable(cause, said, params)
    if isinstance(error, RuntimeError):
        way = f"wants a login method for which the driver lacks a package ({said})"
        return f"{params.address} {way}: install it with pip, or give the user {params.user} another login method."
    number = error.args[0] if error.args else None
    if not isinstance(number, int):
        return f"What answers at {params.address} does not speak MySQL's protocol: check {params.where}."
    if number == _REFUSED and remedy == IN_THE_QUERY:  # already logged in: so a view's definer is gone
        number = _WITHOUT_DEFINER
    words = {"at": params.address, "user": params.user, "database": params.database}
    return KNOWN.get(number, _ANY_OTHER).format(**words, number=number, said=said, remedy=remedy)


def _unreachable(cause: OSError | UnicodeError, said: str, params: MySQLParams) -> str:
    """The sentence for a server that could not be connected to."""
    at = params.address
    if isinstance(cause, ssl.SSLError):
        return (
            f"TLS with {at} failed ({said}): if its certificate is not trusted, set DB_SSL_CA to the authority that "
            "signed it, and DB_HOST to the name in it; otherwise, check which versions of TLS the server offers."
        )
    if isinstance(cause, socket.gaierror | UnicodeError):
        return (
            f"The host {params.host!r} cannot be found ({said}): check DB_HOST, which takes a name or an IP address "
            "without a port, and check that the network and its name server are up; a job at boot must wait for them."
        )
    if isinstance(cause, TimeoutError):
        waited = f"{at} did not answer within {params.connect_timeout:g} s"
        return f"{waited}: check {params.where}, and whether a firewall is in between."
    return f"No database answers at {at} ({said}): start the server, or check {params.where}."


def slow_sentence(params: MySQLParams) -> str:
    """The sentence for a query that took too long."""
    return KNOWN[_TOO_SLOW].format(at=params.address, said=f"{params.query_timeout:g} s")


def tls_files_sentence(error: OSError, params: MySQLParams) -> str:
    """The sentence for a file of this machine that TLS needs but cannot use."""
    return (
        f"TLS cannot be set up with DB_SSL_CA={params.ssl_ca or ''} ({error.strerror or error}): it must be a file "
        "in PEM format; and if SSLKEYLOGFILE is set, it must name a file that can be written."
    )


_CUT: Final = frozenset(
    {
        1260,  # by GROUP_CONCAT and its like
        1264,  # a number out of range: the nearest that fits is given instead
        1265,  # a text that did not fit
        1301,  # longer than max_allowed_packet: NULL is given instead
        1406,
        1931,  # LIMIT ROWS EXAMINED: rows are missing
        1969,  # a statement in a MariaDB procedure was stopped, and the procedure went on
    }
)
"""Warnings that the server cut off a value, or left out rows, and went on."""

_TAKEN_FOR_A_NUMBER: Final = 1292
_NUMBER: Final = re.compile(r"\b(?:double|decimal|integer)\b", re.IGNORECASE)
"""The warning is in the server's language, except for these words. With another word here, it is about a date."""


def summed_up(warnings: Iterable[tuple[str, int, str]]) -> list[tuple[int, str]]:
    """The rows of SHOW WARNINGS without mere notes: the number of each kind, and its first text with a count.

    >>> summed_up([("Warning", 1260, "Row 1 was cut"), ("Note", 1105, "x"), ("Warning", 1260, "Row 7 was cut")])
    [(1260, 'Row 1 was cut (and 1 more)')]
    """
    texts: dict[int, list[str]] = {}
    for level, number, text in warnings:
        if level != "Note":
            texts.setdefault(number, []).append(_one_line(text))
    return [
        (number, f"{said[0]} (and {len(said) - 1:,} more)" if said[1:] else said[0]) for number, said in texts.items()
    ]


def unusable_sentence(warnings: Sequence[tuple[str, int, str]], window: Iterable[str], at: str) -> str:
    """The sentence for a result that the rows of SHOW WARNINGS make unusable; empty when it can be used.

    It is cut, or the start of its window, which *window* holds as it was bound, was compared with a number: with 2026.

    >>> said = "Truncated incorrect DOUBLE value: '2026-01-06 12:00:00'"
    >>> unusable_sentence([("Warning", 1292, said)], ["2026-01-06 12:00:00"], "db:3306")[:79]
    'db:3306 compared the start of the window, 2026-01-06 12:00:00, with a number, s'
    """
    if cuts := "; ".join(said for number, said in summed_up(warnings) if number in _CUT):
        return f"{at} gave only a part of the result ({cuts}): correct QUERY_FILE, or raise the limit there."
    numbers = [said for _level, number, said in warnings if number == _TAKEN_FOR_A_NUMBER and _NUMBER.search(said)]
    if start := next((start for start in window if any(f"'{start}'" in said for said in numbers)), ""):
        return (
            f"{at} compared the start of the window, {start}, with a number, so the window is wrong: if the column "
            "holds Unix seconds, write UNIX_TIMESTAMP(:since) in QUERY_FILE."
        )
    return ""
