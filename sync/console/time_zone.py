"""What DB_TIMEZONE means now, for who took it for another zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_WITHOUT_SUMMER_TIME: Final = {
    "EST": "America/New_York",
    "MST": "America/Denver",
    "HST": "America/Adak",
    "GMT": "Europe/London",
    "Greenwich": "Europe/London",
}
"""Names of winter time that stay in it, each with a place whose clock goes forward in summer."""

_WITH_SUMMER_TIME: Final = {"WET": "UTC", "CET": "Etc/GMT-1", "MET": "Etc/GMT-1", "EET": "Etc/GMT-2"}
"""Names of winter time that do not stay in it, each with the zone that does."""


def meaning(zone: tzinfo, now: datetime) -> tuple[str, str]:
    """What the zone means at *now*, an aware time, and in the year after it; and what people take its name for.

    The second sentence is empty for a name that says what it is.
    """
    year = (now.astimezone(UTC) + timedelta(days=day) for day in range(366))
    current, *others = dict.fromkeys(_offset(zone, moment) for moment in year)
    if others:
        offsets = f"{current} now, and {' or '.join(others)} in another part of the year: it has summer time"
    else:
        offsets = f"{current} now and all year: it has no summer time"
    return f"{zone} is {offsets}", _surprise(str(zone).removeprefix("Etc/"))


def _offset(zone: tzinfo, moment: datetime) -> str:
    """Such as UTC+05:30."""
    return f"UTC{moment.astimezone(zone).isoformat()[-6:]}"


def _surprise(name: str) -> str:
    if re.fullmatch(r"GMT[+-][1-9]\d?", name):
        return "the sign in such a name is turned round: Etc/GMT+2 is two hours behind UTC, Etc/GMT-2 two hours ahead"
    if place := _WITHOUT_SUMMER_TIME.get(name):
        return f"for a clock that goes forward in summer name the place, such as {place}"
    if fixed := _WITH_SUMMER_TIME.get(name):
        return f"for a clock that stays in winter time all year say {fixed}"
    return ""
