"""What the operator is told of a server's error."""

from __future__ import annotations

import pymysql
import pytest

from db import MySQLParams
from sync.database.server_messages import IN_THE_QUERY, KNOWN, WHILE_CONNECTING, error_sentence

PARAMS = MySQLParams("db", 3306, "app", "hidden", "shop")


def sentence(number: int, remedy: str = IN_THE_QUERY) -> str:
    """What an error with this number becomes."""
    return error_sentence(pymysql.err.OperationalError(number, "said {by} the\nserver"), PARAMS, remedy)


@pytest.mark.parametrize("number", [*KNOWN, 4711])
def test_every_sentence_can_be_told(number: int) -> None:
    """No error fails while it is told, and each is one sentence with the server in it."""
    told = sentence(number)

    assert "db:3306" in told and told.endswith(".") and "\n" not in told


def test_unknown_number_has_the_remedy_of_its_moment() -> None:
    """An error without advice of its own tells the server's words, and where to look: the query or the settings."""
    assert sentence(1064) == "db:3306 answered with error 1064 (said {by} the server): correct QUERY_FILE."
    assert sentence(1130, WHILE_CONNECTING).endswith(": correct the server, or the DB_ settings.")


@pytest.mark.parametrize("number", [1053, 2003, 2006, 2013, 2055])
def test_a_lost_connection_has_one_sentence(number: int) -> None:
    """However the driver or the server puts it, a connection that went away is told in the same words."""
    assert sentence(number).startswith("The connection to db:3306 was lost (")


def test_what_the_server_says_holds_no_secret() -> None:
    """A password that is a word of the server's is masked in its words, before they are cut; the address stays."""
    params = MySQLParams("db.said", 3306, "app", "said", "shop", secrets=("k3y",))
    error = pymysql.err.OperationalError(1064, f"said k3y, {'x' * 288} said")

    assert error_sentence(error, params, IN_THE_QUERY) == (
        f"db.said:3306 answered with error 1064 (*** ***, {'x' * 288} **): correct QUERY_FILE."
    )
