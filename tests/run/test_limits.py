"""A run where the system lets it open few files at once."""

from __future__ import annotations

import resource

import pytest

from sync.run.steps import way_of
from tests.run.settings_of import settings_of

Limit = tuple[int, int]


class System:
    """The limit of open files: `limit` is (soft, hard), -1 is none."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit

    def getrlimit(self, what: int) -> Limit:
        """The limit of now."""
        assert what == resource.RLIMIT_NOFILE
        return self.limit

    def setrlimit(self, what: int, limit: Limit) -> None:
        """As the system does it for somebody without privileges."""
        assert what == resource.RLIMIT_NOFILE
        if limit[1] != self.limit[1] or 0 <= limit[1] < limit[0]:
            raise ValueError("not allowed to raise maximum limit")
        self.limit = limit


@pytest.mark.parametrize(
    ("limit", "left", "fitting"),
    [
        ((1024, 4096), (4096, 4096), 128),
        ((64, 4096), (4096, 4096), 128),
        ((256, -1), (-1, -1), 128),
        ((64, 120), (120, 120), 40),
        ((64, 64), (64, 64), 12),
        ((20, 20), (20, 20), 1),
        ((-1, -1), (-1, -1), 128),
    ],
)
def test_workers_that_fit(monkeypatch: pytest.MonkeyPatch, limit: Limit, left: Limit, fitting: int) -> None:
    """The limit is raised as far as is allowed; then there are as many workers as fit, at least one."""
    system = System(limit)
    monkeypatch.setattr(resource, "getrlimit", system.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", system.setrlimit)

    _, workers = way_of(settings_of(WORKERS="128"))
    assert workers == fitting
    assert system.limit == left
