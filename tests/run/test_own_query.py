"""docs/query.md's example of another schema, word for word, on a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from db import connect
from sync.run import connections
from sync.run.exit_codes import ExitCode
from tests.harness import PROJECT, World
from tests.mariadb import Server
from tests.process import params_environ

pytestmark = pytest.mark.database

TABLES = """
CREATE TABLE buyers (id INT UNSIGNED PRIMARY KEY, full_name VARCHAR(100), town VARCHAR(100), preferences JSON);
CREATE TABLE orders (
    number VARCHAR(20) PRIMARY KEY, buyer_id INT UNSIGNED NOT NULL, total DECIMAL(10, 2), placed_at DATETIME
);
INSERT INTO buyers VALUES
    (7, 'Ada Park', 'Köln', '{"newsletter": true, "sizes": {"shoe": 40}, "brands": ["Ö", "b"]}'),
    (8, 'Ben Ruiz', NULL, '{}'),
    (9, 'Long Gone', 'Bonn', '{}');
INSERT INTO orders VALUES
    ('A-1', 7, 19.90, '2026-01-06 10:00:00'),
    ('A-2', 7, 5.00, '2026-07-06 10:00:00'),
    ('A-3', 8, NULL, '2026-10-25 02:30:00'),
    ('A-0', 9, 1.00, '2025-12-31 23:59:59');
"""


def block(language: str) -> str:
    """A fenced block of that page, as it stands there."""
    section = (PROJECT / "docs/query.md").read_text("utf-8")
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert isinstance(found, str)
    return found


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mariadb: Server) -> World:
    """An installation with that page's settings on a shop's database."""
    environ = dict(line.split("=", 1) for line in block("ini").splitlines())
    query = tmp_path / environ["QUERY_FILE"]
    query.write_text(block("sql"), encoding="utf-8")
    database = params_environ(mariadb.database(TABLES))
    world = World(tmp_path, monkeypatch, **{**environ, **database, "QUERY_FILE": str(query), "WORKERS": "1"})
    monkeypatch.setattr(connections, "connect", connect)
    return world


def run(world: World, **environ: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The requests of a run over the orders of 2026: endpoint and body."""
    world.environ |= environ
    assert world.main("--since", "2026-01-01") == ExitCode.DONE, world.log()
    assert not world.iterable.project.warnings
    return [(request.path.removeprefix("/api/"), request.json()) for request in world.iterable.requests]


