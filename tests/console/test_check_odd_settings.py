"""--check with settings that are empty or odd: every check is made, whatever a setting holds."""

from __future__ import annotations

import pytest

from sync.run.settings import defaults
from tests.console.desk import Desk
from tests.harness import PROJECT

ODD = (
    " ",
    "-1",
    "/nonexistent/x",
    "a,b:c:d,",
    "\N{PILE OF POO}",
    "'x",
    "#x",
    "~nobody/x",
    "[::1",
    "1e400",
    "/",
)
LONG = ("x" * 300, "x/" * 3000)
KEPT_FROM_THE_NETWORK = "ITERABLE_API_BASE_URL"
"""An odd one has the default, which is not on this machine."""


@pytest.mark.parametrize("name", ["STATE_FILE", "LOG_FILE", "QUERY_FILE"])
def test_a_file_without_a_name(desk: Desk, name: str) -> None:
    """It is one problem with its remedy, and all other checks are made."""
    desk.world.environ[name] = ""
    assert desk.check() == [f"settings: {name} is ''; it must be a file name"]
    checked = {line.partition(":")[0] for line in desk.told("ok")}
    assert {"state", "log", "CSV folder", "database", "query", "rows", "credentials"} <= checked


@pytest.mark.parametrize("name", sorted(defaults().keys() - {KEPT_FROM_THE_NETWORK}))
def test_no_setting_ends_the_check_early(desk: Desk, name: str) -> None:
    """Each setting, empty or odd, leaves a check that comes to its end; nothing is unexpected."""
    first = sorted(defaults()).index(name)  # of the short ones four each: all have their turn with a dozen settings
    for value in ("", *LONG, *(ODD[(first + number) % len(ODD)] for number in (0, 3, 6, 9))):
        desk.world.environ[name] = value
        desk.check()
        last = desk.out.splitlines()[-1]
        assert last.endswith("to fix") or last.startswith("all is well"), (value, desk.out)
        assert "unexpected" not in desk.out


@pytest.mark.parametrize(
    ("name", "value", "left_out"),
    [
        ("ITERABLE_API_BASE_URL", "http://api.example.com", "credentials"),
        ("DB_PORT", "99999", "database"),
        ("DB_SSL_CA", "nowhere.pem", "database"),
    ],
)
def test_nobody_else_gets_a_secret(desk: Desk, name: str, value: str, left_out: str) -> None:
    """Where an address cannot be used, no other is tried in its place: the key or the password is not for that one."""
    desk.world.environ[name] = value
    assert desk.check()

    assert any(what == "settings" and name in sentence for _, what, sentence in desk.findings)
    assert left_out not in {what for _, what, _ in desk.findings}


@pytest.mark.parametrize(("name", "subject"), [("STATE_FILE", "state"), ("LOG_FILE", "log")])
def test_a_file_that_has_another_use(desk: Desk, name: str, subject: str) -> None:
    """It is one problem, and nobody is advised to move that file away, or told that it can be written."""
    desk.world.environ[name] = str(PROJECT / "main.py")
    (problem,) = desk.check()
    assert problem.startswith(f"settings: {name} would write over ")
    assert subject not in {what for _, what, _ in desk.findings}
