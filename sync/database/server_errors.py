"""What an error of the server or the driver means for the operator: one sentence that ends in the next step.

Ten errors that operators meet have a sentence of their own. Every other is told in the server's words, and the moment
at which it was said tells whether the query or the server has to be corrected.
"""

from __future__ import annotations

import ssl
from typing import Final

from sync.database.server_address import MySQLParams, unreachable

WHILE_CONNECTING: Final = "correct the server, or the DB_ settings"
IN_THE_QUERY: Final = "correct QUERY_FILE"

_SENTENCES: Final = {
    (1040, 1203, 1226): "{at} takes no more connections ({said}): run again later, or raise the limit there.",
    (1044,): "The user {user} may not use the database {database} at {at}: GRANT SELECT on it, or correct DB_NAME.",
    (1045, 1698): (
        "{at} refused the user {user}: check DB_USER and DB_PASSWORD, and from where this user may connect; an account "
        "that requires TLS needs a server that offers it, one that requires a client certificate cannot be used{hint}."
    ),
    (1049,): "There is no database {database} at {at}: check DB_NAME.",
    (1142, 1143, 1227, 1370): (  # a table, a column, a privilege, a routine
        "The user {user} may not read what the query asks of {at} ({said}): GRANT SELECT on it."
    ),
    (1205,): (
        "The query waited too long for a lock that another connection to {at} holds ({said}): see which by SHOW "
        "PROCESSLIST there, and run again once it is done."
    ),
    (1317, 1927): "{at} stopped the query ({said}): find out who killed it, and run again.",
    (1449, 1356): (
        "A view or routine that the query uses does not work at {at}: its definer is gone or has too few rights, or a "
        "table of it is missing ({said}). Have it made anew there."
    ),
    (1969, 3024): (  # MariaDB's number and MySQL's
        "The query at {at} took longer than QUERY_TIMEOUT, or a limit of its own, allows ({said}): shorten the window, "
        "add an index, or raise the limit."
    ),
    (2013, 2006, 2003, 2055, 1053): (
        "The connection to {at} was lost ({said}): see whether the server is up, and run again."
    ),
}
KNOWN: Final = {number: sentence for numbers, sentence in _SENTENCES.items() for number in numbers}
"""The numbers that change what the operator is told; what is in braces is filled in."""

_REFUSED, _WITHOUT_DEFINER, _TOO_SLOW = 1045, 1449, 1969

_ANY_OTHER: Final = "{at} answered with error {number} ({said}): {remedy}."

_LONGEST: Final = 300


def one_line(text: object) -> str:
    """What a server said, on one line and not too long."""
    return " ".join(str(text).split())[:_LONGEST]


def error_sentence(error: Exception, params: MySQLParams, remedy: str) -> str:
    """What an error that the driver raised comes down to; `remedy` is for those that name none."""
    cause = getattr(error, "original_exception", error)  # the driver's, when it could not connect
    said = one_line(params.masked(str((cause.args or ("nothing",))[-1]))).rstrip(".")  # our sentence goes on
    if isinstance(cause, ssl.SSLError):
        return _tls_sentence(cause, params.address)
    if isinstance(cause, UnicodeDecodeError):
        return f"{params.address} gave a text that is not UTF-8 ({cause.reason}): convert the column in QUERY_FILE."
    if isinstance(cause, OSError | UnicodeError):
        return unreachable(cause, params)
    if isinstance(error, RuntimeError):
        way = f"wants a way of signing in for which the driver lacks a package ({said})"
        return f"{params.address} {way}: install it with pip, or give the user {params.user} another way."
    number = error.args[0] if error.args else None
    if not isinstance(number, int):
        return f"What answers at {params.address} does not speak MySQL's protocol: check {params.where}."
    return _by_number(number, said, params, remedy)


def _by_number(number: int, said: str, params: MySQLParams, remedy: str) -> str:
    if number == _REFUSED and remedy == IN_THE_QUERY:  # the user is in: so servers say that a view's definer is gone
        number = _WITHOUT_DEFINER
    return KNOWN.get(number, _ANY_OTHER).format(
        at=params.address,
        user=params.user,
        database=params.database,
        hint=params.hint_for_a_refused_user,
        number=number,
        said=said,
        remedy=remedy,
    )


def slow_sentence(params: MySQLParams) -> str:
    """The sentence for a query that had no time left."""
    return KNOWN[_TOO_SLOW].format(at=params.address, said=f"{params.query_timeout:g} s")


def tls_files_sentence(said: str, authority: str | None) -> str:
    """The sentence for a file that TLS needs on this machine: the certificate authority, or where keys are to go."""
    key_log = "SSLKEYLOGFILE, if it is set, has to name a file that can be written"
    if authority is None:
        return f"TLS cannot be set up on this machine ({said}): {key_log}."
    remedy = f"give DB_SSL_CA a file in PEM format; {key_log}"
    return f"The certificate authority {authority} cannot be read ({said}): {remedy}."


def _tls_sentence(error: ssl.SSLError, at: str) -> str:
    """The sentence for a connection that could not be made private."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {at} is not to be trusted ({error.verify_message}): "
            "give DB_SSL_CA the authority that signed it, and DB_HOST the name that stands in it."
        )
    return f"TLS with {at} failed ({error.reason or error}): see which versions of TLS the server offers."
