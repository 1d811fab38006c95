"""Settings: from `.env`, the environment (which wins) and the defaults; every problem listed at once.

Each field of `Settings` is one setting of the same name in capitals; `.env.example` and the README's
table hold the same names and defaults.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sync.api.endpoints import LOOPBACK
from sync.rows.mapping import Field, parse_fields, unset_problems
from sync.rows.mapping import Mapping as FieldMapping
from sync.run.env_file import SYNC_NAME, misspelt, read_env_file, sync_name_of

HOME = Path(__file__).resolve().parents[2]
"""The folder of main.py. Relative paths in settings count from here, because cron starts elsewhere."""

MAX_JWT_LIFETIME = 31_536_000
"""One year in seconds: "exp must be less than 1 year from iat" (Iterable's JWT documentation)."""


class SettingsError(Exception):
    """Settings that cannot be used; `problems` holds one sentence for each of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def _text(value: str) -> str:
    return value


def _secret(value: str) -> str:
    if not value.isascii() or any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("holds white space or characters that no key has; copy it again")
    return value


def _flag(value: str) -> bool:
    word = value.strip().lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off", ""}:
        return False
    raise ValueError(f"is {value!r}; say true or false")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"is {value!r}; a whole number is wanted") from None
        if not low <= number <= high:
            raise ValueError(f"is {number}; it goes from {low} to {high}")
        return number

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"is {value!r}; a number is wanted") from None
        if not low <= number <= high:  # nan neither
            raise ValueError(f"is {value}; it goes from {low:g} to {high:g}")
        return number

    return parse


def _path(value: str) -> Path | None:
    try:
        return HOME / Path(value).expanduser() if value else None
    except RuntimeError:
        raise ValueError(f"is {value!r}; there is no such home directory") from None


def _zone(value: str) -> tzinfo:
    if value.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"is {value!r}; a name such as UTC or Europe/Berlin is wanted") from None


def _level(value: str) -> str:
    if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError(f"is {value!r}; say DEBUG, INFO, WARNING or ERROR")
    return value.upper()


_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?")


def _base_url(value: str) -> str:
    """Scheme and host alone, in lower case: the state of DESTINATION's default hangs on this text."""
    if "@" in value:
        raise ValueError("holds a user or a password; it takes a scheme and a host only")
    try:
        parts = urlsplit(value.lower())
        known = parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.netloc) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"is {value!r}; an address such as https://api.iterable.com is wanted")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("would send the key and the data unencrypted; use https")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("takes a scheme and a host only; the program adds /api/...")
    return f"{parts.scheme}://{parts.netloc}"


def _sync_name(value: str) -> str:
    if value and not SYNC_NAME.fullmatch(value):
        raise ValueError(f"is {value!r}; at most 64 letters, digits, dots, underscores and hyphens are wanted")
    return value


def _field_name(value: str) -> str:
    if value and not re.fullmatch(r"[^\s.,#_][^.,#]*", value):
        raise ValueError(f"is {value!r}; a field name without dots, commas and # is wanted")
    return value


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


EMPTY_MEANS_NONE: tuple[Callable[[str], Any], ...] = (
    _text,
    _secret,
    _sync_name,
    _names,
    _path,
    _field_name,
    parse_fields,
)
"""Parsers to which an empty value says something; for the others it stands for the default."""


def _setting(default: str, parse: Callable[[str], Any] = _text, *, secret: bool = False) -> Any:
    return field(repr=not secret, metadata={"default": default, "parse": parse})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One value for each setting; secrets are kept out of the `repr`."""

    sync_name: str = _setting("", _sync_name)
    db_host: str = _setting("localhost")
    db_port: int = _setting("3306", _whole(1, 65535))
    db_user: str = _setting("")
    db_password: str = _setting("", secret=True)
    db_name: str = _setting("")
    db_socket: Path | None = _setting("", _path)
    db_ssl_ca: Path | None = _setting("", _path)
    db_timezone: tzinfo = _setting("UTC", _zone)
    iterable_api_key: str = _setting("", _secret, secret=True)
    iterable_api_base_url: str = _setting("https://api.iterable.com", _base_url)
    destination: str = _setting("")
    use_jwt_auth: bool = _setting("false", _flag)
    iterable_jwt_secret: str = _setting("", _secret, secret=True)
    jwt_lifetime: int = _setting("3600", _whole(1, MAX_JWT_LIFETIME))
    jwt_issuer: str = _setting("iterable-integration")
    max_retries: int = _setting("3", _whole(1, 20))
    initial_backoff: float = _setting("1", _seconds(0, 60))
    backoff_factor: float = _setting("2", _seconds(1, 10))
    request_timeout: float = _setting("30", _seconds(0.1, 600))
    workers: int = _setting("128", _whole(1, 512))
    users_per_second: float = _setting("500", _seconds(0.1, 100_000))
    events_per_second: float = _setting("2000", _seconds(0.1, 100_000))
    iterable_bulk: bool = _setting("false", _flag)
    query_file: Path = _setting("query.sql", _path)
    lookback_days: float = _setting("7", _seconds(0.001, 36_500))
    email_column: str = _setting("email")
    user_id_column: str = _setting("")
    user_fields: tuple[Field, ...] = _setting("first_name,last_name,plan_type,candidate", parse_fields)
    segment_field: str = _setting("recent_page_view", _field_name)
    event_name: str = _setting("page_view")
    event_fields: tuple[Field, ...] = _setting("page,device,browser,location,candidate,event_time", parse_fields)
    event_time_column: str = _setting("event_time")
    event_key: tuple[str, ...] = _setting("event_time,page", _names)
    csv_dir: Path | None = _setting("", _path)
    csv_keep: int = _setting("100", _whole(0, 1_000_000))
    state_file: Path = _setting("iterable_sync.sqlite3", _path)
    log_level: str = _setting("INFO", _level)
    log_file: Path = _setting("iterable_integration.log", _path)

    def secrets(self) -> dict[str, str]:
        """The values that may appear in no output, each under its setting's name."""
        names = (item.name for item in fields(self) if not item.repr)
        return {name.upper(): value for name in names if (value := getattr(self, name))}

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
        )


