"""Settings: from `.env`, the environment (which wins) and the defaults; every problem listed at once.

Each field of `Settings` is one setting of the same name in capitals; `.env.example` and docs/settings.md's
table hold the same names and defaults.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import tzinfo
from pathlib import Path
from typing import Any

from sync.rows.mapping import Field, parse_fields, unset_problems
from sync.rows.mapping import Mapping as FieldMapping
from sync.rows.masking import Masking, masking_of
from sync.run import setting_values as kind
from sync.run.env_file import EnvFile, UnreadableError, misspelt, read_env_file, read_text, sync_name_of
from sync.run.metrics_file import metrics_problems
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
    default: str, parse: Callable[[str], Any] = kind.text, *, secret: bool = False, empty_counts: bool = False
) -> Any:
    """One setting: its default as it would stand in `.env`, and the parser of its text.

    An empty value stands for the default unless `empty_counts`; a `secret` is kept out of everything that is told.
    """
    return field(repr=not secret, metadata={"default": default, "parse": parse, "empty_counts": empty_counts})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One value for each setting; secrets are kept out of the `repr`."""

    sync_name: str = _setting("", kind.short_name)
    db_host: str = _setting("localhost", kind.host)
    db_port: int = _setting("3306", kind.whole(1, 65535))
    db_user: str = _setting("")
    db_password: str = _setting("", kind.password, secret=True)
    db_name: str = _setting("")
    db_socket: Path | None = _setting("", kind.path)
    db_ssl_ca: Path | None = _setting("", kind.path)
    db_timezone: tzinfo = _setting("UTC", kind.zone)
    iterable_api_key: str = _setting("", kind.secret, secret=True)
    iterable_api_base_url: str = _setting("https://api.iterable.com", kind.base_url)
    destination: str = _setting("")
    use_jwt_auth: bool = _setting("false", kind.flag)
    iterable_jwt_secret: str = _setting("", kind.secret, secret=True)
    jwt_lifetime: int = _setting("3600", kind.whole(1, MAX_JWT_LIFETIME))
    jwt_issuer: str = _setting("iterable-integration", empty_counts=True)
    max_retries: int = _setting("3", kind.whole(1, 20))
    initial_backoff: float = _setting("1", kind.number(0, 60))
    backoff_factor: float = _setting("2", kind.number(1, 10))
    request_timeout: float = _setting("30", kind.number(0.1, 600))
    workers: int = _setting("128", kind.whole(1, 512))
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
    csv_dir: Path = _setting("", kind.home_or_folder)
    csv_keep: int = _setting("100", kind.whole(0, 1_000_000))
    state_file: Path = _setting("iterable_sync.sqlite3", kind.file, empty_counts=True)
    metrics_file: Path | None = _setting("", kind.path_or_folder)
    log_level: str = _setting("INFO", kind.one_of("DEBUG", "INFO", "WARNING", "ERROR"))
    log_file: Path = _setting("iterable_integration.log", kind.file, empty_counts=True)
    env_file: Path | None = field(default=None, compare=False)
    """No setting of its own: the file that they were read from."""
    email_column_is_written_out: bool = False
    """No setting of its own: with USER_ID_COLUMN set, that EMAIL_COLUMN is written out asks for the address."""

    def secrets(self) -> dict[str, str]:
        """The values that may appear in no output, each under its setting's name."""
        names = (item.name for item in _items() if not item.repr)
        return {name.upper(): value for name in names if (value := getattr(self, name))}

    @property
    def masking(self) -> Masking:
        """Takes these values out of what others wrote, however short they are."""
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


def _items() -> list[dataclasses.Field[Any]]:
    """The fields that are settings."""
    return [item for item in fields(Settings) if item.metadata]


def defaults() -> dict[str, str]:
    """Every setting's name in capitals with its default, as it would stand in `.env`."""
    return {item.name.upper(): item.metadata["default"] for item in _items()}


def load_settings(
    env_file: Path | None = None, environ: Mapping[str, str] | None = None, csv: Path | None = None
) -> Settings:
    """Return the settings of `env_file` (default: `.env` beside main.py) and of the environment; `csv` is `--csv`.

    Raises SettingsError with every problem found, before anything was connected or written.
    """
    settings, problems = read_settings(env_file, environ, csv)
    if problems:
        raise SettingsError(problems)
    return settings


