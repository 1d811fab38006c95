"""Settings of the environment, and what shells, containers and secrets put into them on the way."""

from __future__ import annotations

import pytest

from sync.run.settings import load_state_file
from tests.run.settings_of import NEEDED, NO_FILE, load, problems


@pytest.mark.parametrize("name", ["EVENT_NAME", "SEGMENT_FIELD", "ITERABLE_API_KEY", "DB_HOST", "STATE_FILE"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_quotes_around_a_value(name: str, quote: str) -> None:
    """docker run --env-file keeps them, and they would be sent: a field of that name would be at Iterable for good."""
    (problem,) = problems(**{name: f"{quote}something{quote}"})
    assert problem.startswith(f"{name} begins and ends with a quote, which would be part of the value")


@pytest.mark.parametrize("value", ['"', 'a"b"', '"a', "a'"])
def test_other_quotes_are_part_of_a_value(value: str) -> None:
    """One alone, or in the middle, is nobody's habit."""
    assert load(EVENT_NAME=value).event_name == value


def test_a_password_may_be_in_quotes() -> None:
    """A password may be anything that a server takes."""
    assert load(DB_PASSWORD='"q"').db_password == '"q"'


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_password_with_a_line_break(end: str) -> None:
    """Secrets that were made with `echo` end so, and the server would refuse the user."""
    (problem,) = problems(DB_PASSWORD=f"s3cret{end}")
    assert problem.startswith("DB_PASSWORD ends with a line break")
    assert "s3cret" not in problem


def test_a_port_that_nobody_set() -> None:
    """Kubernetes sets DB_PORT for a service called db: the message shows what the environment holds."""
    (problem,) = problems(DB_PORT="tcp://10.3.2.1:3306")
    assert problem == "DB_PORT is 'tcp://10.3.2.1:3306'; a whole number is wanted"


def test_other_settings_do_not_matter_to_the_history() -> None:
    """Who looks at the last runs needs the state file alone, whatever is wrong with the others."""
    assert load_state_file(NO_FILE, NEEDED | {"DB_PORT": "tcp://10.3.2.1:3306", "STATE_FILE": "s"}).name == "s"
