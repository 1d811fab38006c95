"""Answers to whole runs."""

from __future__ import annotations

from tests.stand_in.faults import Fault, Faults


def always(fault: Fault) -> Faults:
    """Every request ends like this."""
    return lambda _: fault
