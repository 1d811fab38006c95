"""The steps of a run, and what holds around them; `main.run` says in which order they are taken."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from iterable_client import IterableClient
from sync.delivery.loop import Loop
from sync.delivery.rules import StopRules
from sync.delivery.stop import Stop
from sync.delivery.tally import Tally
from sync.delivery.turn import ONE_BY_ONE, Way
from sync.rows.export import export_rejected, inode_of, prune, rejected_name
from sync.rows.masking import Masking
from sync.rows.source import ResultSet, Source
from sync.run.announcement import announce
from sync.run.clock import utc_offset
from sync.run.env_file import DEFAULT_SYNC
from sync.run.errors import UNEXPECTED, LogError, exit_of
from sync.run.exit_codes import ExitCode
from sync.run.job import Job, csv_folder, export_stem
from sync.run.library_warnings import log_library_warnings
from sync.run.limits import affordable
from sync.run.loading import Loading
from sync.run.lock import RunLock, lock_path
from sync.run.log import LAST_LINE, LineFormatter, add_handler, log_always, start_logging, stop_logging
from sync.run.metrics import write_metrics
from sync.run.record import OnRecord
from sync.run.settings import Settings
from sync.run.signals import Interrupted, Interruption, describe
from sync.run.summary import Summary
from sync.state.figures import read_figures
from sync.state.file import State, StateError
from sync.state.owed import Plan

logger = logging.getLogger("main")

BULK_WORKERS = 6
"""Bulk jobs in flight, of up to 1,000 users each: enough for the limits while a bulk call takes up to 0.6 s, and the
jobs are what memory is needed for."""


class Run:
    """One run of a job: what its steps share. What it did, and what went wrong in it, is in `summary`."""

    def __init__(self, job: Job) -> None:
        self.job, self.settings = job, job.settings
        run_id = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        auth = "jwt" if self.settings.use_jwt_auth else "api_key"
        self.summary = Summary(run_id, self.settings.sync_name, auth, retry_configuration(self.settings))
        self.stop = Stop()
        self._interruption = Interruption(self.stop)
        self._began = time.monotonic()

    # -- around the steps

    @contextmanager
    def accounted_for(self) -> Iterator[None]:
        """Whatever goes wrong inside becomes the exit code and the reason; nothing is raised."""
        with _errors_into(self.summary, self.settings.masking):
            yield

    @contextmanager
    def logged(self) -> Iterator[None]:
        """The first line of a run names both ends, the last one counts, also when the run failed."""
        settings, secrets = self.settings, self.settings.secrets()
        try:
            formatter = LineFormatter(self.summary.run_id, secrets.values())
            file = start_logging(settings.log_file, settings.log_level, formatter)
        except OSError as error:
            told = f"the log {settings.log_file} cannot be written ({error.strerror}); check LOG_FILE"
            raise self._without_log(told) from error
        if self.job.screen:
            add_handler(self.job.screen, LineFormatter("", secrets.values()))
        try:
            log_always(
                logging.INFO,
                "Run started: from %s to %s, query %s sync=%s utc_offset=%s",
                self.job.describe_source(),
                settings.iterable_api_base_url,
                settings.query_file.name,
                settings.sync_name,
                utc_offset(),
            )
            if file.complaint:
                logger.warning(file.complaint)
            log_library_warnings(settings.masking)
            with _errors_into(self.summary, settings.masking):
                yield
            log_library_warnings(settings.masking)
            self.summary.seconds = time.monotonic() - self._began
            self._write_metrics()
            level = logging.INFO if self.summary.exit_code == ExitCode.DONE else logging.ERROR
            log_always(level, LAST_LINE, self.summary.log_line())
        finally:
            stop_logging()
        if file.failure:
            raise self._without_log(f"the log {settings.log_file} could not be written ({file.failure}); free space")

    def _without_log(self, told: str) -> LogError:
        """The error of a run that has no log, or not all of it: the metrics tell of it, too."""
        error = LogError(told)
        self.summary.exit_code, self.summary.stopped_because = exit_of(error)
        self._write_metrics()
        return error

    def _write_metrics(self) -> None:
        """Tell a machine that watches; a run that met a lock leaves that to the one that holds it."""
        if self.summary.exit_code != ExitCode.LOCKED:
            write_metrics(self.settings, self.summary, time.time(), trial=not self.job.policy().whole_window)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other run of this sync is under way; the state knows of this one, and signals are heard."""
        settings, summary, interruption = self.settings, self.summary, self._interruption
        lock = RunLock(lock_path(settings.state_file, settings.sync_name if settings.sync_name != DEFAULT_SYNC else ""))
        with lock, closing(open_state(self.job, self.stop)) as self._state:
            self._on_record = OnRecord(self.job, self._state)  # a run that is refused here leaves no record
            self._state.hear_signals()
            self._state.begin_run(summary.run_id, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}", summary.sync)
            with interruption.listening():
                with _errors_into(summary, settings.masking):
                    yield
                if interruption.signum:  # whatever else it broke, the signal is what happened
                    summary.exit_code = 128 + interruption.signum
                    summary.stopped_because = describe(interruption.signum)
                with interruption.delivering():
                    self._end()

    def _end(self) -> None:
        """Put on record how the run ended, and count what is left."""
        interrupted = bool(self._interruption.signum)
        self.summary.seconds = time.monotonic() - self._began
        with _only_warned("the run is not on record") if interrupted else nullcontext():
            self._state.end_run(self.summary.run_id, self.summary.for_history())
        if not interrupted:  # after a signal there is no time for what the next run can do
            with _only_warned("the state takes more of the disk than it needs"):
                self._state.give_back_space()
        with _only_warned("the metrics lack what is pending"):
            self.summary.figures = read_figures(self._state, self._on_record.record.id, time.time())

    # -- the steps

    def query(self, database: Source) -> ResultSet:
        """Run the query; its rows pass through the state as they are read, which says what of them is owed."""
        logger.info("Connected to %s: %s", database.description, database.server)
        self._loading = Loading(self.job, self._on_record)
        return self._loading.query(database)

    def plan(self) -> None:
        """Compare all rows with the state: from here on it is known who is owed what."""
        self.summary.rows, outbox = self._loading.rows, self._loading.outbox
        self._export = inode_of(Path(str(self.summary.csv)))
        self._prune_exports()
        with self.job.comparing():
            self._plan = outbox.plan(self._on_record.put)

    def _prune_exports(self) -> None:
        """Keep as many as the settings say, also when this run is about to be refused."""
        stem = export_stem(self.settings.sync_name)
        for each in (stem, rejected_name(stem)):
            with _only_warned("old exports are still there"):
                prune(csv_folder(self.settings), self.settings.csv_keep, each)

    def deliver(self, client: IterableClient) -> None:
        """Send what is owed: for each user `client.update_user`, then `client.track_event` for each event."""
        outbox, summary = self._loading.outbox, self.summary
        with self._interruption.delivering():
            announce(self._plan, outbox, self.job, summary)
            self._dispatch(client, self._plan)
            with _only_warned("the rejected rows are not in a file of their own"):
                self._write_rejected()
            if self.stop.deadline is None:  # after a signal there is no time for what the next run can do
                with _only_warned("the next run has more to do"):
                    outbox.remember()
        summary.exit_code = _exit_code(summary)

    def _dispatch(self, client: IterableClient, plan: Plan) -> None:
        outbox, stop = self._loading.outbox, self.stop
        rules = StopRules(outbox.stops_in_a_row())
        way, workers = way_of(self.settings)
        with self.job.progress(plan.owed_users + plan.leavers) as progress:
            settle_seconds = self.settings.move_settle_seconds
            loop = Loop(
                way, client, outbox, rules, stop, workers=workers, settle_seconds=settle_seconds, progress=progress
            )
            try:
                loop.run(plan)
            finally:
                _take_over(loop.tally, self.summary)
        if rules.by_the_row or not stop.is_set():
            outbox.record_end(stopped_by_rule=rules.by_the_row)

    def _write_rejected(self) -> None:
        """Give the person who will correct them the rows that were rejected, with the reasons."""
        path = Path(str(self.summary.csv))
        refused = path.with_name(rejected_name(path.name))
        if export_rejected(path, self._export, self._loading.outbox.refused_lines(), refused):
            self.summary.rejected_csv = str(refused)
            logger.warning("Rejected rows written to %s", refused)


