"""What a run did, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sync.state.owed import Counts


@dataclass
class Tally:
    """What a run did, counted: payloads by outcome, requests, and retries by what each met."""

    users: Counts = field(default_factory=Counts)
    events: Counts = field(default_factory=Counts)
    left_segment: int = 0
    requests: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    stopped_because: str | None = None
