"""One run, from the lock to the last log line: the order of the steps and what an error means for the run."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from db import MySQLParams, ResultSet, Source, SourceError, connect
from iterable_client import EVENTS_TRACK, EVENTS_TRACK_BULK, USERS_BULK_UPDATE, USERS_UPDATE, IterableClient
from sync.api.pacing import DOCUMENTED_CEILINGS, Pacer
from sync.delivery.dispatcher import Delivery, Sender, SingleSender, Stop, Tally
from sync.rows.export import CsvExport, export_rejected, prune, timestamped_name
from sync.rows.identity import log_field
from sync.rows.mapping import Mapping, mapping_problems
from sync.rows.payloads import PayloadBuilder, RowPayloads
from sync.run.exit_codes import ExitCode
from sync.run.lock import LockedError, RunLock
from sync.run.log import LAST_LINE, LineFormatter, add_handler, start_logging, stop_logging
from sync.run.settings import HOME, Settings
from sync.run.signals import Interrupted, Interruption, describe
from sync.run.summary import Summary
from sync.state.file import State, StateError
from sync.state.outbox import Outbox, Plan, Policy

logger = logging.getLogger("main")

BULK_WORKERS = 6
"""Bulk jobs in flight, of up to 1,000 users each: enough for the limits while a bulk call takes up to 0.6 s, and the
jobs are what memory is needed for."""


UNEXPECTED = "unexpected"
"""How the sentence of an error begins that nobody foresaw."""


class ColumnsError(Exception):
    """The query's columns do not fit the mapping settings; `problems` holds a sentence for each misfit."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def window_start(since: datetime | timedelta, zone: tzinfo, now: datetime) -> datetime:
    """The start of the query's window in UTC."""
    if isinstance(since, timedelta):
        return now - since
    return (since if since.tzinfo else since.replace(tzinfo=zone)).astimezone(UTC)


class ExportError(Exception):
    """The CSV cannot be written."""


