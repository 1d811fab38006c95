"""One run, from the lock to the last log line: the order of the steps and what an error means for the run."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import islice

from iterable_client import IterableClient
from sync.delivery.dispatcher import Dispatcher
from sync.delivery.rules import StopRules
from sync.delivery.single import SingleSender
from sync.delivery.stop import Stop
from sync.delivery.tally import Tally
from sync.delivery.watch import Watch
from sync.delivery.workers import Sender
from sync.rows.columns import Values
from sync.rows.export import EXPORT_STEM, CsvExport, export_rejected, prune
from sync.rows.reading import Reading
from sync.rows.source import ResultSet
from sync.run.announcement import announce
from sync.run.env_file import DEFAULT_SYNC
from sync.run.errors import UNEXPECTED, ExportError, exit_of
from sync.run.exit_codes import ExitCode
from sync.run.job import Job, csv_folder, export_stem, make_client, new_export
from sync.run.library_warnings import take_warnings
from sync.run.limits import affordable
from sync.run.lock import RunLock, lock_path
from sync.run.log import LAST_LINE, LineFormatter, add_handler, rotate_when_large, start_logging, stop_logging, unmasked
from sync.run.metrics import sync_name, write_metrics
from sync.run.record import OnRecord
from sync.run.settings import Settings
from sync.run.signals import Interrupted, Interruption, describe
from sync.run.summary import Summary
from sync.state.figures import note_debts
from sync.state.file import State, StateError
from sync.state.outbox import Outbox
from sync.state.owed import Plan

logger = logging.getLogger("main")

BULK_WORKERS = 6
"""Bulk jobs in flight, of up to 1,000 users each: enough for the limits while a bulk call takes up to 0.6 s, and the
jobs are what memory is needed for."""


def run(job: Job) -> Summary:
    """Do one run and say what it did; never raises for anything that can go wrong in it."""
    settings = job.settings
    run_id = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    summary = Summary(
        run_id, settings.sync_name, "jwt" if settings.use_jwt_auth else "api_key", retry_configuration(settings)
    )
    began = time.monotonic()
    lock = RunLock(lock_path(settings.state_file, settings.sync_name if settings.sync_name != DEFAULT_SYNC else ""))
    with _errors_into(summary), _logging(job, summary, began), lock:
        _locked_run(job, summary, began)
    return summary


def retry_configuration(settings: Settings) -> dict[str, float]:
    """The retry rule, for the summary."""
    return {
        "max_retries": settings.max_retries,
        "initial_backoff": settings.initial_backoff,
        "backoff_factor": settings.backoff_factor,
        "request_timeout": settings.request_timeout,
    }


@contextmanager
def _logging(job: Job, summary: Summary, began: float) -> Iterator[None]:
    """The first line of a run names both ends, the last one counts, also when the run failed."""
    settings = job.settings
    secrets = settings.secrets()
    try:
        file = start_logging(settings.log_file, settings.log_level, LineFormatter(summary.run_id, secrets.values()))
    except OSError as error:
        told = f"the log {settings.log_file} cannot be written ({error.strerror}); check LOG_FILE"
        raise _without_log(job, summary, told) from error
    if job.screen:
        add_handler(job.screen, LineFormatter("", secrets.values()))
    try:
        logger.info(
            "Run started: from %s to %s, query %s sync=%s",
            job.describe_source(),
            settings.iterable_api_base_url,
            settings.query_file.name,
            settings.sync_name,
        )
        for sentence in [*unmasked(secrets), *take_warnings()]:
            logger.warning(sentence)
        with _errors_into(summary):
            yield
        for sentence in take_warnings():
            logger.warning(sentence)
        summary.seconds = time.monotonic() - began
        _metrics(job, summary)
        level = logging.INFO if summary.exit_code == ExitCode.DONE else logging.ERROR
        logger.log(level, LAST_LINE, summary.log_line())
    finally:
        stop_logging()
    if file.failure:
        told = f"the log {settings.log_file} could not be written ({file.failure}); free space"
        raise _without_log(job, summary, told)


def _without_log(job: Job, summary: Summary, told: str) -> ExportError:
    """The error of a run that has no log, or not all of it: the metrics tell of it, too."""
    error = ExportError(told)
    summary.exit_code, summary.stopped_because = exit_of(error)
    _metrics(job, summary)
    return error


@contextmanager
def _errors_into(summary: Summary) -> Iterator[None]:
    """Turn an error into the run's exit code and reason."""
    try:
        yield
    except (Exception, Interrupted, KeyboardInterrupt) as error:
        code, summary.stopped_because = exit_of(error)
        summary.exit_code = code
        if summary.stopped_because.startswith(UNEXPECTED):
            logger.exception("Unexpected error")
            summary.stopped_because += "; the log has the traceback"


