"""An installation whose --check is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.harness import World
from tests.stand_in.stand_in import StandIn

JWT_KEY, JWT_SECRET = "jwt-enabled-key-0123456789", "2EB6A2F34691492F81A819AEDA32427F"


@dataclass
class Desk:
    """An installation that is checked, beside an Iterable project over a real socket."""

    world: World
    iterable: StandIn
    capsys: pytest.CaptureFixture[str]
    code: int = -1
    out: str = ""
    findings: list[tuple[str, str, str]] = field(default_factory=list)

    def check(self, *flags: str) -> list[str]:
        """Run `--check`; what was found wrong, as "what: told"."""
        self.code = self.world.main("--check", *flags)
        self.out, errors = self.capsys.readouterr()
        assert errors == ""
        self.findings = [(line[:5].strip(), line[7:19].strip(), line[20:]) for line in self.out.splitlines()[:-1]]
        assert {request.method for request in self.iterable.requests} <= {"GET"}, "no write request is ever made"
        wrong = self.told("WRONG")
        assert self.code == (1 if wrong else 0)
        return wrong

    def told(self, verdict: str) -> list[str]:
        """The findings with this verdict."""
        return [f"{what}: {told}" for how, what, told in self.findings if how == verdict]


def with_jwt(desk: Desk, **environ: str) -> None:
    """Let the installation sign in by JWT."""
    desk.world.environ |= {
        "USE_JWT_AUTH": "true",
        "ITERABLE_API_KEY": JWT_KEY,
        "ITERABLE_JWT_SECRET": JWT_SECRET,
        **environ,
    }
