"""What a run connects to: the database, the result of the query, and Iterable, each as the settings say."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, tzinfo

from db import MySQLParams, connect
from iterable_client import IterableClient
from sync.api.endpoints import EVENTS_TRACK, USERS_UPDATE, USERS_UPDATE_EMAIL
from sync.api.pacing import DOCUMENTED_CEILINGS, UNSTATED_CEILING, Pacer
from sync.delivery.stop import Stop
from sync.rows.mapping import mapping_problems
from sync.rows.source import ResultSet, Source
from sync.run.env_file import read_text
from sync.run.settings import Options, Settings, SettingsError

logger = logging.getLogger("main")

NO_WINDOW = "uses neither :since nor :since_local"


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


def open_database(settings: Settings) -> Source:
    """The database of the settings; raises SourceError."""
    return connect(mysql_params(settings))


def window_start(since: datetime | timedelta, zone: tzinfo, now: datetime) -> datetime:
    """The start of the query's window in UTC."""
    if isinstance(since, timedelta):
        return now - since
    return (since if since.tzinfo else since.replace(tzinfo=zone)).astimezone(UTC)


def run_query(source: Source, settings: Settings, options: Options) -> ResultSet:
    """Run the query; raises SourceError, and SettingsError when the mapping or --since does not fit the query."""
    zone, usual = settings.db_timezone, timedelta(days=settings.lookback_days)
    start = window_start(options.since or usual, zone, datetime.now(UTC))
    local = start.astimezone(zone).replace(tzinfo=None)
    result = source.query(read_text(settings.query_file), start, local, options.limit)
    problems = mapping_problems(settings.mapping(), result.columns)
    if options.since is not None and not result.uses_since:
        problems.append(
            f"--since has no effect on this query, which {NO_WINDOW}: leave it out, or use one in QUERY_FILE"
        )
    if problems:
        result.close()
        raise SettingsError(problems)
    return result


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