def defaults() -> dict[str, str]:
    """Every setting's name in capitals with its default, as it would stand in `.env`."""
    return {item.name.upper(): item.metadata["default"] for item in fields(Settings)}


def load_settings(env_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of `env_file` (default: `.env` beside main.py) and of the environment.

    Raises SettingsError with every problem found, before anything was connected or written.
    """
    settings, problems = read_settings(env_file, environ)
    if problems:
        raise SettingsError(problems)
    return settings


def load_state_file(env_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """STATE_FILE alone, for whom no other setting matters; raises SettingsError for it and for the file's faults."""
    problems: list[str] = []
    given = _given(env_file, environ, {"STATE_FILE"}, problems)
    (item,) = (item for item in fields(Settings) if item.name == "state_file")
    values, unusable = _parse(given, [item])
    problems += unusable.values()
    path: Path | None = values.get("state_file")
    if path is None and not unusable:
        problems.append(_NO_NAME.format("STATE_FILE"))
    if path is None or problems:
        raise SettingsError(problems)
    return path


def read_settings(
    env_file: Path | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Settings, tuple[str, ...]]:
    """As `load_settings`, with the problems beside the settings; one that cannot be used has its default."""
    problems: list[str] = []
    given = _given(env_file, environ, defaults(), problems)
    values, unusable = _parse(given, fields(Settings))
    standard, _ = _parse({}, fields(Settings))
    settings = Settings(**{**standard, **values})
    problems += unusable.values()
    problems += _missing(settings, unusable)
    problems += _joint_problems(settings)
    problems += _file_problems(settings)
    problems += unset_problems(settings.mapping())
    if not settings.user_fields and given.get("SEGMENT_FIELD", ""):
        problems.append("SEGMENT_FIELD needs USER_FIELDS: it is a field of the profile, and no profile would be sent")
    return settings, tuple(problems)


def _given(
    env_file: Path | None, environ: Mapping[str, str] | None, meant: Collection[str], problems: list[str]
) -> dict[str, str]:
    """What the file says, and the environment, which wins; a name that was *meant* to be a setting is a problem.

    The file also names the sync, unless that is said.
    """
    standard_file = HOME / ".env"
    path = env_file or standard_file
    in_file = read_env_file(path, problems) if env_file or path.exists() else {}
    settings = list(defaults())
    problems += (
        f"{name} in {path} is no setting; {setting} is probably meant"
        for name, setting in misspelt(in_file, settings)
        if setting in meant
    )
    real = os.environ if environ is None else environ
    given = in_file | {name: real[name] for name in settings if name in real}
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


def _missing(settings: Settings, unusable: Collection[str]) -> Iterator[str]:
    """What has no default and was not given; what was given and cannot be used has been said."""
    if not settings.sync_name and "sync_name" not in unusable:
        yield (
            "SYNC_NAME is missing, and the env file is not named for its sync, as orders.env is: say which sync it "
            "describes, for all that the state knows belongs to that name"
        )
    for name in ("db_user", "db_name", "iterable_api_key"):
        if not getattr(settings, name) and name not in unusable:
            yield f"{name.upper()} is missing; copy .env.example to .env and fill it in"
    if settings.use_jwt_auth and not settings.iterable_jwt_secret and "iterable_jwt_secret" not in unusable:
        yield "USE_JWT_AUTH is true and ITERABLE_JWT_SECRET is missing; it was shown once, with the key"


def _joint_problems(settings: Settings) -> Iterator[str]:
    """Settings that exclude each other. Bulk takes server-side keys only (API Keys documentation)."""
    if settings.use_jwt_auth and settings.iterable_bulk:
        yield (
            "ITERABLE_BULK (--bulk) cannot go with USE_JWT_AUTH: a JWT-enabled key is a client-side key, and those "
            "may not call users/bulkUpdate and events/trackBulk; use a server-side key or leave bulk off"
        )


_NO_NAME = "{} is empty; a file name is wanted"


def _file_problems(settings: Settings) -> Iterator[str]:
    """Files without a name, and files to read that are not there."""
    for name in ("query_file", "state_file", "log_file"):
        if getattr(settings, name) is None:
            yield _NO_NAME.format(name.upper())
    for name in ("query_file", "db_ssl_ca"):
        path: Path | None = getattr(settings, name)
        if path and not path.is_file():
            yield f"{name.upper()}: there is no file {path}"
