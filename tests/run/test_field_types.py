"""A type is guessed before it is fixed: the first run refuses values that do not fit, later ones reject their rows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from db import connect
from sync.rows.source import Column, Kind, Row
from sync.run import connections
from sync.run.exit_codes import ExitCode
from sync.run.summary import Summary
from tests.faults import SERVER_ERROR
from tests.harness import TRACK, World, about, counts
from tests.mariadb import Server
from tests.process import params_environ
from tests.run.moving import BOTH_WAYS
from tests.sample_rows import COLUMNS, address, person

HUGE, LONG = 9007199254740993, Decimal("0.12345678901234567890")
EXTRA = (Column("rating", Kind.BOOLEAN), Column("code", Kind.INTEGER), Column("price", Kind.NUMBER))
TRIAL = "This first run reads only some of the rows (--limit 2), and what it sends fixes the types of fields"


@BOTH_WAYS
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Ratings 1, 0 and 4 in a TINYINT(1): a field of the profile and, under another name, of the event."""
    bulk = "true" if request.param else "false"
    fields = {"USER_FIELDS": "first_name,rating", "EVENT_FIELDS": "page,rating:review.stars"}
    world = World(tmp_path, monkeypatch, WORKERS="1", ITERABLE_BULK=bulk, **fields)
    world.columns = (*COLUMNS, *EXTRA)
    world.rows = rated(1, 0, 4)
    return world


def rated(*ratings: int | None, **changes: Any) -> list[Row]:
    """User 1 with the first rating, user 2 with the second, and so on."""
    fitting = {"code": 7, "price": Decimal("1.10")} | changes
    return [person(number, rating=rating, **fitting) for number, rating in enumerate(ratings, start=1)]


def refused(summary: Summary, *told: str) -> bool:
    """Whether a run refused with all of this, and sent nothing."""
    why = str(summary.stopped_because)
    return (summary.exit_code, summary.requests) == (ExitCode.USAGE, 0) and all(words in why for words in told)


def pending_or_rejected(world: World) -> list[tuple[Any, ...]]:
    """What the state has of payloads."""
    tables = ("pending", "known")
    return [found for table in tables for found in world.table(f"SELECT * FROM {table}")]


def test_the_first_run_refuses(shop: World) -> None:
    """Before anything is sent: exit 2 with the column, the value, how many and the mapping; its CSV stays, and there
    is neither a backlog nor a rejection. With that mapping the next run delivers all."""
    summary = shop.run()

    assert refused(
        summary,
        "USER_FIELDS: rating is 4: neither 0 nor 1; map it as rating:rating:number (rows with such a value: 1)",
        "EVENT_FIELDS: rating is 4: neither 0 nor 1; map it as rating:review.stars:number (rows with such a value: 1)",
    )
    assert pending_or_rejected(shop) == []
    with Path(str(summary.csv)).open(encoding="utf-8") as file:
        assert [row["rating"] for row in csv.DictReader(file)] == ["1", "0", "4"]
    assert not list(shop.folder.glob("rejected_rows*"))

    shop.environ |= {"USER_FIELDS": "first_name,rating:rating:number", "EVENT_FIELDS": "rating:review.stars:number"}
    assert counts(shop.run()) == ((3, 0, 0, 0), (3, 0, 0, 0))
    assert [shop.profiles[address(n)]["rating"] for n in (1, 2, 3)] == [1.0, 0.0, 4.0]
    assert shop.iterable.project.warnings == {}


def test_later_the_row_is_rejected(shop: World) -> None:
    """Once the field was delivered: the row alone, news once, and the message says that it takes another field."""
    shop.rows = rated(1, 0)
    shop.run()
    shop.rows = rated(1, 0, 4)
    first = shop.run()

    assert (first.exit_code, counts(first)) == (ExitCode.INCOMPLETE, ((0, 2, 1, 0), (0, 2, 1, 0)))
    told = "rating is 4: neither 0 nor 1; use another field name (rating already has its type at Iterable)"
    assert f"{told}: rating:rating_number:number email=user3@example.com" in shop.log()
    again = shop.run()
    assert (again.exit_code, counts(again)) == (ExitCode.DONE, ((0, 2, 1, 0), (0, 2, 1, 0)))

    shop.environ |= {"USER_FIELDS": "first_name,rating:rating_number:number", "EVENT_FIELDS": "page"}
    assert shop.run().exit_code == ExitCode.DONE
    assert shop.profiles[address(3)]["rating_number"] == 4.0
    assert shop.iterable.project.warnings == {}