def _locked_run(job: Job, summary: Summary, began: float) -> None:
    """Everything that only one run of a sync at a time may do."""
    stop = Stop()
    rotate_when_large()
    with closing(open_state(job, stop)) as state:
        interruption = Interruption(stop)
        state.hear_signals()
        state.begin_run(summary.run_id, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}", summary.sync)
        with interruption.listening():
            with _errors_into(summary):
                _take_steps(job, state, summary, stop, interruption)
            if interruption.signum:  # whatever else it broke, the signal is what happened
                summary.exit_code = 128 + interruption.signum
                summary.stopped_because = describe(interruption.signum)
            summary.seconds = time.monotonic() - began
            with interruption.delivering():
                _end_run(state, summary, interrupted=bool(interruption.signum))
                with _only_warned("it is not on record since when what is owed"):
                    summary.figures = note_debts(state, sync_name(job.settings), time.time(), planned=summary.planned)


def open_state(job: Job, stop: Stop) -> State:
    """The state, brought up to date under the lock of the default sync, which version 1.0.0 knows too."""
    settings = job.settings
    alone = nullcontext if settings.sync_name == DEFAULT_SYNC else lambda: RunLock(lock_path(settings.state_file))
    return State(settings.state_file, alone, lambda: stop.deadline is not None and time.monotonic() > stop.deadline)


def _metrics(job: Job, summary: Summary) -> None:
    """Tell a machine that watches; a run that met a lock leaves that to the one that holds it."""
    if summary.exit_code != ExitCode.LOCKED:
        write_metrics(job.settings, summary, time.time(), trial=not job.policy().whole_window)


def _end_run(state: State, summary: Summary, *, interrupted: bool) -> None:
    with _only_warned("the run is not on record") if interrupted else nullcontext():
        state.end_run(summary.run_id, summary.as_json())
    if not interrupted:  # after a signal there is no time for what the next run can do
        with _only_warned("the state takes more of the disk than it needs"):
            state.give_back_space()


