"""Settings of the environment, and what others put into them."""

from __future__ import annotations

from sync.run.settings import load_settings
from tests.run.settings_of import NEEDED, NO_FILE, problems


def test_a_port_that_nobody_set() -> None:
    """Kubernetes sets DB_PORT for a service called db: the message shows what the environment holds."""
    (problem,) = problems(DB_PORT="tcp://10.3.2.1:3306")
    assert problem == "DB_PORT is 'tcp://10.3.2.1:3306'; it must be a whole number"


def test_other_settings_do_not_matter_to_the_history() -> None:
    """Who looks at the last runs needs the state file alone, whatever is wrong with the others."""
    given = NEEDED | {"DB_PORT": "tcp://10.3.2.1:3306", "STATE_FILE": "s"}
    assert load_settings(NO_FILE, given, needed="STATE_FILE").state_file.name == "s"