def load_state_file(env_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """STATE_FILE alone, for whom no other setting matters; raises SettingsError for it and for the file's faults."""
    given, problems = _given(env_file, environ, {"STATE_FILE"})
    values, unusable = _parse(given, [item for item in _items() if item.name == "state_file"])
    if problems := [*problems, *unusable.values()]:
        raise SettingsError(problems)
    path: Path = values["state_file"]
    return path


def read_settings(
    env_file: Path | None = None, environ: Mapping[str, str] | None = None, csv: Path | None = None
) -> tuple[Settings, tuple[str, ...]]:
    """As `load_settings`, with the problems beside the settings; one that cannot be used has its default."""
    path = env_file or HOME / ".env"
    standard, _ = _parse({}, _items())
    try:
        given, problems = _given(env_file, environ, defaults())
    except SettingsError as error:  # what the file would have said is not known, so nothing is missing
        return Settings(**standard), error.problems
    values, unusable = _parse(given, _items())
    written_out = bool(given.get("EMAIL_COLUMN", "").strip())
    settings = Settings(**{**standard, **values}, env_file=path, email_column_is_written_out=written_out)
    segment_alone = bool(given.get("SEGMENT_FIELD")) and not settings.user_fields
    swallowed = any("opens a quote" in problem for problem in problems)
    return settings, (
        *problems,
        *unusable.values(),
        *(() if swallowed else _missing(settings, unusable, path)),
        *_joint_problems(settings, segment_alone=segment_alone),
        *_file_problems(settings),
        *own_file_problems(settings, path, csv),
        *unset_problems(settings.mapping()),
    )


def _given(
    env_file: Path | None, environ: Mapping[str, str] | None, meant: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """What the file says, and the environment, which wins; a name that was *meant* to be a setting is a problem.

    The file also names the sync, unless that is said. Raises SettingsError when the file cannot be read, as a link that
    leads nowhere.
    """
    standard_file = HOME / ".env"
    path = env_file or standard_file
    try:
        in_file = read_env_file(path) if env_file or os.path.lexists(path) else EnvFile({}, [])
    except UnreadableError as error:
        raise SettingsError([str(error)]) from error
    settings = list(defaults())
    misspelled = (
        f"{name} in {path} is no setting; {setting} is probably meant"
        for name, setting in misspelt(in_file.values, settings)
        if setting in meant
    )
    real = os.environ if environ is None else environ
    given = in_file.values | {name: real[name] for name in settings if name in real and name in meant}
    given["SYNC_NAME"] = given.get("SYNC_NAME") or sync_name_of(env_file, standard_file) or ""
    return given, [*in_file.problems, *misspelled]


def _parse(given: Mapping[str, str], items: Iterable[dataclasses.Field[Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """The value of each setting that can be parsed, and the problem of each that cannot."""
    values: dict[str, Any] = {}
    unusable: dict[str, str] = {}
    for item in items:
        name, default, parse = item.name.upper(), item.metadata["default"], item.metadata["parse"]
        raw = given.get(name, default)
        raw = raw if parse is kind.password else raw.strip()
        try:
            values[item.name] = parse(raw if raw or item.metadata["empty_counts"] else default)
        except ValueError as error:
            unusable[item.name] = f"{name} {error}"
    return values, unusable


def _missing(settings: Settings, unusable: Collection[str], env_file: Path) -> Iterator[str]:
    """What has no default and was not given; what was given and cannot be used has been said."""
    if not settings.sync_name and "sync_name" not in unusable:
        yield (
            "SYNC_NAME is missing, and the env file is not named for its sync, as orders.env is: say which sync it "
            "describes, for all that the state knows belongs to that name"
        )
    remedy = f"give it in {env_file}" if env_file.exists() else "copy .env.example to .env and fill it in"
    for name in ("db_user", "db_name", "iterable_api_key"):
        if not getattr(settings, name) and name not in unusable:
            yield f"{name.upper()} is missing; {remedy}"
    if settings.use_jwt_auth and not settings.iterable_jwt_secret and "iterable_jwt_secret" not in unusable:
        yield "USE_JWT_AUTH is true and ITERABLE_JWT_SECRET is missing; it was shown once, with the key"


def _joint_problems(settings: Settings, *, segment_alone: bool) -> Iterator[str]:
    """Settings that exclude or need each other. Bulk takes server-side keys only (API Keys documentation)."""
    if settings.use_jwt_auth and settings.iterable_bulk:
        yield (
            "ITERABLE_BULK (--bulk) cannot go with USE_JWT_AUTH: a JWT-enabled key is a client-side key, and those "
            "may not call users/bulkUpdate and events/trackBulk; use a server-side key or leave bulk off"
        )
    if segment_alone:
        yield "SEGMENT_FIELD needs USER_FIELDS: it is a field of the profile, and no profile would be sent"


def _file_problems(settings: Settings) -> Iterator[str]:
    """Files that cannot be read, and a metrics file that cannot be written."""
    if settings.db_ssl_ca and not settings.db_ssl_ca.is_file():
        yield f"DB_SSL_CA: there is no file {settings.db_ssl_ca}"
    try:
        read_text(settings.query_file)
    except UnreadableError as error:
        yield f"QUERY_FILE: {error}"
    if settings.metrics_file:
        yield from metrics_problems(settings.metrics_file, settings.sync_name)