def retry_configuration(settings: Settings) -> dict[str, float]:
    """The retry rule, for the summary."""
    return {
        "max_retries": settings.max_retries,
        "initial_backoff": settings.initial_backoff,
        "backoff_factor": settings.backoff_factor,
        "request_timeout": settings.request_timeout,
    }


@contextmanager
def _errors_into(summary: Summary, masking: Masking) -> Iterator[None]:
    """Turn an error into the run's exit code and reason."""
    try:
        yield
    except (Exception, Interrupted, KeyboardInterrupt) as error:
        code, summary.stopped_because = exit_of(error, masking)
        summary.exit_code = code
        if summary.stopped_because.startswith(UNEXPECTED):
            logger.exception("Unexpected error")
            summary.stopped_because += "; the log has the traceback"


def open_state(job: Job, stop: Stop) -> State:
    """The state, brought up to date under the lock of the default sync, which version 1.0.0 knows too."""
    settings = job.settings
    alone = nullcontext if settings.sync_name == DEFAULT_SYNC else lambda: RunLock(lock_path(settings.state_file))
    return State(settings.state_file, alone, stop.is_overdue)


@contextmanager
def _only_warned(what: str) -> Iterator[None]:
    """Housekeeping after the delivery: when it fails, nobody has lost anything."""
    try:
        yield
    except (OSError, StateError) as error:
        logger.warning("Housekeeping failed, %s: %s", what, exit_of(error)[1])


def _take_over(tally: Tally, summary: Summary) -> None:
    summary.users, summary.events, summary.left_segment = tally.users, tally.events, tally.left_segment
    summary.moved = tally.moved
    summary.requests, summary.retries = tally.requests, dict(tally.retries)
    summary.stopped_because = tally.stopped_because
    summary.failed_because = None if tally.stopped_because else tally.failure or None


def way_of(settings: Settings) -> tuple[Way, int]:
    """One by one or in bulk, by so many workers; never both in one run: Iterable keeps no order between the two."""
    if settings.iterable_bulk:
        from sync.delivery.bulk import IN_BULK

        return IN_BULK, BULK_WORKERS
    return ONE_BY_ONE, affordable(settings.workers)


def _exit_code(summary: Summary) -> int:
    if summary.stopped_because:
        return ExitCode.STOPPED
    counts = (summary.users, summary.events)
    if summary.held_back or any(count.newly_rejected or count.failed for count in counts):
        return ExitCode.INCOMPLETE
    return ExitCode.DONE
