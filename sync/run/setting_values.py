"""How the text of a setting or option becomes its value: each function raises with what is wanted instead."""

from __future__ import annotations

import os
import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sync.api.network import is_readable_on_the_way
from sync.run.env_file import SYNC_NAME

HOME = Path(__file__).resolve().parents[2]
"""The folder of main.py. Relative paths in settings count from here, because cron starts elsewhere."""


def secret(value: str) -> str:
    """A key or secret, which has no white space."""
    if not value.isascii() or any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("contains white space or characters that a key never has; copy it again")
    return value


def flag(value: str) -> bool:
    """True or false."""
    word = value.lower()
    if word not in {"true", "1", "yes", "on", "false", "0", "no", "off"}:
        raise ValueError(f"is {value!r}; it must be true or false")
    return word in {"true", "1", "yes", "on"}


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words, however it is written; empty: none of them."""

    def parse(value: str) -> str:
        found = next((word for word in words if word.lower() == value.lower()), None)
        if value and found is None:
            raise ValueError(f"is {value!r}; it must be {', '.join(words[:-1])} or {words[-1]}")
        return found or ""

    return parse


def number(low: float, high: float, kind: type[int] | type[float] = float) -> Callable[[str], float]:
    """A number from `low` to `high`."""

    def parse(value: str) -> float:
        try:
            found = kind(value)
        except ValueError:
            wanted = "it must be a whole number" if kind is int else "it must be a number"
            raise ValueError(f"is {value!r}; {wanted}") from None
        if not low <= found <= high:  # nan neither
            raise ValueError(f"is {value}; it must be from {low} to {high}")
        return found

    return parse


def path(value: str) -> Path | None:
    """A file; relative paths count from HOME; empty: none."""
    if not value:
        return None
    try:
        found = HOME / Path(value).expanduser()
        found.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # whoever needs it there says so
        pass
    except (OSError, RuntimeError) as error:
        raise ValueError(f"is {value[:40]!r}; {getattr(error, 'strerror', None) or error}") from error
    return found


def path_or_folder(value: str) -> Path | None:
    """Like `path`, or an existing folder, which may be written with a slash at its end."""
    found = path(value)
    if found and value.endswith("/") and not os.path.isdir(found):  # noqa: PTH112 - it never raises
        raise ValueError(f"is {value!r}; there is no such folder, or it may not be entered")
    return found


def file(value: str) -> Path:
    """A file; its name must not be empty."""
    found = path(value)
    if found is None or not found.name:
        raise ValueError(f"is {value!r}; it must be a file name")
    return found


def zone(value: str) -> tzinfo:
    """A time zone by its name."""
    if value.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"is {value!r}; it must be a name such as UTC or Europe/Berlin") from None


_USUAL_PORTS = {"http": ":80", "https": ":443"}
_ADDRESS = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[\w.-]+)(:\d{1,5})?[/?#]*")


def base_url(value: str) -> str:
    """Scheme and host alone, in one spelling: the state identifies a project by this text and the key."""
    found = _ADDRESS.fullmatch(value.lower())
    if found is None or (found[3] and not 0 < int(found[3][1:]) < 65536):
        raise ValueError("takes a scheme and a host only, such as https://api.iterable.com; the program adds /api/...")
    if is_readable_on_the_way(value):
        raise ValueError("would send the key and the data unencrypted; use https")
    scheme, host, port = found.groups("")
    return f"{scheme}://{host}{port.removesuffix(_USUAL_PORTS[scheme])}"


def short_name(value: str) -> str:
    """A name that may be part of a file name."""
    if value and not SYNC_NAME.fullmatch(value):
        raise ValueError(f"is {value!r}; it must be at most 64 letters, digits, dots, underscores and hyphens")
    return value


def field_name(value: str) -> str:
    """The name of one profile field."""
    if value and not re.fullmatch(r"[^\s.,#_][^.,#]*", value):
        raise ValueError(f"is {value!r}; it must be a field name without dots, commas and #")
    return value


def names(value: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in value.split(",") if name.strip())


# -- values of options -------------------------------------------------------------------------------------------

EVERYBODY = 2**62
"""What `all` means: more users than there can be."""


def positive(text: str) -> int:
    """A whole number from 1."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999999")
    return int(text)


def positive_or_all(text: str) -> int:
    """A whole number from 1, or everybody."""
    try:
        return EVERYBODY if text == "all" else positive(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}, or all") from None


def since(text: str) -> datetime | timedelta:
    """A day or moment without a zone (it is in DB_TIMEZONE), or a length of time before now."""
    if match := re.fullmatch(r"([0-9]{1,5})([dhm])", text):
        return timedelta(**{{"d": "days", "h": "hours", "m": "minutes"}[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    if not 1000 <= moment.year <= 9998:  # what a DATETIME holds, in every time zone
        raise ArgumentTypeError(f"{text!r} is neither a date such as 2026-01-06 nor a length such as 7d")
    return moment