def _take_steps(job: Job, state: State, summary: Summary, stop: Stop, interruption: Interruption) -> None:
    """Rows, debts, delivery, and what is left to say; the summary is told once it is known who is owed what."""
    settings = job.settings
    on_record = OnRecord(job, state)
    outbox = Outbox(state, on_record.record.id, on_record.policy(), int(time.time() // 86400))
    export = export_rows(job, outbox, on_record)
    summary.rows, summary.csv = export.count, str(export.path)
    with job.comparing():
        plan = outbox.plan(on_record.put)
    summary.planned = True
    with interruption.delivering():
        announce(plan, outbox, job, summary)
        _deliver(job, outbox, plan, summary, stop)
        with _only_warned("the rejected rows are not in a file of their own"):
            _write_rejected(export, outbox, summary)
        if stop.deadline is None:  # after a signal there is no time for what the next run can do
            with _only_warned("the next run has more to do"):
                outbox.remember()
        for stem in (export_stem(settings.sync_name), rejected_name(export_stem(settings.sync_name))):
            with _only_warned("old exports are still there"):
                prune(csv_folder(settings), settings.csv_keep, stem)
    summary.exit_code = _exit_code(summary)


@contextmanager
def _only_warned(what: str) -> Iterator[None]:
    """Housekeeping after the delivery: when it fails, nobody has lost anything."""
    try:
        yield
    except (OSError, StateError) as error:
        logger.warning("Housekeeping failed, %s: %s", what, exit_of(error)[1])


def load_rows(job: Job, outbox: Outbox, on_record: OnRecord) -> int:
    """Stream the result into the outbox and close the database; returns the number of rows."""
    with _result(job, on_record) as (result, reading), job.reading() as read:
        return outbox.load(_handed_on(result.values(), lambda rows: read(len(rows))), reading)


def export_rows(job: Job, outbox: Outbox, on_record: OnRecord) -> CsvExport:
    """As `load_rows`, through the CSV."""
    with _result(job, on_record) as (result, reading):
        export = new_export(job, result.columns)
        try:
            with export, job.reading() as read:
                outbox.load(_handed_on(result.values(), export.write_all, lambda rows: read(len(rows))), reading)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ExportError(
                f"the CSV {export.path} cannot be written ({reason}); free space, or set CSV_DIR"
            ) from error
        return export


@contextmanager
def _result(job: Job, on_record: OnRecord) -> Iterator[tuple[ResultSet, Reading]]:
    """The result of the query, and what is made of its rows; the database is closed afterwards."""
    with closing(job.connect()) as source:
        logger.info("Connected to %s: %s", source.description, source.server)
        result = job.query(source)
        on_record.check(result.columns)
        yield result, Reading(on_record.mapping, result.columns, address_ids=on_record.address_ids)


def _handed_on(rows: Iterator[Values], *listeners: Callable[[Sequence[Values]], object]) -> Iterator[Values]:
    """The rows; each of the listeners is told of them before, a hundred at once."""
    while some := list(islice(rows, 100)):
        for listener in listeners:
            listener(some)
        yield from some


def _deliver(job: Job, outbox: Outbox, plan: Plan, summary: Summary, stop: Stop) -> None:
    settings = job.settings
    watch = Watch(StopRules(outbox.stops_in_a_row()), stop)
    with closing(make_client(settings, stop)) as client:
        sender, workers = _sender(settings, client, watch)
        with job.progress(plan.owed_users + plan.leavers) as progress:
            dispatcher = Dispatcher(
                sender,
                outbox,
                stop,
                watch,
                workers=workers,
                settle_seconds=settings.move_settle_seconds,
                progress=progress,
            )
            try:
                dispatcher.run(plan)
            finally:
                _take_over(dispatcher.tally, summary)
    if watch.stopped_by_rule or not stop.is_set():
        outbox.record_end(stopped_by_rule=watch.stopped_by_rule)


def _take_over(tally: Tally, summary: Summary) -> None:
    summary.users, summary.events, summary.left_segment = tally.users, tally.events, tally.left_segment
    summary.moved = tally.moved
    summary.requests, summary.retries = tally.requests, dict(tally.retries)
    summary.stopped_because = tally.stopped_because


def _sender(settings: Settings, client: IterableClient, watch: Watch) -> tuple[Sender, int]:
    """One by one or in bulk; never both in one run, because Iterable keeps no order between the two."""
    if settings.iterable_bulk:
        from sync.delivery.bulk import BulkSender

        return BulkSender(client, watch), BULK_WORKERS
    return SingleSender(client, watch), affordable(settings.workers)


def _write_rejected(export: CsvExport, outbox: Outbox, summary: Summary) -> None:
    """Give the person who will correct them the rows that were rejected, with the reasons."""
    path = export.path
    refused = path.with_name(rejected_name(path.name))
    if export_rejected(export, outbox.refused_lines(), refused):
        summary.rejected_csv = str(refused)
        logger.warning("Rejected rows written to %s", refused)


def rejected_name(export: str) -> str:
    """How the rejected rows of an export are named."""
    name = export.replace(EXPORT_STEM, "rejected_rows", 1)
    return name if name != export else f"rejected_rows_{export}"


def _exit_code(summary: Summary) -> int:
    if summary.stopped_because:
        return ExitCode.STOPPED
    counts = (summary.users, summary.events)
    if summary.held_back or any(count.newly_rejected or count.failed for count in counts):
        return ExitCode.INCOMPLETE
    return ExitCode.DONE