def utc(*moment: int) -> int:
    """A moment as Unix seconds."""
    return int(datetime(*moment, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


def test_the_file_name_is_the_one_of_the_block() -> None:
    """The settings name the file that the block's first line names."""
    assert f"QUERY_FILE={block('sql').splitlines()[0].removeprefix('-- ')}" in block("ini").splitlines()


def test_profiles(shop: World) -> None:
    """User ids, renamed and nested fields, the JSON column as an object, NULL as null, the segment field; one
    profile for a buyer with two orders."""
    profiles = [body for endpoint, body in run(shop) if endpoint == "users/update"]
    by_id = {"preferUserId": True, "mergeNestedObjects": True}

    assert profiles == [
        {
            "userId": "8",
            **by_id,
            "dataFields": {
                "name": "Ben Ruiz",
                "address": {"city": None},
                "preferences": {},
                "ordered_lately": True,
            },
        },
        {
            "userId": "7",
            **by_id,
            "dataFields": {
                "name": "Ada Park",
                "address": {"city": "Köln"},
                "preferences": {"newsletter": True, "sizes": {"shoe": 40}, "brands": ["Ö", "b"]},
                "ordered_lately": True,
            },
        },
    ]


def test_events(shop: World) -> None:
    """Every order is an event, each buyer's oldest first; DECIMAL is a number; the clock of Berlin becomes UTC, in
    winter, in summer, and in the hour that occurs twice the earlier one."""
    events = [body for endpoint, body in run(shop) if endpoint == "events/track"]

    assert [(body["userId"], body["dataFields"], body["createdAt"]) for body in events] == [
        ("8", {"number": "A-3", "amount": None}, utc(2026, 10, 25, 0, 30)),
        ("7", {"number": "A-1", "amount": 19.9}, utc(2026, 1, 6, 9)),
        ("7", {"number": "A-2", "amount": 5.0}, utc(2026, 7, 6, 8)),
    ]
    assert isinstance(events[2]["dataFields"]["amount"], float)
    assert {body["eventName"] for body in events} == {"order_placed"}
    assert len({body["id"] for body in events}) == 3
    assert all("email" not in body and "preferUserId" not in body for body in events)


def test_siblings_at_iterable_stay(shop: World) -> None:
    """`mergeNestedObjects`: the street that somebody else wrote survives the city."""
    run(shop)
    profile = shop.profiles["7"]
    assert profile["address"] == {"city": "Köln"}
    profile["address"]["street"] = "Am Dom 1"
    run(shop, USER_FIELDS=shop.environ["USER_FIELDS"].replace("full_name:name", "full_name:whole_name"))
    assert shop.profiles["7"]["address"] == {"city": "Köln", "street": "Am Dom 1"}


def test_a_second_run_sends_nothing(shop: World) -> None:
    """The same rows give the same payloads, whatever their types."""
    run(shop)
    assert run(shop) == []


def test_events_only(shop: World) -> None:
    """USER_FIELDS empty: events and no profile."""
    requests = run(shop, USER_FIELDS="", SEGMENT_FIELD="")
    assert [endpoint for endpoint, _ in requests] == ["events/track"] * 3


def test_profiles_only(shop: World) -> None:
    """EVENT_NAME empty: profiles and no event; nothing else about events has to be named."""
    requests = run(shop, EVENT_NAME="", EVENT_FIELDS="", EVENT_TIME_COLUMN="", EVENT_KEY="")
    assert [endpoint for endpoint, _ in requests] == ["users/update"] * 2


def test_in_bulk(shop: World) -> None:
    """The same bodies in bulk."""
    single = [body for _, body in run(shop)]
    shop.environ["STATE_FILE"] = str(shop.folder / "another.sqlite3")
    bulk = [item for _, body in run(shop, ITERABLE_BULK="true") for items in body.values() for item in items]
    assert sorted(map(json.dumps, bulk)) == sorted(map(json.dumps, single))


def test_what_is_missing_is_said_at_once(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A column that the query does not give is named with those that it gives, before anything is sent."""
    shop.environ |= {"USER_FIELDS": "full_name:name,city:address.city", "EVENT_KEY": "order_id"}
    assert shop.main() == ExitCode.USAGE
    told = capsys.readouterr().err
    assert "USER_FIELDS names the column city, which is missing" in told
    assert "EVENT_KEY names the column order_id, which is missing" in told
    assert "'buyer_id', 'full_name', 'town', 'preferences', 'number', 'total', 'placed_at'" in told
    assert shop.iterable.requests == []


@pytest.mark.parametrize("column", ["CONCAT(full_name, '-', town)", "`a,b`", "CONCAT('a:', full_name)"])
def test_columns_that_have_no_plain_name(shop: World, capsys: pytest.CaptureFixture[str], column: str) -> None:
    """A run and --check say what to do, in one sentence for the column; done, its value is sent."""
    sql = f"SELECT id, {column} FROM (SELECT *, 1 AS `a,b` FROM buyers) AS b"
    shop.settings.query_file.write_text(sql, encoding="utf-8")
    name = column.strip("`")
    shop.environ |= {"USER_ID_COLUMN": "id", "USER_FIELDS": name, "EVENT_NAME": ""}
    said = f"USER_FIELDS names a part of the column {name!r}, which contains a comma or a colon: give it a name with AS"
    assert shop.main() == ExitCode.USAGE
    assert capsys.readouterr().err.count(said) == 1
    assert shop.main("--check") == ExitCode.STOPPED
    assert capsys.readouterr().out.count(f"WRONG  query        {said}") == 1
    shop.settings.query_file.write_text(sql.replace(column, f"{column} AS plain", 1), encoding="utf-8")
    shop.environ["USER_FIELDS"] = "plain:label"
    assert shop.main() == ExitCode.DONE
    assert all(profile.get("label") for user, profile in shop.profiles.items() if user != "8")  # who has no town
