"""What is masked in the log: secrets, and nothing that only looks like a part of one."""

from __future__ import annotations

import pytest

from sync.run.exit_codes import ExitCode
from sync.run.log import LineFormatter
from tests.harness import World, person

WEAK = ["test", "root", "a", "password", "iterable", "tester123", "20260106", "k3y!", "Grünwald"]
STRONG = ["0123456789abcdef", "app's pässword", "pa55word", "iterable-2026", "correcthorsebatterystaple"]


@pytest.mark.parametrize("secret", WEAK)
def test_weak_secret_spoils_no_other_text(secret: str) -> None:
    """A short or common word is left alone: addresses, host names and time stamps stay what they are."""
    line = f"call successful: Success email={secret}er@example.com at {secret} key={secret}"

    assert LineFormatter("", [secret]).clean(line) == line


@pytest.mark.parametrize("secret", STRONG)
def test_strong_secret_is_masked_anywhere(secret: str) -> None:
    """A long or odd secret is masked also inside other text, beside a weak one as well."""
    line = LineFormatter("", ["test", secret]).clean(f"tester@example.com x{secret}y")

    assert line == "tester@example.com x***y"


def test_greps_work_beside_a_weak_password(world: World) -> None:
    """`grep user@example.com` finds the user whose address holds the password; the log says once that it is weak."""
    world.environ["DB_PASSWORD"] = "test"
    world.rows = [person(1, email="tester@example.com")]

    assert world.run().exit_code == ExitCode.DONE

    log = world.log()
    assert log.count("email=tester@example.com") == 2
    assert log.count("not masked") == 1
    told = (
        "WARNING - DB_PASSWORD is so short or common a word that it is not masked in the log: choose a longer one run="
    )
    assert told in log.splitlines()[1]
