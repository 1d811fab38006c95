"""The object of one run: its steps, and what surrounds them. The order of the steps is only in `main.run`."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from errno import EIO
from itertools import islice
from pathlib import Path
from typing import Any, Final

from iterable_client import IterableClient
from sync.delivery.bulk import IN_BULK
from sync.delivery.loop import Loop
from sync.delivery.rules import StopRules
from sync.delivery.stop import Stop
from sync.delivery.turn import ONE_BY_ONE, Way
from sync.rows.export import EXPORT_STEM, export_rejected, prune, rejected_name, timestamped_name
from sync.rows.source import ResultSet, Source, Values
from sync.run.connections import mysql_params, open_database, run_query
from sync.run.env_file import DEFAULT_SYNC
from sync.run.exit_codes import UNEXPECTED, ExitCode, exit_of
from sync.run.lock import locked_state
from sync.run.log import LAST_LINE, LineFormatter, add_handler, log_always, start_logging, stop_logging, utc_offset
from sync.run.metrics import write_metrics
from sync.run.on_record import OnRecord, name_of_sync
from sync.run.settings import NO_OPTIONS, Options, Settings
from sync.run.signals import Interrupted, Interruption, describe
from sync.run.summary import Summary, announce
from sync.state.backlog import read_figures
from sync.state.file import State, StateCopy, StateError
from sync.state.outbox import Outbox

logger = logging.getLogger("main")

EXPECTED = (OSError, StateError)
"""What housekeeping fails with; any other error is a bug."""

BULK_WORKERS = 6
"""Bulk jobs at the same time, of up to 1,000 users each: enough to reach the limits if a bulk call takes up to 0.6 s.
The jobs are what needs memory."""

RETRY_RULE: Final = ("max_retries", "initial_backoff", "backoff_factor", "request_timeout")
"""The settings that the summary shows."""


class Screen:
    """What a person sees of a run while it goes on. This one shows nothing; the console has one that does."""

    lines: logging.Handler | None = None
    """Shows the lines of the log."""

    @contextmanager
    def counting(self, what: str, total: int | None = None) -> Iterator[Callable[[int], object]]:
        """A block with a function to call after each group of rows or users that is done.

        `what` is "rows", "comparison" or "users"; `total` is None where nobody knows how many there are.
        """
        del what, total
        yield lambda _count: None


NOBODY_LOOKS: Final = Screen()


class Run:
    """One run: what its steps share. What it did, and what went wrong in it, is in `summary`.

    `source` opens a source of rows other than the database of the settings; `source_name` is its name in the log.
    """

    def __init__(
        self,
        settings: Settings,
        options: Options = NO_OPTIONS,
        screen: Screen = NOBODY_LOOKS,
        source: Callable[[], Source] | None = None,
        source_name: str = "",
    ) -> None:
        self.settings, self.options, self.screen = settings, options, screen
        self._source, self._source_name = source, source_name
        run_id = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        retry_rule = {name: getattr(settings, name) for name in RETRY_RULE}
        auth = "jwt" if settings.use_jwt_auth else "api_key"
        self.summary = Summary(run_id, settings.sync_name, auth=auth, retry_configuration=retry_rule)
        self.stop = Stop()
        self._interruption = Interruption(self.stop)
        self._began = time.monotonic()
        self._is_logged = False

    # -- around the steps

    @contextmanager
    def accounted_for(self) -> Iterator[None]:
        """Whatever goes wrong inside becomes the exit code and the reason; nothing is raised."""
        with self._errors_told():
            yield
        if not self._is_logged:  # the metrics report that, too
            self._write_metrics()

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """Turn an error into the run's exit code and reason."""
        try:
            yield
        except (Exception, Interrupted, KeyboardInterrupt) as error:
            self.summary.exit_code, told = exit_of(error, self.settings.masking)
            if told.startswith(UNEXPECTED):
                logger.exception("Unexpected error")
                told += "; the log has the traceback"
            self.summary.stopped_because = told

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Log the run: the first line names both ends, and the last one has the counts, even if the run failed."""
        settings, secrets = self.settings, self.settings.secrets()
        formatter = LineFormatter(self.summary.run_id, secrets.values())
        file = start_logging(settings.log_file, settings.log_level, formatter)
        if self.screen.lines:
            add_handler(self.screen.lines, LineFormatter("", secrets.values()))
        try:
            log_always(
                logging.INFO,
                "Run started: from %s to %s, query %s sync=%s utc_offset=%s",
                self._source_name or mysql_params(settings).description,
                settings.iterable_api_base_url,
                settings.query_file.name,
                settings.sync_name,
                utc_offset(),
            )
            with self._errors_told():
                yield
            self.summary.seconds = time.monotonic() - self._began
            self._write_metrics()
            level = logging.INFO if self.summary.exit_code == ExitCode.DONE else logging.ERROR
            log_always(level, LAST_LINE, self.summary.log_line())
        finally:
            stop_logging()
        if file.failure:
            raise OSError(EIO, file.failure, str(settings.log_file))
        self._is_logged = True

    def _write_metrics(self) -> None:
        """Write the metrics; a run that met a lock leaves that to the run that holds it."""
        path, name = self.settings.metrics_file, name_of_sync(self.settings)
        if path and self.summary.exit_code != ExitCode.LOCKED:
            labels = {"sync": name.name, "destination": name.destination or name.project}
            with self._only_warned("the metrics are those of an earlier run", (Exception,)):
                write_metrics(path, labels, self.summary, time.time(), trial=not self.options.whole_window)

    @contextmanager
    def _only_warned(self, what: str, kinds: tuple[type[Exception], ...] = EXPECTED) -> Iterator[None]:
        """Housekeeping: if it fails (with these errors), nothing is lost, and the run's outcome does not change."""
        try:
            yield
        except kinds as error:
            logger.warning("Housekeeping failed, %s: %s", what, exit_of(error, self.settings.masking)[1])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other run of this sync is under way; the state knows of this one, and signals are heard."""
        settings, summary, interruption = self.settings, self.summary, self._interruption
        with locked_state(settings, self.stop.is_overdue) as state:
            self._hold_against(state)  # a run that is refused here leaves no record
            state.hear_signals()
            state.begin_run(summary.run_id, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}", summary.sync)
            with interruption.listening():
                with self._errors_told():
                    yield
                if interruption.signum:  # whatever else went wrong, the signal is the cause
                    summary.exit_code = 128 + interruption.signum
                    summary.stopped_because = describe(interruption.signum)
                with interruption.delivering():
                    self._end(state)

    def _end(self, state: State) -> None:
        """Put on record how the run ended, and count what is left."""
        self.summary.seconds = time.monotonic() - self._began
        interrupted = self._interruption.signum
        with self._only_warned("the run is not on record") if interrupted else nullcontext():
            state.end_run(self.summary.run_id, self.summary.for_history())
        if not interrupted:  # after a signal, there is no time for work that the next run can do
            with self._only_warned("the state takes more of the disk than it needs"):
                state.give_back_space()
        with self._only_warned("the metrics lack what is pending"):
            self.summary.figures = read_figures(state, self.on_record.record.id, time.time())

    @contextmanager
    def previewed(self) -> Iterator[None]:
        """Instead of `accounted_for`, for commands that only look: all up to `plan`, on a copy of the state, no log.

        Raises what a run would end with.
        """
        with closing(StateCopy(self.settings.state_file)) as state:
            self._hold_against(state)
            with closing(self.connect()) as database:
                for _ in self.query(database).values():
                    pass
            self.plan()
            yield

    def _hold_against(self, state: State) -> None:
        self._state, self.on_record = state, OnRecord(state, self.settings, self.options)

    # -- the steps

    def connect(self) -> Source:
        """Open the source of rows; raises SourceError."""
        return self._source() if self._source else open_database(self.settings)

    def query(self, database: Source) -> ResultSet:
        """Run the query; its rows pass through the state as they are read, which finds out what is pending.

        Raises RefusedError if the record forbids this run.
        """
        logger.info("Connected to %s: %s", database.description, database.server)
        on_record = self.on_record
        on_record.refuse_foreign_field()
        self.outbox = Outbox(self._state, on_record.record.id, on_record.policy(), time.time())
        result = run_query(database, self.settings, self.options)
        reading = on_record.reading(result.columns)
        return result.passed_through(lambda rows: self.outbox.take(self._counted(rows), reading))

    def _counted(self, rows: Iterator[Values]) -> Iterator[Values]:
        """The rows; the progress is shown for each hundred."""
        with self.screen.counting("rows") as read:
            while some := list(islice(rows, 100)):
                self.summary.rows += len(some)
                read(len(some))
                yield from some

    def csv_path(self) -> Path:
        """The name of this run's export."""
        folder, stem = self.settings.csv_dir, export_stem(self.settings.sync_name)
        given = self.options.csv
        return Path.cwd() / given if given else folder / timestamped_name(datetime.now(), folder, stem)

    def plan(self) -> None:
        """Compare all rows with the state; after this, it is known what is pending."""
        if self.summary.csv:
            self._export = Path(self.summary.csv).stat()
            self._prune_exports()
        with self.screen.counting("comparison"):
            self.planned = self.outbox.plan(self.on_record.put)

    def _prune_exports(self) -> None:
        """Keep as many as the settings say, even if this run is about to be refused."""
        stem = export_stem(self.settings.sync_name)
        for each in (stem, rejected_name(stem)):
            with self._only_warned("old exports are still there"):
                prune(self.settings.csv_dir, self.settings.csv_keep, each)

    def deliver(self, client: IterableClient) -> None:
        """Send what is pending: for each user `client.update_user`, then `client.track_event` for each event."""
        with self._interruption.delivering():
            self.announce()
            self.send(client, *way_of(self.settings))
            with self._only_warned("the rejected rows are not in a file of their own"):
                self._write_rejected()
            if self.stop.deadline is None:  # after a signal, there is no time for work that the next run can do
                with self._only_warned("the next run has more to do"):
                    self.outbox.remember()
        self.summary.exit_code = self.summary.code_of_counts()

    def announce(self) -> None:
        """Log what the comparison found."""
        announce(self.planned, self.outbox, self.summary, self.on_record.mapping.segment_field)

    def send(self, client: IterableClient, way: Way, workers: int, **more: Any) -> None:
        """Let the loop deliver what was planned, and take over what it counted; `more` is for the loop."""
        outbox, plan, stop = self.outbox, self.planned, self.stop
        rules = StopRules(outbox.stops_in_a_row())
        with self.screen.counting("users", plan.pending_users + plan.leavers) as progress:
            more |= {"workers": workers, "settle_seconds": self.settings.move_settle_seconds, "progress": progress}
            loop = Loop(way, client, outbox, rules, stop, **more)
            try:
                loop.run(plan)
            finally:
                self.summary.take_over(loop.tally)
        if rules.by_the_row or not stop.is_set():
            outbox.record_end(stopped_by_rule=rules.by_the_row)

    def _write_rejected(self) -> None:
        """Give the person who will correct them the rows that were rejected, with the reasons."""
        path = Path(str(self.summary.csv))
        refused = path.with_name(rejected_name(path.name))
        if export_rejected(path, self._export, self.outbox.refused_lines(), refused):
            self.summary.rejected_csv = str(refused)
            logger.warning("Rejected rows written to %s", refused)


def export_stem(sync: str, stem: str = EXPORT_STEM) -> str:
    """How the names of a sync's exports begin; those of the default sync have no name in them."""
    return stem if sync == DEFAULT_SYNC else f"{stem}_{sync}"


def way_of(settings: Settings) -> tuple[Way, int]:
    """One by one or in bulk, and the number of workers; never both in one run: Iterable keeps no order between the
    two."""
    return (IN_BULK, BULK_WORKERS) if settings.iterable_bulk else (ONE_BY_ONE, settings.workers)
