"""What a run did, as Prometheus series: for node_exporter's textfile collector, and no personal data in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from sync.run.exit_codes import ExitCode
from sync.run.metrics_file import last_success_in, metrics_path, replace_file
from sync.run.record import name_of_sync
from sync.run.settings import Settings
from sync.run.summary import OUTCOMES, Summary

logger = logging.getLogger("main")


def write_metrics(settings: Settings, summary: Summary, now: float, *, trial: bool) -> None:
    """Write the series of this run, if a file is named for them; `now` is in Unix seconds.

    A `trial` run, of a part of the result, is no success of the sync. Whatever goes wrong here is a warning, for it
    changes nothing of what the run did.
    """
    if settings.metrics_file is None:
        return
    path = metrics_path(settings.metrics_file, settings.sync_name)
    try:
        success = now if summary.exit_code == ExitCode.DONE and not trial else last_success_in(path)
        replace_file(path, series(settings, summary, now, success))
    except Exception as error:
        told = getattr(error, "strerror", None) or f"{type(error).__name__}: {settings.masking(str(error))}"
        logger.warning("Housekeeping failed, the metrics are those of an earlier run: %s (%s)", path, told)


def series(settings: Settings, summary: Summary, now: float, success: float) -> bytes:
    """The text of the file."""
    name = name_of_sync(settings)
    registry = CollectorRegistry()
    for metric, told, labels, values in _gauges(summary, now, success):
        gauge = Gauge(f"iterable_sync_{metric}", told, ["sync", "destination", *labels], registry=registry)
        for own, value in values.items():
            gauge.labels(name.name, name.destination or name.project, *own).set(value)
    return generate_latest(registry)


Values = Mapping[Any, float]
"""The value of each series, by its labels."""


def _gauges(summary: Summary, now: float, success: float) -> Iterator[tuple[str, str, tuple[str, ...], Values]]:
    """Name, explanation, labels and values of each gauge."""
    kinds = {"profile": summary.users, "event": summary.events}
    payloads = {(kind, word): getattr(counts, word) for kind, counts in kinds.items() for word in OUTCOMES}
    rejected = {(kind,): counts.newly_rejected for kind, counts in kinds.items()}
    retries = {(reason,): count for reason, count in summary.retries.items()}
    yield "last_run_timestamp_seconds", "When the last run ended, in Unix time.", (), {(): now}
    yield "last_success_timestamp_seconds", "When a run last ended with exit code 0; 0: never.", (), {(): success}
    yield "exit_code", "Exit code of the last run.", (), {(): summary.exit_code}
    yield "duration_seconds", "How long the last run took.", (), {(): summary.seconds}
    yield "rows", "Rows that the query gave in the last run.", (), {(): summary.rows}
    yield "payloads", "Payloads of the last run by what became of them.", ("kind", "outcome"), payloads
    yield "newly_rejected", "Payloads rejected in the last run, and not before.", ("kind",), rejected
    yield "requests", "Requests that the last run made.", (), {(): summary.requests}
    yield "retries", "Attempts of the last run that were repeated, by what they met.", ("reason",), retries
    if figures := summary.figures:
        pending = {("profile",): figures.pending_users, ("event",): figures.pending_events}
        oldest = "Age of what has been pending for longest; 0: nothing."
        yield "pending", "Payloads that Iterable does not have yet.", ("kind",), pending
        yield "segment_users", "Users in the segment.", (), {(): figures.segment_users}
        yield "oldest_pending_seconds", oldest, (), {(): figures.oldest_pending}
