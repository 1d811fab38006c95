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
from sync.run.setting_values import EMPTY_MEANS_NONE, HOME

MAX_JWT_LIFETIME = 31_536_000
"""One year in seconds: "exp must be less than 1 year from iat" (Iterable's JWT documentation)."""


class SettingsError(Exception):
    """Settings that cannot be used; `problems` holds one sentence for each of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def _setting(default: str, parse: Callable[[str], Any] = kind.text, *, secret: bool = False) -> Any:
    return field(repr=not secret, metadata={"default": default, "parse": parse})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One value for each setting; secrets are kept out of the `repr`."""

    sync_name: str = _setting("", kind.sync_name)
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
    jwt_issuer: str = _setting("iterable-integration")
    max_retries: int = _setting("3", kind.whole(1, 20))
    initial_backoff: float = _setting("1", kind.seconds(0, 60))
    backoff_factor: float = _setting("2", kind.seconds(1, 10))
    request_timeout: float = _setting("30", kind.seconds(0.1, 600))
    workers: int = _setting("128", kind.whole(1, 512))
    users_per_second: float = _setting("500", kind.seconds(0.1, 100_000))
    events_per_second: float = _setting("2000", kind.seconds(0.1, 100_000))
    iterable_bulk: bool = _setting("false", kind.flag)
    query_file: Path = _setting("query.sql", kind.file)
    query_timeout: float = _setting("3600", kind.seconds(0, 604_800))
    lookback_days: float = _setting("7", kind.seconds(0.001, 36_500))
    email_column: str = _setting("email")
    user_id_column: str = _setting("")
    identify_by: str = _setting("", kind.name_of_user)
    move_settle_seconds: float = _setting("60", kind.seconds(0, 3600))
    user_fields: tuple[Field, ...] = _setting("first_name,last_name,plan_type,candidate", parse_fields)
    segment_field: str = _setting("recent_page_view", kind.field_name)
    null_means: str = _setting("clear", kind.meaning_of_null)
    event_name: str = _setting("page_view")
    event_fields: tuple[Field, ...] = _setting("page,device,browser,location,candidate,event_time", parse_fields)
    event_time_column: str = _setting("event_time")
    event_key: tuple[str, ...] = _setting("event_time,page", kind.names)
    csv_dir: Path = _setting("", kind.home_or_folder)
    csv_keep: int = _setting("100", kind.whole(0, 1_000_000))
    state_file: Path = _setting("iterable_sync.sqlite3", kind.file)
    metrics_file: Path | None = _setting("", kind.path_or_folder)
    log_level: str = _setting("INFO", kind.level)
    log_file: Path = _setting("iterable_integration.log", kind.file)
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
    problems: list[str] = []
    given = _given(env_file, environ, {"STATE_FILE"}, problems)
    (item,) = (item for item in _items() if item.name == "state_file")
    values, unusable = _parse(given, [item])
    problems += unusable.values()
    if problems:
        raise SettingsError(problems)
    path: Path = values["state_file"]
    return path


def read_settings(
    env_file: Path | None = None, environ: Mapping[str, str] | None = None, csv: Path | None = None
) -> tuple[Settings, tuple[str, ...]]:
    """As `load_settings`, with the problems beside the settings; one that cannot be used has its default."""
    problems: list[str] = []
    standard, _ = _parse({}, _items())
    try:
        given = _given(env_file, environ, defaults(), problems)
    except SettingsError as error:  # what the file would have said is not known, so nothing is missing
        return Settings(**standard), error.problems
    values, unusable = _parse(given, _items())
    written_out = bool(given.get("EMAIL_COLUMN", "").strip())
    settings = Settings(
        **{**standard, **values}, env_file=env_file or HOME / ".env", email_column_is_written_out=written_out
    )
    problems += unusable.values()
    problems += _missing(settings, unusable, env_file)
    problems += _joint_problems(settings)
    problems += _file_problems(settings)
    problems += own_file_problems(settings, env_file or HOME / ".env", csv)
    problems += unset_problems(settings.mapping())
    if not settings.user_fields and given.get("SEGMENT_FIELD", ""):
        problems.append("SEGMENT_FIELD needs USER_FIELDS: it is a field of the profile, and no profile would be sent")
    return settings, tuple(problems)


def _given(
    env_file: Path | None, environ: Mapping[str, str] | None, meant: Collection[str], problems: list[str]
) -> dict[str, str]:
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
    problems += in_file.problems
    settings = list(defaults())
    problems += (
        f"{name} in {path} is no setting; {setting} is probably meant"
        for name, setting in misspelt(in_file.values, settings)
        if setting in meant
    )
    real = os.environ if environ is None else environ
    given = in_file.values | {name: real[name] for name in settings if name in real and name in meant}
    return given if given.get("SYNC_NAME") else given | {"SYNC_NAME": sync_name_of(env_file, standard_file) or ""}


def _parse(given: Mapping[str, str], items: Iterable[dataclasses.Field[Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """The value of each setting that can be parsed, and the problem of each that cannot.

    One that is given empty takes its default where empty means nothing.
    """
    values: dict[str, Any] = {}
    unusable: dict[str, str] = {}
    for item in items:
        name, default = item.name.upper(), item.metadata["default"]
        raw = given.get(name, default).strip()
        if item.name == "db_password":
            raw = given.get(name, default)
        if not raw and item.metadata["parse"] not in EMPTY_MEANS_NONE:
            raw = default
        try:
            values[item.name] = item.metadata["parse"](raw)
        except ValueError as error:
            unusable[item.name] = f"{name} {error}"
    return values, unusable


def _missing(settings: Settings, unusable: Collection[str], env_file: Path | None) -> Iterator[str]:
    """What has no default and was not given; what was given and cannot be used has been said."""
    if not settings.sync_name and "sync_name" not in unusable:
        yield (
            "SYNC_NAME is missing, and the env file is not named for its sync, as orders.env is: say which sync it "
            "describes, for all that the state knows belongs to that name"
        )
    path = env_file or HOME / ".env"
    remedy = f"give it in {path}" if path.exists() else "copy .env.example to .env and fill it in"
    for name in ("db_user", "db_name", "iterable_api_key"):
        if not getattr(settings, name) and name not in unusable:
            yield f"{name.upper()} is missing; {remedy}"
    if settings.use_jwt_auth and not settings.iterable_jwt_secret and "iterable_jwt_secret" not in unusable:
        yield "USE_JWT_AUTH is true and ITERABLE_JWT_SECRET is missing; it was shown once, with the key"


def _joint_problems(settings: Settings) -> Iterator[str]:
    """Settings that exclude each other. Bulk takes server-side keys only (API Keys documentation)."""
    if settings.use_jwt_auth and settings.iterable_bulk:
        yield (
            "ITERABLE_BULK (--bulk) cannot go with USE_JWT_AUTH: a JWT-enabled key is a client-side key, and those "
            "may not call users/bulkUpdate and events/trackBulk; use a server-side key or leave bulk off"
        )


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