def test_a_field_that_comes_later(shop: World) -> None:
    """Each field has a first run of its own, also under a name that was given to another column's values."""
    shop.rows = rated(1, 0, code=HUGE, price=LONG)
    shop.run()
    shop.environ |= {"USER_FIELDS": "first_name,rating,code:stats.n", "EVENT_FIELDS": "page,price"}

    assert refused(shop.run(), f"code is {HUGE}", "code:stats.n:string", f"price is {LONG}", "price:price:string")
    shop.environ |= {"USER_FIELDS": "rating,code:stats.n:string", "EVENT_FIELDS": "page,price:price:string"}
    assert shop.run().exit_code == ExitCode.DONE
    assert shop.profiles[address(1)]["stats"] == {"n": str(HUGE)}


def test_a_run_that_delivered_nothing_fixed_nothing(shop: World) -> None:
    """The API was down: the field has no type yet, and what is pending stays pending while the next run refuses."""
    shop.rows = rated(1, 0)
    shop.iterable.faults = lambda _: SERVER_ERROR
    shop.run()
    before = pending_or_rejected(shop)
    assert before
    shop.iterable.faults, shop.rows = None, rated(1, 0, 4)

    assert refused(shop.run(), "USER_FIELDS: rating is 4", "EVENT_FIELDS: rating is 4")
    assert pending_or_rejected(shop) == before


def test_a_field_that_was_mapped_in_no_run_that_delivered(shop: World) -> None:
    """Mapped while the API was down, left out while it was up: it has no type."""
    shop.rows = rated(1)
    shop.iterable.faults = lambda _: SERVER_ERROR
    shop.run()
    shop.iterable.faults = None
    shop.environ["USER_FIELDS"] = "first_name"
    assert shop.run().exit_code == ExitCode.DONE
    shop.environ["USER_FIELDS"] = "first_name,rating"
    shop.rows = rated(1, 4)

    summary = shop.run()
    assert refused(summary, "USER_FIELDS: rating is 4")
    assert "EVENT_FIELDS" not in str(summary.stopped_because)


def test_profiles_and_events_apart(world: World) -> None:
    """An event that was not delivered fixed no type of its fields, though the profile was."""
    world.environ |= {"USER_FIELDS": "first_name,rating", "EVENT_FIELDS": "page,rating"}
    world.columns = (*COLUMNS, *EXTRA)
    world.rows = rated(1)
    world.iterable.faults = lambda request: SERVER_ERROR if request.path == TRACK else None
    world.run()
    world.iterable.faults, world.rows = None, rated(1, 4)

    summary = world.run()
    assert refused(summary, "EVENT_FIELDS: rating is 4")
    assert "USER_FIELDS" not in str(summary.stopped_because)


def test_another_event_has_fields_of_its_own(shop: World) -> None:
    """Iterable types the fields of each event by themselves."""
    shop.rows = rated(1)
    shop.run()
    shop.environ["EVENT_NAME"], shop.rows = "review", rated(1, 4)

    summary = shop.run(new_event_ids=True)
    assert refused(summary, "EVENT_FIELDS: rating is 4")
    assert "USER_FIELDS" not in str(summary.stopped_because)


def test_who_leaves_fixes_no_type(world: World) -> None:
    """The update that takes a user out of the segment holds none of the fields."""
    world.columns = (*COLUMNS, *EXTRA)
    world.environ["EVENT_NAME"] = ""
    world.rows = rated(1, 1)
    world.environ["USER_FIELDS"] = "first_name"
    world.run()
    world.environ["USER_FIELDS"] = "first_name,rating"
    world.rows = rated(1)
    world.iterable.faults = about(address(1), SERVER_ERROR)
    assert world.run().left_segment == 1
    world.iterable.faults, world.rows = None, rated(4)

    assert refused(world.run(), "USER_FIELDS: rating is 4")


def test_a_run_that_was_stopped_fixed_what_it_delivered(world: World) -> None:
    """The types are on record with the first delivery, whatever becomes of the run afterwards."""
    world.environ |= {"USER_FIELDS": "first_name,rating", "EVENT_FIELDS": "page,rating"}
    world.columns = (*COLUMNS, *EXTRA)
    world.rows = rated(1, 0, 1)
    world.iterable.project.rules.api_key = world.environ["ITERABLE_API_KEY"]

    def revoked(request: Any) -> None:
        if address(2) in request.body.decode():
            world.iterable.project.rules.api_key = "another-key-0123456789"

    world.iterable.faults = revoked
    assert world.run().exit_code == ExitCode.STOPPED
    world.iterable.faults, world.rows = None, rated(1, 0, 4)
    world.iterable.project.rules.api_key = world.environ["ITERABLE_API_KEY"]

    assert counts(world.run()) == ((1, 1, 1, 0), (1, 1, 1, 0))


def test_a_trial_says_so(shop: World) -> None:
    """A first run with --limit says that it sees the rows that it reads alone; those it refuses like any run."""
    shop.rows = rated(1, 0, 4)
    assert shop.run(limit=2).exit_code == ExitCode.DONE
    assert TRIAL in shop.log()
    assert counts(shop.run()) == ((0, 2, 1, 0), (0, 2, 1, 0))
    shop.run(limit=2)
    assert shop.log().count("reads only some of the rows") == 1


