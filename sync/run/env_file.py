"""The env file: its assignments, taken as they are, and the name of the sync that it describes."""

from __future__ import annotations

import os
import re
from pathlib import Path

DEFAULT_SYNC = "default"
SYNC_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def sync_name_of(env_file: Path | None, standard: Path) -> str | None:
    """The name that the file gives its sync: `orders` for `orders.env` and `.env.orders`; None when it has to be said.

    `standard` is the file that is read unless another is named; it and no file at all describe the default sync.
    """
    if env_file is None or env_file == Path(os.devnull) or env_file.absolute() == standard:
        return DEFAULT_SYNC
    name = env_file.name
    found = name.removeprefix(".env.") if name.startswith(".env.") else name.removesuffix(".env")
    return found if found not in {"", name} and SYNC_NAME.fullmatch(found) else None


def read_env_file(path: Path, problems: list[str]) -> dict[str, str]:
    """The assignments of the file: no `$` expansion. It is read once, so it may be a pipe; problems are appended."""
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path} cannot be read: {error}")
        return {}
    given: dict[str, str] = {}
    for binding in bindings:
        text = binding.original.string
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error or (binding.key and binding.value is None):
            problems.append(f"line {line} of {path} is not NAME=value")
        elif "\n" in text.strip():
            problems.append(f"line {line} of {path} opens a quote that ends on another line")
        elif binding.key:
            given[binding.key] = binding.value or ""
    return given
