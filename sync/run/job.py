"""What a run works on: settings, the window and switches, the source of rows, and what is made of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from db import MySQLParams, connect
from iterable_client import IterableClient
from sync.api.endpoints import EVENTS_TRACK, USERS_UPDATE, USERS_UPDATE_EMAIL
from sync.api.pacing import DOCUMENTED_CEILINGS, UNSTATED_CEILING, Pacer
from sync.delivery.stop import Stop
from sync.rows.export import EXPORT_STEM, timestamped_name
from sync.rows.mapping import Mapping, mapping_problems
from sync.rows.source import ResultSet, Source
from sync.run.env_file import DEFAULT_SYNC, read_text
from sync.run.setting_values import HOME
from sync.run.settings import Settings
from sync.state.owed import Policy

logger = logging.getLogger("main")


class ColumnsError(Exception):
    """The query's columns do not fit the mapping settings; `problems` holds a sentence for each misfit."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class UsageError(Exception):
    """A flag of the command line that does nothing for this query."""


def window_start(since: datetime | timedelta, zone: tzinfo, now: datetime) -> datetime:
    """The start of the query's window in UTC."""
    if isinstance(since, timedelta):
        return now - since
    return (since if since.tzinfo else since.replace(tzinfo=zone)).astimezone(UTC)


Progress = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Given the number of users to deliver, a block in which a function is told of each group that is done with."""


Counting = Callable[[], AbstractContextManager[Callable[[int], object]]]
"""A block in which a function is told of each group that is done with, when nobody knows how many there are."""


@contextmanager
def no_counting() -> Iterator[Callable[[int], object]]:
    """Nobody watches."""
    yield lambda _count: None


@contextmanager
def no_progress(_total: int) -> Iterator[Callable[[int], object]]:
    """Nobody watches."""
    yield lambda _count: None


@dataclass(frozen=True)
class Job:
    """What a run works on: settings, the window and the switches of the command line, and the source of rows.

    `screen` shows the log's lines to a person, `reading` how many rows have come, `comparing` that they are compared
    with the state, `progress` how far the delivery is; all are the console's.
    """

    settings: Settings
    since: datetime | timedelta | None = None
    limit: int | None = None
    full: bool = False
    retry_rejected: bool = False
    allow_mass_exit: bool = False
    new_event_ids: bool = False
    same_project: bool = False
    new_project: bool = False
    csv: Path | None = None
    source: Callable[[], Source] | None = None
    source_name: str = ""
    screen: logging.Handler | None = None
    reading: Counting = no_counting
    comparing: Counting = no_counting
    progress: Progress = no_progress

    def connect(self) -> Source:
        """Open the source of rows; raises SourceError."""
        return self.source() if self.source else connect(mysql_params(self.settings))

    def describe_source(self) -> str:
        """The source as the log names it."""
        return self.source_name or mysql_params(self.settings).description

    def mapping(self) -> Mapping:
        """How columns become fields."""
        return self.settings.mapping()

    def policy(self) -> Policy:
        """How the state is read: only the whole result of the usual window says who has left it."""
        return Policy(
            whole_window=self.since is None and self.limit is None,
            full=self.full,
            retry_rejected=self.retry_rejected,
            allow_mass_exit=self.allow_mass_exit,
            segment_field=self.mapping().segment_field,
            by_user_id=self.mapping().by_user_id,
            follows_addresses=self.mapping().follows_addresses,
        )

    def query(self, source: Source) -> ResultSet:
        """Run the query; raises SourceError, UsageError, and ColumnsError when the mapping does not fit its columns."""
        at = self.settings
        now = datetime.now(UTC)
        start = window_start(self.since or timedelta(days=at.lookback_days), at.db_timezone, now)
        local = start.astimezone(at.db_timezone).replace(tzinfo=None)
        result = source.query(read_text(at.query_file), start, local, self.limit)
        if self.since is not None and not result.uses_since:
            result.close()
            raise UsageError(
                "--since does nothing for this query, which uses neither :since nor :since_local: leave it out, or use "
                "one of them in QUERY_FILE"
            )
        if problems := mapping_problems(self.mapping(), result.columns):
            result.close()
            raise ColumnsError(problems)
        if not result.uses_since:
            logger.warning(
                "The query uses neither :since nor :since_local: every run reads all that it selects, whatever "
                "LOOKBACK_DAYS says"
            )
        return result


def mysql_params(settings: Settings) -> MySQLParams:
    """Where the database is."""
    return MySQLParams(
        host=settings.db_host,
        port=settings.db_port,
        user=settings.db_user,
        password=settings.db_password,
        database=settings.db_name,
        socket=str(settings.db_socket) if settings.db_socket else None,
        ssl_ca=str(settings.db_ssl_ca) if settings.db_ssl_ca else None,
        query_timeout=settings.query_timeout,
        secrets=tuple(settings.secrets().values()),
    )


def ceilings(settings: Settings) -> dict[str, float]:
    """How many requests a second each endpoint may have."""
    return {
        **DOCUMENTED_CEILINGS,
        USERS_UPDATE: settings.users_per_second,
        EVENTS_TRACK: settings.events_per_second,
        USERS_UPDATE_EMAIL: UNSTATED_CEILING,
    }


def make_client(settings: Settings, stop: Stop) -> IterableClient:
    """The client of a run: paced, and its waits end as soon as the run is to stop."""
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
        pacer=Pacer(ceilings(settings), stop.wait),
        secrets=settings.secrets().values(),
        sleep=stop.wait,
    )


def csv_folder(settings: Settings) -> Path:
    """Where exports go."""
    return settings.csv_dir or HOME


def csv_path(job: Job) -> Path:
    """The name of this run's export."""
    folder = csv_folder(job.settings)
    name = export_stem(job.settings.sync_name)
    return Path.cwd() / job.csv if job.csv else folder / timestamped_name(datetime.now(), folder, name)


def export_stem(sync_name: str) -> str:
    """How the names of a sync's exports begin; those of the default sync have no name in them."""
    return EXPORT_STEM if sync_name == DEFAULT_SYNC else f"{EXPORT_STEM}_{sync_name}"
