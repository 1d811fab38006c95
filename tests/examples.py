"""How many examples a property test tries: the same ones every time, on however slow a machine."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

TIMES = float(os.environ.get("EXAMPLES", "1"))


def examples(count: int, **more: Any) -> settings:
    """So many in the daily run, and `EXAMPLES` times as many for a change that deserves it: `EXAMPLES=10 make test`."""
    return settings(
        max_examples=max(1, round(count * TIMES)),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        **more,
    )
