"""Settings: from `.env`, the environment (which wins) and the defaults; every problem listed at once.

Each field of `Settings` is one setting of the same name in capitals; `.env.example` and docs/settings.md's
table hold the same names and defaults. `Options` is what the command line says.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from sync.rows.mapping import Field, parse_fields, unset_problems
from sync.rows.mapping import Mapping as FieldMapping
from sync.rows.masking import Masking, masking_of
from sync.run import setting_values as kind
from sync.run.env_file import UnreadableError, misspelt, read_env_file, read_text, sync_name_of
from sync.run.own_files import own_file_problems
from sync.run.setting_values import HOME

MAX_JWT_LIFETIME = 31_536_000
"""One year in seconds: "exp must be less than 1 year from iat" (Iterable's JWT documentation)."""


class SettingsError(Exception):
    """Settings that cannot be used; `problems` holds one sentence for each of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def _setting(
    default: str, parse: Callable[[str], Any] = str, *, secret: bool = False, empty_counts: bool = False
) -> Any:
    """One setting: its default as it would stand in `.env`, and the parser of its text.

    An empty value means the default unless `empty_counts`; a `secret` is never printed or logged.
    """
    return field(repr=not secret, metadata={"default": default, "parse": parse, "empty_counts": empty_counts})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One value for each setting; secrets are kept out of the `repr`."""

    sync_name: str = _setting("", kind.short_name)
    db_host: str = _setting("localhost")
    db_port: int = _setting("3306", kind.number(1, 65535, int))
    db_user: str = _setting("")
    db_password: str = _setting("", secret=True)
    db_name: str = _setting("")
    db_socket: Path | None = _setting("", kind.path)
    db_ssl_ca: Path | None = _setting("", kind.path)
    db_timezone: tzinfo = _setting("UTC", kind.zone)
    iterable_api_key: str = _setting("", kind.secret, secret=True)
    iterable_api_base_url: str = _setting("https://api.iterable.com", kind.base_url)
    destination: str = _setting("")
    use_jwt_auth: bool = _setting("false", kind.flag)
    iterable_jwt_secret: str = _setting("", kind.secret, secret=True)
    jwt_lifetime: int = _setting("3600", kind.number(1, MAX_JWT_LIFETIME, int))
    jwt_issuer: str = _setting("iterable-integration", empty_counts=True)
    max_retries: int = _setting("3", kind.number(1, 20, int))
    initial_backoff: float = _setting("1", kind.number(0, 60))
    backoff_factor: float = _setting("2", kind.number(1, 10))
    request_timeout: float = _setting("30", kind.number(0.1, 600))
    workers: int = _setting("128", kind.number(1, 512, int))
    users_per_second: float = _setting("500", kind.number(0.1, 100_000))
    events_per_second: float = _setting("2000", kind.number(0.1, 100_000))
    iterable_bulk: bool = _setting("false", kind.flag)
    query_file: Path = _setting("query.sql", kind.file, empty_counts=True)
    query_timeout: float = _setting("3600", kind.number(0, 604_800))
    lookback_days: float = _setting("7", kind.number(0.001, 36_500))
    email_column: str = _setting("email", empty_counts=True)
    user_id_column: str = _setting("")
    identify_by: str = _setting("", kind.one_of("email", "user_id"))
    move_settle_seconds: float = _setting("60", kind.number(0, 3600))
    user_fields: tuple[Field, ...] = _setting(
        "first_name,last_name,plan_type,candidate", parse_fields, empty_counts=True
    )
    segment_field: str = _setting("recent_page_view", kind.field_name, empty_counts=True)
    null_means: str = _setting("clear", kind.one_of("clear", "keep"))
    event_name: str = _setting("page_view", empty_counts=True)
    event_fields: tuple[Field, ...] = _setting(
        "page,device,browser,location,candidate,event_time", parse_fields, empty_counts=True
    )
    event_time_column: str = _setting("event_time", empty_counts=True)
    event_key: tuple[str, ...] = _setting("event_time,page", kind.names, empty_counts=True)
    csv_dir: Path = _setting("", lambda value: kind.path(value) or HOME)
    csv_keep: int = _setting("100", kind.number(0, 1_000_000, int))
    state_file: Path = _setting("iterable_sync.sqlite3", kind.file, empty_counts=True)
    metrics_file: Path | None = _setting("", kind.path_or_folder)
    log_level: str = _setting("INFO", kind.one_of("DEBUG", "INFO", "WARNING", "ERROR"))
    log_file: Path = _setting("iterable_integration.log", kind.file, empty_counts=True)
    env_file: Path | None = field(default=None, compare=False)
    """Not a setting: the file that the settings were read from."""
    email_column_is_written_out: bool = False
    """Not a setting: if USER_ID_COLUMN is set, an explicit EMAIL_COLUMN asks for the address."""

    def secrets(self) -> dict[str, str]:
        """The values that may appear in no output, each under its setting's name."""
        names = (item.name for item in _items() if not item.repr)
        return {name.upper(): value for name in names if (value := getattr(self, name))}

    @property
    def masking(self) -> Masking:
        """Masks these values in what others wrote, however short they are."""
        return masking_of(tuple(self.secrets().values()))

    def mapping(self) -> FieldMapping:
        """How columns become fields. Without USER_FIELDS there is no profile, hence no segment field."""
        return FieldMapping(
            email_column=self.email_column or None,
            user_id_column=self.user_id_column or None,
            user_fields=self.user_fields,
            segment_field=self.segment_field if self.user_fields else "",
            event_name=self.event_name,
            event_fields=self.event_fields,
            event_time_column=self.event_time_column,
            event_key=self.event_key,
            timezone=self.db_timezone,
            identify_by=self.identify_by,
            send_address=self.email_column_is_written_out,
            null_means=self.null_means,
        )


def _option(told: str, **how: Any) -> Any:
    """One option of the command line: what `--help` says of it, and how argparse takes it; else it is a flag."""
    return field(default=None if how else False, metadata={"help": told, **(how or {"action": "store_true"})})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says: one value for each option of the same name; README, Options."""

    demo: bool = _option("run on a sample database, against a server of its own; needs no .env")
    check: bool = _option("test settings, database, query, state and credentials; send no data")
    dry_run: bool = _option("print the exact requests as JSON lines; send and write nothing")
    since: datetime | timedelta | None = _option(
        "set the value of :since, such as 2026-01-06 or 7d", type=kind.since, metavar="WHEN"
    )
    limit: int | None = _option("read at most N rows; nobody leaves the segment", type=kind.positive, metavar="N")
    full: bool = _option("send everything, including what is unchanged or was rejected before")
    retry_rejected: bool = _option("send again what was rejected before")
    bulk: bool = _option("use users/bulkUpdate and events/trackBulk")
    allow_mass_exit: bool = _option("allow more than half of a segment to leave it in one run")
    new_event_ids: bool = _option("allow a run even though it would give events on record a new id")
    same_project: bool = _option("after a change of key or base URL: keep using what is on record")
    new_project: bool = _option("after a change of key or base URL: start from nothing")
    csv: Path | None = _option(
        "write the CSV to FILE instead of query_results_YYYYMMDD_HHMMSS.csv", type=Path, metavar="FILE"
    )
    history: int | None = _option("print the last N runs (10)", type=kind.positive, nargs="?", const=10, metavar="N")
    verify: int | None = _option(
        "read N users (default 100, or all) back from Iterable and compare them with the database; send nothing",
        type=kind.positive_or_all,
        nargs="?",
        const=100,
        metavar="N",
    )
    repair: bool = _option("with --verify: mark what differs as pending; the next run sends it")
    json: bool = _option("print the summary as one JSON object on standard output")
    env_file: Path | None = _option(
        "read the settings from FILE instead of .env beside main.py", type=Path, metavar="FILE"
    )

    @property
    def whole_window(self) -> bool:
        """Whether the whole result of the usual window is read: only that says who has left it."""
        return self.since is None and self.limit is None


NO_OPTIONS = Options()


def _items() -> list[dataclasses.Field[Any]]:
    """The fields that are settings."""
    return [item for item in fields(Settings) if item.metadata]


def defaults() -> dict[str, str]:
    """Every setting's name in capitals with its default, as it would stand in `.env`."""
    return {item.name.upper(): item.metadata["default"] for item in _items()}


def load_settings(
    env_file: Path | None = None, environ: Mapping[str, str] | None = None, csv: Path | None = None, needed: str = ""
) -> Settings:
    """Return the settings of `env_file` (default: `.env` beside main.py) and of the environment; `csv` is `--csv`.

    Raises SettingsError with every problem found, before anything was connected or written. Who needs one setting
    alone is told the problems of that one and of the file.
    """
    settings, problems = read_settings(env_file, environ, csv)
    if told := [one for one in problems if one.startswith((needed, "line", str(settings.env_file)))]:
        raise SettingsError(told)
    return settings


def read_settings(
    env_file: Path | None = None, environ: Mapping[str, str] | None = None, csv: Path | None = None
) -> tuple[Settings, list[str]]:
    """Like `load_settings`, but returns the problems too; a setting that cannot be used has its default.

    Each problem begins with the name of its setting, or says where in the file it is.
    """
    path = env_file or HOME / ".env"
    given: dict[str, str] = {}
    problems: list[str] = []
    try:
        if env_file or os.path.lexists(path):  # also a link that leads nowhere
            given, problems = read_env_file(path)
    except UnreadableError as error:  # nobody knows what the file says, so nothing is reported as missing
        standard, _ = _parsed({})
        return Settings(**standard, env_file=path), [str(error)]
    names = list(defaults())
    told = "{1}: {0} in {2} is not a setting; did you mean {1}?"
    problems += [told.format(name, meant, path) for name, meant in misspelt(given, names)]
    real = os.environ if environ is None else environ
    given |= {name: real[name] for name in names if name in real}
    given["SYNC_NAME"] = given.get("SYNC_NAME") or sync_name_of(env_file, HOME / ".env") or ""
    values, unusable = _parsed(given)
    metrics = values["metrics_file"]
    if metrics and os.path.isdir(metrics):  # noqa: PTH112 - it never raises
        values["metrics_file"] = metrics / f"iterable_sync_{values['sync_name']}.prom"
    written_out = bool(given.get("EMAIL_COLUMN", "").strip())
    settings = Settings(**values, env_file=path, email_column_is_written_out=written_out)
    missing = [one for one in _missing(settings, path) if one.split()[0] not in unusable]
    return settings, [
        *problems,
        *unusable.values(),
        *missing,
        *_joint_problems(settings, segment_alone=bool(given.get("SEGMENT_FIELD")) and not settings.user_fields),
        *_file_problems(settings),
        *own_file_problems(settings, path, csv),
        *unset_problems(settings.mapping()),
    ]


def _parsed(given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The value of each setting, and the problem of each that cannot be used and has its default."""
    values: dict[str, Any] = {}
    unusable: dict[str, str] = {}
    for item in _items():
        name, default, parse = item.name.upper(), item.metadata["default"], item.metadata["parse"]
        raw = given.get(name, default)
        raw = raw if item.name == "db_password" else raw.strip()  # a password may begin or end with a blank
        try:
            values[item.name] = parse(raw if raw or item.metadata["empty_counts"] else default)
        except ValueError as error:
            unusable[name] = f"{name} {error}"
            values[item.name] = parse(default)
    return values, unusable


def _missing(settings: Settings, env_file: Path) -> Iterator[str]:
    """What has no default and has no value."""
    if not settings.sync_name:
        yield (
            "SYNC_NAME is missing, and the env file's name gives none (orders.env would give orders): set SYNC_NAME, "
            "or rename the file"
        )
    remedy = f"give it in {env_file}" if env_file.exists() else "copy .env.example to .env and fill it in"
    for name in ("db_user", "db_name", "iterable_api_key"):
        if not getattr(settings, name):
            yield f"{name.upper()} is missing; {remedy}"
    if settings.use_jwt_auth and not settings.iterable_jwt_secret:
        yield "ITERABLE_JWT_SECRET is missing, but USE_JWT_AUTH is true; Iterable showed the secret once, with the key"


def _joint_problems(settings: Settings, *, segment_alone: bool) -> Iterator[str]:
    """Settings that exclude or require each other. Bulk takes server-side keys only (API Keys documentation)."""
    if settings.use_jwt_auth and settings.iterable_bulk:
        yield (
            "ITERABLE_BULK (--bulk) cannot be used with USE_JWT_AUTH: a JWT-enabled key is a client-side key, which "
            "may not call users/bulkUpdate and events/trackBulk; use a server-side key or leave bulk off"
        )
    if segment_alone:
        yield "SEGMENT_FIELD needs USER_FIELDS: it is a field of the profile, and no profile would be sent"


def _file_problems(settings: Settings) -> Iterator[str]:
    """Files that cannot be read."""
    if settings.db_ssl_ca and not settings.db_ssl_ca.is_file():
        yield f"DB_SSL_CA: there is no file {settings.db_ssl_ca}"
    try:
        read_text(settings.query_file)
    except UnreadableError as error:
        yield f"QUERY_FILE: {error}"
