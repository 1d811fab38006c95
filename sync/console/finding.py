"""What `--check` finds, a line each, and what the first rows gave for the checks that come after the query's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sync.rows.columns import Column


class Finding(NamedTuple):
    """One line: `verdict` is "ok", "WRONG" or "note" (worth knowing, or not to be known without writing)."""

    verdict: str
    what: str
    sentence: str


@dataclass
class Sample:
    """What the query and its first rows gave, for the checks that come after."""

    columns: Sequence[Column] = ()
    identity: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
