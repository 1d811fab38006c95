"""The machine's clock, on which the log, the history and the names of exports tell the time; the state keeps UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_offset() -> str:
    """How far the machine's clock is from UTC now, such as `+05:30`."""
    offset = datetime.now().astimezone().strftime("%z")
    return f"{offset[:3]}:{offset[3:5]}"


def on_this_clock(in_utc: str) -> str:
    """A moment of the state, `YYYY-MM-DD HH:MM:SS` in UTC, as the log of this machine has it."""
    return f"{datetime.fromisoformat(in_utc).replace(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S}"
