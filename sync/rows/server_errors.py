"""What a MySQL server's error numbers mean for the operator: a sentence each, where the number changes the remedy.

For every other number the server's own words say what is wrong, and the moment at which it was said tells whether the
query or the server has to be corrected.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from typing import Final

from sync.rows.server_address import MySQLParams

WHILE_CONNECTING: Final = "correct the server, or the DB_ settings"
IN_THE_QUERY: Final = "correct QUERY_FILE"

_SENTENCES: Final = {
    1040: "{at} takes no more connections ({said}): run again later, or raise the limit there.",
    1044: "The user {user} may not use the database {database} at {at}: GRANT SELECT on it, or correct DB_NAME.",
    1045: (
        "{at} refused the user {user}: check DB_USER and DB_PASSWORD, and from where this user may connect; an account "
        "that requires TLS needs a server that offers it, one that requires a client certificate cannot be used{hint}."
    ),
    1049: "There is no database {database} at {at}: check DB_NAME.",
    1142: "The user {user} may not read what the query asks of {at} ({said}): GRANT SELECT on it.",
    1205: (
        "The query waited too long for a lock that another connection to {at} holds ({said}): see which by SHOW "
        "PROCESSLIST there, and run again once it is done."
    ),
    1317: "{at} stopped the query ({said}): find out who killed it, and run again.",
    1449: (
        "A view or routine that the query uses does not work at {at}: its definer is gone or has too few rights, or a "
        "table of it is missing ({said}). Have it made anew there."
    ),
    1792: "The query would write to {at}, and this session only reads: QUERY_FILE must hold a SELECT.",
    1820: "The password of the user {user} at {at} has expired: set a new one there and in DB_PASSWORD.",
    1969: (
        "The query at {at} took longer than QUERY_TIMEOUT, or a limit of its own, allows ({said}): shorten the window, "
        "add an index, or raise the limit."
    ),
    2013: "The connection to {at} was lost ({said}): see whether the server is up, and run again.",
    2026: "{at} offers no TLS, and DB_SSL_CA demands it: have it switched on there, or empty DB_SSL_CA.",
    2059: "{at} wants an authentication that the driver does not know ({said}): give the user {user} another.",
    3159: "{at} demands TLS but does not offer it to this program ({said}): have TLS set up there.",
}
_SAME_AS: Final = {
    1040: (1203, 1226),  # a user's share of connections or queries
    1045: (1698,),  # the same without a password
    1142: (1143, 1227, 1370),  # a column, a privilege, a routine
    1449: (1356,),  # its rights are too few, or a table is missing
    1317: (1927,),  # the connection was killed, not only the query
    1820: (1862,),
    1969: (3024,),  # MariaDB's number and MySQL's
    2013: (1053, 2003, 2006, 2055),  # it shuts down, or a socket failed
}
KNOWN: Final = {
    number: sentence for first, sentence in _SENTENCES.items() for number in (first, *_SAME_AS.get(first, ()))
}
"""The numbers that change what the operator is told; what is in braces is filled in."""

_REFUSED, _WITHOUT_DEFINER = 1045, 1449

_ANY_OTHER: Final = "{at} answered with error {number} ({said}): {remedy}."


_LONGEST: Final = 300


def one_line(text: object) -> str:
    """What a server said, on one line and not too long."""
    return " ".join(str(text).split())[:_LONGEST]


def sentence_for(number: int, said: str, remedy: str, **facts: str) -> str:
    """The sentence for an error: *facts* are `at`, `user`, `database` and a `hint` for a user who was refused.

    *remedy* is for a number that is not known here.
    """
    return KNOWN.get(number, _ANY_OTHER).format(number=number, said=said, remedy=remedy, **facts)


def slow_sentence(params: MySQLParams) -> str:
    """The sentence for a query that had no time left."""
    return KNOWN[1969].format(at=params.address, said=f"{params.query_timeout:g} s")


# -- warnings --------------------------------------------------------------------------------------------------

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
"""The warnings by which a server says that it gave a part of a value, or of the rows, and went on."""


def driver_sentence(error: Exception, params: MySQLParams, remedy: str) -> str:
    """What an error that the driver raised comes down to; `remedy` is for those that name none."""
    number = error.args[0] if error.args else None
    cause = getattr(error, "original_exception", None)  # the driver's, when a socket failed
    said = one_line(params.masked(str(cause or (error.args or ("nothing",))[-1])))
    if isinstance(cause, ssl.SSLError):
        return tls_sentence(cause, params.address)
    if not isinstance(number, int):
        return stranger_sentence(params.address, params.where)
    if number == _REFUSED and remedy == IN_THE_QUERY:  # the user is in: so servers say that a view's definer is gone
        number = _WITHOUT_DEFINER
    facts = {"at": params.address, "user": params.user, "database": params.database}
    return sentence_for(number, said, remedy, hint=params.hint_for_a_refused_user, **facts)


def summed_up(warnings: Iterable[tuple[str, int, str]]) -> list[tuple[int, str]]:
    """The rows of SHOW WARNINGS without mere notes: the number of each kind, and its first text with a count.

    >>> summed_up([("Warning", 1260, "Row 1 was cut"), ("Note", 1105, "x"), ("Warning", 1260, "Row 7 was cut")])
    [(1260, 'Row 1 was cut (and 1 more)')]
    """
    texts: dict[int, list[str]] = {}
    for level, number, text in warnings:
        if level != "Note":
            texts.setdefault(number, []).append(text)
    return [(number, _first_and_count(said)) for number, said in texts.items()]


def _first_and_count(texts: list[str]) -> str:
    first = one_line(texts[0])
    return f"{first} (and {len(texts) - 1:,} more)" if len(texts) > 1 else first


def cut_sentence(warnings: Iterable[tuple[int, str]], at: str) -> str:
    """The sentence for a result that its warnings make unusable; empty when it can be used."""
    cuts = "; ".join(said for number, said in warnings if number in _CUT)
    return (
        f"{at} gave only a part of the result ({cuts}): correct QUERY_FILE, or raise the limit there." if cuts else ""
    )


_TAKEN_FOR_A_NUMBER: Final = 1292
_NUMBER: Final = re.compile(r"\b(?:double|decimal|integer)\b", re.IGNORECASE)
"""In the server's language, but for these words; with another one there the same warning is about a date."""


