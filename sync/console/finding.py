"""What `--check` finds, a line each, and what the first rows gave for the checks that come after the query's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """One line: `verdict` is "ok", "WRONG" or "note" (worth knowing, or not to be known without writing)."""

    verdict: str
    what: str
    sentence: str


@dataclass
class Sample:
    """What the first rows gave, for the checks that come after the query's."""

    identity: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
