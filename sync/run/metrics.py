"""What a run did, as Prometheus series: for node_exporter's textfile collector, and no personal data in them."""

from __future__ import annotations

import logging

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
    gauges = _Gauges(sync=name.name, destination=name.destination or name.project)
    gauges.put("last_run_timestamp_seconds", "When the last run ended, in Unix time.", now)
    gauges.put("last_success_timestamp_seconds", "When a run last ended with exit code 0; 0: never.", success)
    gauges.put("exit_code", "Exit code of the last run.", summary.exit_code)
    gauges.put("duration_seconds", "How long the last run took.", summary.seconds)
    gauges.put("rows", "Rows that the query gave in the last run.", summary.rows)
    for kind, counts in (("profile", summary.users), ("event", summary.events)):
        for outcome in OUTCOMES:
            told = "Payloads of the last run by what became of them."
            gauges.put("payloads", told, getattr(counts, outcome), kind=kind, outcome=outcome)
    for kind, counts in (("profile", summary.users), ("event", summary.events)):
        told = "Payloads rejected in the last run, and not before."
        gauges.put("newly_rejected", told, counts.newly_rejected, kind=kind)
    gauges.put("requests", "Requests that the last run made.", summary.requests)
    gauges.label("retries", "Attempts of the last run that were repeated, by what they met.", "reason")
    for reason, count in summary.retries.items():
        gauges.put("retries", "", count, reason=reason)
    if figures := summary.figures:
        told = "Payloads that Iterable does not have yet."
        gauges.put("owed", told, figures.owed_users, kind="profile")
        gauges.put("owed", told, figures.owed_events, kind="event")
        gauges.put("segment_users", "Users in the segment.", figures.segment_users)
        gauges.put("oldest_debt_seconds", "Age of what has been owed for longest; 0: nothing.", figures.oldest_debt)
    return gauges.text()


class _Gauges:
    """Gauges with the labels that all of them have."""

    def __init__(self, **labels: str) -> None:
        self._registry, self._labels = CollectorRegistry(), labels
        self._gauges: dict[str, Gauge] = {}

    def label(self, name: str, told: str, *more: str) -> None:
        """Announce a gauge with these labels, of which there may be no series."""
        if name not in self._gauges:
            labels = [*self._labels, *more]
            self._gauges[name] = Gauge(f"iterable_sync_{name}", told, labels, registry=self._registry)

    def put(self, name: str, told: str, value: float, **more: str) -> None:
        """Give a gauge this value."""
        self.label(name, told, *more)
        self._gauges[name].labels(**self._labels, **more).set(value)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self._registry)
