"""What DB_TIMEZONE means now, as `--check` says it."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from sync.console.check import meaning, mistaken_for
from tests.console.desk import Desk

WINTER, SUMMER = datetime(2026, 1, 6, 12, tzinfo=UTC), datetime(2026, 7, 6, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "winter", "summer"),
    [
        ("Europe/Berlin", "UTC+01:00", "UTC+02:00"),
        ("America/New_York", "UTC-05:00", "UTC-04:00"),
        ("Australia/Lord_Howe", "UTC+11:00", "UTC+10:30"),
        ("Europe/Dublin", "UTC+00:00", "UTC+01:00"),
        ("Africa/Casablanca", "UTC+01:00", "UTC+01:00"),
    ],
)
def test_zone_with_summer_time(name: str, winter: str, summer: str) -> None:
    """The offset of this moment, and the other one of the year, however short its time is (a month in Morocco)."""
    for now, offset in ((WINTER, winter), (SUMMER, summer)):
        told = meaning(ZoneInfo(name), now)
        other = ({winter, summer} - {offset} or {"UTC+00:00"}).pop()

        assert told == f"{name} is {offset} now, and {other} in another part of the year: it has summer time"


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("Asia/Kolkata", "UTC+05:30"),
        ("America/Phoenix", "UTC-07:00"),
        ("Asia/Kathmandu", "UTC+05:45"),
        ("Etc/UTC", "UTC+00:00"),
        ("Etc/GMT+2", "UTC-02:00"),
    ],
)
def test_zone_without(name: str, offset: str) -> None:
    """One offset all year is told as that."""
    for now in (WINTER, SUMMER):
        assert meaning(ZoneInfo(name), now) == f"{name} is {offset} now and all year: it has no summer time"


def test_utc() -> None:
    """The default is told, too."""
    assert meaning(UTC, SUMMER) == "UTC is UTC+00:00 now and all year: it has no summer time"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Etc/GMT+2", "the sign in such a name is reversed"),
        ("GMT-5", "the sign in such a name is reversed"),
        ("EST", "EST is an abbreviation"),
        ("CET", "CET is an abbreviation"),
        ("UTC", ""),
        ("Etc/UTC", ""),
        ("Europe/Berlin", ""),
        ("Japan", ""),
    ],
)
def test_names_that_are_mistaken(name: str, told: str) -> None:
    """A name that people take for another zone has a note; one that says what it is has none."""
    assert mistaken_for(name).startswith(told)
    assert bool(mistaken_for(name)) == bool(told)


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [("", ["ok"]), ("utc", ["ok"]), ("Europe/Berlin", ["ok"]), ("Etc/GMT+2", ["ok", "note"]), ("Mars", [])],
)
def test_check_tells_it(desk: Desk, name: str, verdicts: list[str]) -> None:
    """The zone is one line, with a note where people mistake it, and nothing when the setting itself is wrong."""
    desk.world.environ["DB_TIMEZONE"] = name
    wrong = desk.check()

    told = [(how, sentence) for how, what, sentence in desk.findings if what == "time zone"]
    assert [how for how, _ in told] == verdicts
    assert bool(wrong) == (name == "Mars")
    assert all(sentence.startswith(name or "UTC") or name == "utc" for how, sentence in told if how == "ok")
