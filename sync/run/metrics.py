"""What a run did, as Prometheus series: for node_exporter's textfile collector, and no personal data in them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from errno import EEXIST
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from sync.state.exchange import Outcome

if TYPE_CHECKING:
    from sync.run.summary import Summary

_OURS = "iterable_sync_"


def write_metrics(path: Path, labels: Mapping[str, str], summary: Summary, now: float, *, trial: bool) -> None:
    """Replace the file by the series of this run, readable by everybody; `now` is in Unix seconds.

    A `trial` run, of a part of the result, does not count as a success of the sync. If the path is a link, the
    file behind it is replaced. Until then, the text has a name that no collector reads.
    """
    path = path.resolve()
    success = last_success_in(path) if summary.exit_code or trial else now
    if not may_be_replaced(path):
        raise FileExistsError(EEXIST, "it belongs to another program by now", str(path))
    registry = CollectorRegistry()
    for metric, told, own_labels, values in _gauges(summary, now, success):
        gauge = Gauge(f"{_OURS}{metric}", told, [*labels, *own_labels], registry=registry)
        for own, value in values.items():
            gauge.labels(*labels.values(), *own).set(value)
    write_to_textfile(str(path), registry)
    path.chmod(0o644)  # whatever the umask of a cron job is


Values = Mapping[Any, float]
"""The value of each series, by its labels."""


def _gauges(summary: Summary, now: float, success: float) -> Iterator[tuple[str, str, tuple[str, ...], Values]]:
    """Name, explanation, labels and values of each gauge."""
    kinds = {"profile": summary.users, "event": summary.events}
    payloads = {(kind, one.value): getattr(counts, one.value) for kind, counts in kinds.items() for one in Outcome}
    rejected = {(kind,): counts.newly_rejected for kind, counts in kinds.items()}
    retries = {(reason,): count for reason, count in summary.retries.items()}
    yield "last_run_timestamp_seconds", "When the last run ended, in Unix time.", (), {(): now}
    yield "last_success_timestamp_seconds", "When a run last ended with exit code 0; 0: never.", (), {(): success}
    yield "exit_code", "Exit code of the last run.", (), {(): summary.exit_code}
    yield "duration_seconds", "How long the last run took.", (), {(): summary.seconds}
    yield "rows", "Rows that the query gave in the last run.", (), {(): summary.rows}
    yield "payloads", "Payloads of the last run, by outcome.", ("kind", "outcome"), payloads
    yield "newly_rejected", "Payloads rejected in the last run, and not before.", ("kind",), rejected
    yield "requests", "Requests that the last run made.", (), {(): summary.requests}
    yield "retries", "Retries in the last run, by reason.", ("reason",), retries
    if figures := summary.figures:
        pending = {("profile",): figures.pending_users, ("event",): figures.pending_events}
        oldest = "Age of the oldest pending payload; 0: nothing is pending."
        yield "pending", "Payloads that Iterable does not have yet.", ("kind",), pending
        yield "segment_users", "Users in the segment.", (), {(): figures.segment_users}
        yield "oldest_pending_seconds", oldest, (), {(): figures.oldest_pending}


# -- the file that is there --------------------------------------------------------------------------------------


def may_be_replaced(path: Path) -> bool:
    """Whether it is a file of metrics, however damaged, or an empty one, or none at all."""
    lines = _lines_of(path)
    is_there = os.path.exists(path)  # noqa: PTH110 - it never raises
    return not is_there or lines == [""] or any(line.startswith(_OURS) for line in lines)


def syncs_in(path: Path) -> set[str]:
    """The syncs whose series the file holds."""
    return {sample.labels["sync"] for sample in _samples_in(path) if "sync" in sample.labels}


def last_success_in(path: Path) -> float:
    """The moment of the last success that the file tells of, in Unix seconds; 0 for none that can be read."""
    values = (sample.value for sample in _samples_in(path) if sample.name == f"{_OURS}last_success_timestamp_seconds")
    return next((value for value in values if math.isfinite(value) and value > 0), 0.0)


def _samples_in(path: Path) -> Iterator[Sample]:
    """Our samples of the lines that can be read, one line at a time: the parser gives up at a damaged one."""
    for line in _lines_of(path):
        if line.startswith(_OURS):
            with suppress(Exception):  # it may raise anything
                for family in text_string_to_metric_families(f"{line}\n"):
                    yield from family.samples


def _lines_of(path: Path) -> list[str]:
    """What can be read of the file; nothing of a pipe or a device."""
    with suppress(OSError):
        return path.read_bytes().decode("utf-8", "replace").split("\n") if path.is_file() else []
    return []
