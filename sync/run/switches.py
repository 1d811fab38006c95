"""What the command line says of a run: the window, what is sent again, what is let through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Switches:
    """The flags of the same names; README, Options."""

    since: datetime | timedelta | None = None
    limit: int | None = None
    full: bool = False
    retry_rejected: bool = False
    allow_mass_exit: bool = False
    new_event_ids: bool = False
    same_project: bool = False
    new_project: bool = False
    csv: Path | None = None

    @property
    def whole_window(self) -> bool:
        """Whether the whole result of the usual window is read: only that says who has left it."""
        return self.since is None and self.limit is None


NO_SWITCHES = Switches()
