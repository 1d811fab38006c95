"""What a MySQL server's error numbers mean for the operator: a sentence each, where the number changes the remedy.

For every other number the server's own words say what is wrong, and the moment at which it was said tells whether the
query or the server has to be corrected.
"""

from __future__ import annotations

from typing import Final

WHILE_CONNECTING: Final = "correct the server, or the DB_ settings"
IN_THE_QUERY: Final = "correct QUERY_FILE"

_SENTENCES: Final = {
    1040: "{at} takes no more connections ({said}): run again later, or raise the limit there.",
    1044: "The user {user} may not use the database {database} at {at}: GRANT SELECT on it, or correct DB_NAME.",
    1045: "{at} refused the user {user}: check DB_USER and DB_PASSWORD, and from where this user may connect.",
    1049: "There is no database {database} at {at}: check DB_NAME.",
    1142: "The user {user} may not read what the query asks of {at} ({said}): GRANT SELECT on it.",
    1317: "{at} stopped the query ({said}): find out who killed it, and run again.",
    1792: "The query would write to {at}, and this session only reads: QUERY_FILE must hold a SELECT.",
    1820: "The password of the user {user} at {at} has expired: set a new one there and in DB_PASSWORD.",
    1969: "The query took longer than {at} allows ({said}): shorten the window, add an index, or raise the limit.",
    2013: "The connection to {at} was lost ({said}): see whether the server is up, and run again.",
    2026: "{at} offers no TLS, and DB_SSL_CA demands it: have it switched on there, or empty DB_SSL_CA.",
    2059: "{at} wants an authentication that the driver does not know ({said}): give the user {user} another.",
    3159: "{at} demands TLS but does not offer it to this program ({said}): have TLS set up there.",
}
_SAME_AS: Final = {
    1040: (1203, 1226),  # a user's share of connections or queries
    1045: (1698,),  # the same without a password
    1142: (1143, 1227, 1370),  # a column, a privilege, a routine
    1317: (1927,),  # the connection was killed, not only the query
    1820: (1862,),
    1969: (3024,),  # MariaDB's number and MySQL's
    2013: (1053, 2003, 2006, 2055),  # it shuts down, or a socket failed
}
KNOWN: Final = {
    number: sentence for first, sentence in _SENTENCES.items() for number in (first, *_SAME_AS.get(first, ()))
}
"""The numbers that change what the operator is told; what is in braces is filled in."""

_ANY_OTHER: Final = "{at} answered with error {number} ({said}): {remedy}."


def sentence_for(number: int, said: str, remedy: str, **facts: str) -> str:
    """The sentence for an error: *facts* are `at`, `user` and `database`; *remedy* is for a number not known here."""
    return KNOWN.get(number, _ANY_OTHER).format(number=number, said=said, remedy=remedy, **facts)