Progress = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Given the number of users to deliver, a block in which a function is told of each group that is done with."""


@contextmanager
def no_progress(_total: int) -> Iterator[Callable[[int], object]]:
    """Nobody watches."""
    yield lambda _count: None


@dataclass(frozen=True)
class Job:
    """What a run works on: settings, the window and the switches of the command line, and the source of rows.

    `screen` shows the log's lines to a person, `progress` how far the delivery is; both are the console's.
    """

    settings: Settings
    since: datetime | timedelta | None = None
    limit: int | None = None
    full: bool = False
    retry_rejected: bool = False
    allow_mass_exit: bool = False
    csv: Path | None = None
    source: Callable[[], Source] | None = None
    source_name: str = ""
    screen: logging.Handler | None = None
    progress: Progress = no_progress

    def connect(self) -> Source:
        """Open the source of rows; raises SourceError."""
        return self.source() if self.source else connect(mysql_params(self.settings))

    def describe_source(self) -> str:
        """The source as the log names it."""
        at = self.settings
        return self.source_name or f"mysql://{at.db_user}@{at.db_host}:{at.db_port}/{at.db_name}"

    def mapping(self) -> Mapping:
        """How columns become fields. Without USER_FIELDS there is no profile, hence no segment field."""
        at = self.settings
        return Mapping(
            email_column=at.email_column or None,
            user_id_column=at.user_id_column or None,
            user_fields=at.user_fields,
            segment_field=at.segment_field if at.user_fields else "",
            event_name=at.event_name,
            event_fields=at.event_fields,
            event_time_column=at.event_time_column,
            event_key=at.event_key,
            timezone=at.db_timezone,
        )

    def policy(self) -> Policy:
        """How the state is read: only the whole result of the usual window says who has left it."""
        return Policy(
            whole_window=self.since is None and self.limit is None,
            full=self.full,
            retry_rejected=self.retry_rejected,
            allow_mass_exit=self.allow_mass_exit,
            segment_field=self.mapping().segment_field,
        )

    def query(self, source: Source) -> ResultSet:
        """Run the query; raises SourceError, and ColumnsError when the mapping does not fit its columns."""
        at = self.settings
        now = datetime.now(UTC)
        start = window_start(self.since or timedelta(days=at.lookback_days), at.db_timezone, now)
        local = start.astimezone(at.db_timezone).replace(tzinfo=None)
        try:
            sql = at.query_file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"QUERY_FILE {at.query_file} cannot be read ({error}); check the file") from error
        result = source.query(sql, start, local, self.limit)
        if problems := mapping_problems(self.mapping(), result.columns):
            result.close()
            raise ColumnsError(problems)
        if not result.uses_since:
            logger.warning("The query uses neither :since nor :since_local: every run reads all that it selects")
        return result


def mysql_params(settings: Settings) -> MySQLParams:
    """Where the database is."""
    return MySQLParams(
        host=settings.db_host,
        port=settings.db_port,
        user=settings.db_user,
        password=settings.db_password,
        database=settings.db_name,
        ssl_ca=str(settings.db_ssl_ca) if settings.db_ssl_ca else None,
    )


def make_client(settings: Settings, stop: Stop) -> IterableClient:
    """The client of a run: paced, and its waits end as soon as the run is to stop."""
    ceilings = {
        USERS_UPDATE: settings.users_per_second,
        EVENTS_TRACK: settings.events_per_second,
        USERS_BULK_UPDATE: DOCUMENTED_CEILINGS[USERS_BULK_UPDATE],
        EVENTS_TRACK_BULK: DOCUMENTED_CEILINGS[EVENTS_TRACK_BULK],
    }
    return IterableClient(
        api_key=settings.iterable_api_key,
        jwt_secret=settings.iterable_jwt_secret or None,
        use_jwt=settings.use_jwt_auth,
        base_url=settings.iterable_api_base_url,
        timeout=settings.request_timeout,
        max_retries=settings.max_retries,
        initial_backoff=settings.initial_backoff,
        backoff_factor=settings.backoff_factor,
        jwt_lifetime=settings.jwt_lifetime,
        jwt_issuer=settings.jwt_issuer,
        workers=settings.workers,
        pacer=Pacer(ceilings, stop.wait),
        sleep=stop.wait,
    )


def run(job: Job) -> Summary:
    """Do one run and say what it did; never raises for anything that can go wrong in it."""
    settings = job.settings
    run_id = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    summary = Summary(run_id, "jwt" if settings.use_jwt_auth else "api_key", retry_configuration(settings))
    began = time.monotonic()
    lock = RunLock(settings.state_file.with_name(settings.state_file.name + ".lock"))
    with _blaming(summary), _logging(job, summary, began), lock:
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
    try:
        file = start_logging(settings.log_file, settings.log_level, LineFormatter(summary.run_id, settings.secrets()))
    except OSError as error:
        raise ExportError(
            f"the log {settings.log_file} cannot be written ({error.strerror}); check LOG_FILE"
        ) from error
    if job.screen:
        add_handler(job.screen, LineFormatter("", settings.secrets()))
    try:
        logger.info(
            "Run started: from %s to %s, query %s",
            job.describe_source(),
            settings.iterable_api_base_url,
            settings.query_file.name,
        )
        with _blaming(summary):
            yield
        summary.seconds = time.monotonic() - began
        level = logging.INFO if summary.exit_code == ExitCode.DONE else logging.ERROR
        logger.log(level, LAST_LINE, summary.log_line())
    finally:
        stop_logging()
    if file.failure:
        raise ExportError(f"the log {settings.log_file} could not be written ({file.failure}); free space")


@contextmanager
def _blaming(summary: Summary) -> Iterator[None]:
    """Turn an error into the run's exit code and reason."""
    try:
        yield
    except (Exception, Interrupted, KeyboardInterrupt) as error:
        code, summary.stopped_because = explain(error)
        summary.exit_code = code
        if summary.stopped_because.startswith(UNEXPECTED):
            logger.exception("Unexpected error")
            summary.stopped_because += "; the log has the traceback"


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code of an error and its sentence; the only place where one becomes the other."""
    if isinstance(error, Interrupted):
        return error.code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED, "interrupted by SIGINT"
    if isinstance(error, LockedError):
        return ExitCode.LOCKED, str(error)
    if isinstance(error, ColumnsError):
        return ExitCode.USAGE, str(error)
    if isinstance(error, SourceError | StateError | ExportError):
        return ExitCode.STOPPED, str(error)
    if isinstance(error, OSError):
        return ExitCode.STOPPED, f"{error.filename or 'a file'}: {error.strerror or error}; check the disk and the path"
    return ExitCode.STOPPED, f"{UNEXPECTED} {type(error).__name__}: {error}"


def _locked_run(job: Job, summary: Summary, began: float) -> None:
    """Everything that only one run at a time may do."""
    stop = Stop()
    for handler in logging.getLogger().handlers:
        getattr(handler, "rotate_when_large", int)()
    with closing(State(job.settings.state_file)) as state:
        interruption = Interruption(stop, abort=state.db.interrupt)
        state.begin_run(summary.run_id, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}")
        with interruption.listening():
            with _blaming(summary):
                _steps(job, state, summary, stop, interruption)
            if interruption.signum:  # whatever else it broke, the signal is what happened
                summary.exit_code = 128 + interruption.signum
                summary.stopped_because = describe(interruption.signum)
            summary.seconds = time.monotonic() - began
            with interruption.delivering():
                state.end_run(summary.run_id, summary.as_json())


def _steps(job: Job, state: State, summary: Summary, stop: Stop, interruption: Interruption) -> None:
    """Rows, debts, delivery, and what is left to say."""
    settings = job.settings
    destination = state.destination(settings.iterable_api_base_url, settings.iterable_api_key, settings.destination)
    outbox = Outbox(state, destination, job.policy(), int(time.time() // 86400))
    path = csv_path(job)
    summary.rows = collect(job, outbox, path)
    summary.csv = str(path)
    plan = outbox.plan()
    with interruption.delivering():
        _announce(plan, outbox, job, summary)
        _deliver(job, outbox, plan, summary, stop)
        _write_rejected(path, outbox, summary)
        for pattern in ("query_results_*.csv", "rejected_rows_*.csv"):
            prune(csv_folder(settings), settings.csv_keep, pattern)
    summary.exit_code = _exit_code(summary)


def csv_folder(settings: Settings) -> Path:
    """Where exports go."""
    return settings.csv_dir or HOME


def csv_path(job: Job) -> Path:
    """The name of this run's export."""
    folder = csv_folder(job.settings)
    return Path.cwd() / job.csv if job.csv else folder / timestamped_name(datetime.now(), folder)