def window_sentence(warnings: Iterable[tuple[str, int, str]], window: Iterable[str], at: str) -> str:
    """The sentence for a window that was compared with a number, and so with 2026 or the like; empty for any other.

    *window* holds its start, as it was bound; *warnings* are the rows of SHOW WARNINGS.

    >>> said = "Truncated incorrect DOUBLE value: '2026-01-06 12:00:00'"
    >>> window_sentence([("Warning", 1292, said)], ["2026-01-06 12:00:00"], "db:3306")[:79]
    'db:3306 compared the start of the window, 2026-01-06 12:00:00, with a number, s'
    """
    numbers = [said for _level, number, said in warnings if number == _TAKEN_FOR_A_NUMBER and _NUMBER.search(said)]
    for start in window:
        if any(f"'{start}'" in said for said in numbers):
            return (
                f"{at} compared the start of the window, {start}, with a number, so it is not the window that was "
                "meant: where the column holds Unix seconds, write UNIX_TIMESTAMP(:since) in QUERY_FILE."
            )
    return ""


_PACKAGES: Final = {
    "cryptography": ("caching_sha2_password or sha256_password", "rsa"),
    "pynacl": ("ed25519", "ed25519"),
}
"""Packages that the driver misses by name: the ways of signing in that need them, and what brings them."""


def package_sentence(missing: str, at: str) -> str:
    """The sentence for an account whose way of signing in needs a package; empty when *missing* names none.

    >>> package_sentence("'pynacl' package is required", "db:3306")
    "db:3306 wants ed25519, for which the driver lacks a package: pip install 'PyMySQL[ed25519]'."
    """
    for package, (way, brought_by) in _PACKAGES.items():
        if package in missing:
            return f"{at} wants {way}, for which the driver lacks a package: pip install 'PyMySQL[{brought_by}]'."
    return ""


def clear_text_sentence(way: str, at: str) -> str:
    """The sentence for a server that may not be told the password itself."""
    return (
        f"{at} asks for the password in clear text ({way}), and it was not sent: set DB_SSL_CA, so that the server is "
        "verified, or DB_SOCKET on the server's own machine; if it never asked before, find out who answers there."
    )


# -- what the server did not say -------------------------------------------------------------------------------


def stranger_sentence(at: str, where: str) -> str:
    """The sentence for a server of another kind."""
    return f"What answers at {at} does not speak MySQL's protocol: check {where}."


def tls_files_sentence(said: str, authority: str | None) -> str:
    """The sentence for a file that TLS needs on this machine: the certificate authority, or where keys are to go."""
    key_log = "SSLKEYLOGFILE, if it is set, has to name a file that can be written"
    if authority is None:
        return f"TLS cannot be set up on this machine ({said}): {key_log}."
    remedy = f"give DB_SSL_CA a file in PEM format; {key_log}"
    return f"The certificate authority {authority} cannot be read ({said}): {remedy}."


def tls_sentence(error: ssl.SSLError, at: str) -> str:
    """The sentence for a connection that could not be made private."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {at} is not to be trusted ({error.verify_message}): "
            "give DB_SSL_CA the authority that signed it, and DB_HOST the name that stands in it."
        )
    return f"TLS with {at} failed ({error.reason or error}): see which versions of TLS the server offers."