def test_a_trial_refuses_what_it_sees(shop: World) -> None:
    """Within the limit it is a first run like any other, and says that it was a trial until one delivers."""
    shop.rows = rated(1, 4)
    for _ in range(2):
        assert refused(shop.run(limit=2), "USER_FIELDS: rating is 4")
    assert shop.log().count(TRIAL) == 2


@pytest.mark.parametrize("flag", ["--dry-run", "--verify"])
def test_what_only_looks_refuses_as_a_run_does(shop: World, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the words of the run, with its exit code, and without a trace."""
    assert shop.main(flag) == ExitCode.USAGE
    out, errors = capsys.readouterr()
    assert (out, errors) == ("", f"{shop.run().stopped_because}\n")

    shop.rows = rated(1, 0)
    shop.run()
    shop.rows = rated(1, 0, 4)
    assert shop.main("--dry-run") == ExitCode.DONE
    assert "Row rejected before any request: rating is 4: neither 0 nor 1; use another field name" in (
        capsys.readouterr().err
    )


def test_a_dry_run_of_a_trial_says_so(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The preview of a first run with --limit."""
    assert shop.main("--dry-run", "--limit", "2") == ExitCode.DONE
    assert f"WARNING: {TRIAL}" in capsys.readouterr().err


def test_each_sync_for_itself(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one sync delivered is on record for that sync."""
    shop.rows = rated(1)
    shop.run()
    other = World(shop.folder, monkeypatch, **shop.environ | {"SYNC_NAME": "other", "SEGMENT_FIELD": "of_other"})
    other.columns, other.rows, other.iterable = shop.columns, rated(4), shop.iterable

    assert refused(other.run(), "USER_FIELDS: rating is 4")


TABLE = """CREATE TABLE odd (
    id INT PRIMARY KEY, email VARCHAR(100), at DATETIME, tiny TINYINT(1), one TINYINT(1) UNSIGNED, big BIGINT,
    more BIGINT UNSIGNED, bits BIT(64), exact DECIMAL(40, 20), bit BIT(1), ratio DOUBLE, doc JSON
);
INSERT INTO odd VALUES
    (1, 'a@example.com', '2026-01-06 10:00:00', 1, 0, 7, 7, b'111', 1.10, b'1', 0.1, '{"n": 1.5}'),
    (2, 'b@example.com', '2026-01-06 10:00:01', -1, 255, -9007199254740993, 18446744073709551615,
     b'1111111111111111111111111111111111111111111111111111111111111111', 0.12345678901234567890, b'0', 1e300, '{}'),
    (3, 'c@example.com', '2026-01-06 10:00:02', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     '{"n": [9007199254740993]}');
"""
ODD = "tiny,one,big,more,bits,exact,bit,ratio,doc:doc:json"


@pytest.mark.database
def test_columns_of_a_server(world: World, mariadb: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """TINYINT(1), BIGINT, BIT and DECIMAL, signed or not: the mapping that the refusal gives delivers the values."""
    query = world.folder / "odd.sql"
    query.write_text("SELECT * FROM odd ORDER BY id")
    world.environ |= {
        **params_environ(mariadb.database(TABLE)),
        **{"QUERY_FILE": str(query), "USER_FIELDS": ODD, "EVENT_FIELDS": "exact", "EVENT_TIME_COLUMN": "at"},
        **{"EVENT_KEY": "id", "SEGMENT_FIELD": ""},
    }
    monkeypatch.setattr(connections, "connect", connect)
    assert world.main() == ExitCode.USAGE
    told = mappings(world.log())
    assert told == [
        *("tiny:tiny:number", "one:one:number", "big:big:string", "more:more:string", "bits:bits:string"),
        *("exact:exact:string", "exact:exact:string"),
    ]

    world.environ["USER_FIELDS"] = ",".join(replaced(ODD.split(","), told))
    world.environ["EVENT_FIELDS"] = told[-1]
    assert world.main() == ExitCode.INCOMPLETE
    assert world.profiles["b@example.com"] == {
        **{"tiny": -1.0, "one": 255.0, "big": "-9007199254740993"},
        **{"more": str(2**64 - 1), "bits": str(2**64 - 1), "exact": "0.12345678901234567890"},
        **{"bit": False, "ratio": 1e300, "doc": {}},
    }
    assert "c@example.com" not in world.profiles
    assert f"JSON readers may change {HUGE}; make it a string" in world.log()


def mappings(log: str) -> list[str]:
    """The mappings that a refusal gives."""
    line = next(line for line in log.splitlines() if "exit_code=2" in line)
    return [piece.split()[0] for piece in line.split("map it as ")[1:]]


def replaced(items: Sequence[str], told: Sequence[str]) -> list[str]:
    """The mapping with what was told in place of the items of the same columns."""
    by_column = {item.split(":")[0]: item for item in told}
    return [by_column.get(item, item) for item in items]