def collect(job: Job, outbox: Outbox, path: Path | None) -> int:
    """Stream the result through the CSV into the outbox and close the database; returns the number of rows."""
    with closing(job.connect()) as source:
        logger.info("Connected to %s: %s", source.description, source.server)
        result = job.query(source)
        builder = PayloadBuilder(job.mapping(), result.columns)
        if path is None:
            return outbox.load(builder.build(row) for row in result)
        try:
            with CsvExport(path, result.columns) as export:
                return outbox.load(_through(export, builder, result))
        except OSError as error:
            told = error.strerror or str(error)
            raise ExportError(f"the CSV {path} cannot be written ({told}); free space, or set CSV_DIR") from error


def _through(export: CsvExport, builder: PayloadBuilder, result: ResultSet) -> Iterator[RowPayloads]:
    for row in result:
        export.write(row)
        yield builder.build(row)


def _announce(plan: Plan, outbox: Outbox, job: Job, summary: Summary) -> None:
    """Say what the comparison with the state found."""
    for identity, reason in outbox.new_rejections():
        logger.warning("Row rejected before any request: %s %s", reason, log_field(identity))
    logger.info(
        "Owed: %d users (%d profiles, %d events); unchanged: %d profiles, %d events; leaving the segment: %d",
        plan.owed_users,
        plan.owed_profiles,
        plan.owed_events,
        plan.users.unchanged,
        plan.events.unchanged,
        0 if plan.exit_held_back else plan.leaving,
    )
    if plan.segment_renamed_from:
        logger.warning(
            "SEGMENT_FIELD changed from %s to %s: the old field stays as it is at Iterable",
            plan.segment_renamed_from,
            job.mapping().segment_field or "none",
        )
    if plan.exit_held_back:
        summary.held_back = (
            f"{plan.leaving:,} of the {plan.segment_size:,} users in the segment would leave it at once, so nobody "
            "leaves; if that is right, run with --allow-mass-exit"
        )
        logger.warning("Mass exit held back: %s", summary.held_back)


def _deliver(job: Job, outbox: Outbox, plan: Plan, summary: Summary, stop: Stop) -> None:
    settings = job.settings
    with closing(make_client(settings, stop)) as client:
        sender, workers = _sender(settings, client, stop)
        with job.progress(plan.owed_users) as progress:
            delivery = Delivery(sender, outbox, stop, workers=workers, progress=progress)
            try:
                delivery.run(plan)
            finally:
                _tell(delivery.tally, summary)


def _tell(tally: Tally, summary: Summary) -> None:
    summary.users, summary.events, summary.left_segment = tally.users, tally.events, tally.left_segment
    summary.requests, summary.retries = tally.requests, dict(tally.retries)
    summary.stopped_because = tally.stopped_because


def _sender(settings: Settings, client: IterableClient, stop: Stop) -> tuple[Sender, int]:
    """One by one or in bulk; never both in one run, because Iterable keeps no order between the two."""
    if settings.iterable_bulk:
        from sync.delivery.bulk import BulkSender

        return BulkSender(client, stop), BULK_WORKERS
    return SingleSender(client, stop), settings.workers


def _write_rejected(path: Path, outbox: Outbox, summary: Summary) -> None:
    """Give the person who will correct them the rows that were rejected, with the reasons."""
    refused = path.with_name(path.name.replace("query_results", "rejected_rows", 1))
    if refused == path:
        refused = path.with_name(f"rejected_rows_{path.name}")
    if export_rejected(path, outbox.refused_lines(), refused):
        summary.rejected_csv = str(refused)
        logger.warning("Rejected rows written to %s", refused)


def _exit_code(summary: Summary) -> int:
    if summary.stopped_because:
        return ExitCode.STOPPED
    counts = (summary.users, summary.events)
    if summary.held_back or any(count.newly_rejected or count.failed for count in counts):
        return ExitCode.INCOMPLETE
    return ExitCode.DONE
