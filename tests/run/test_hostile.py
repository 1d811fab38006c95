"""Rows that nobody would wish for: thousands of them, over a real server and as Python values."""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pymysql
import pytest

from db import connect
from sync.rows.payloads import PayloadBuilder
from sync.rows.source import Column
from sync.run import connections
from sync.run.exit_codes import ExitCode
from tests.harness import World
from tests.mariadb import Server
from tests.process import params_environ
from tests.rows.payload_samples import strict
from tests.run.settings_of import settings_of
from tests.sample_rows import COLUMNS, person

LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - [a-z_]+ - (?:DEBUG|INFO|WARNING|ERROR) - [ -~\xa0-\U0010ffff]* run=[0-9a-f-]+"
)


ADDRESSES = (
    *("good{}@example.com", "Good{}@Example.COM ", "tag+{}@example.com", "o'brien{}@example.com", "{}@sub.example.com"),
    *(
        "ümläut{}@example.com",
        "user{}@exämple.com",
        "花{}@example.com",
        "a{}@b",
        "nobody{}",
        "{}@",
        "@{}.com",
        "a{}@@b.com",
    ),
    *("a b{}@example.com", "a..b{}@example.com", ".a{}@example.com", "a{}.@example.com", "a{}@-example.com"),
    *("a{}@example..com", "a{}@127.0.0.1", "a{}@localhost", "a{}@example.com,b@example.com", "<a{}@example.com>"),
    *("a{}@example.com\nBcc: b@example.com", "a{}\0@example.com", "\u202ea{}@example.com", "a{}\u200b@example.com"),
    *("a{}@example.com\r\n", "'; DROP TABLE users; --{}@example.com", "=cmd|{}@example.com", '"quo ted{}"@example.com'),
    *("a{}@example.test", "a{}@[10.0.0.1]", "mailto:a{}@example.com", "%00{}@example.com", "x" * 70 + "{}@example.com"),
    *(
        "a{}@" + "d" * 60 + "." + "e" * 60 + "." + "f" * 60 + "." + "g" * 60 + ".com",
        "🌻{}@example.com",
        "\\{}@example.com",
    ),
)


TEXTS = (
    *(
        "plain",
        "",
        " ",
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-2",
        "@SUM(A1)",
        "\t=1",
        "\uff1d1",
        "a\nb",
        "a\r\nb",
        "\r",
        "a\0b",
    ),
    *('"', "'", '","', "\\", "\\'", '"""', ",", ";", "%s %(x)s {} {0}", "<script>alert(1)</script>", "${PATH} `id`"),
    *("🌻👩‍👩‍👧", "e\u0301", "\u202eevil\u202c", "\u200f", "\ufeff", "\u2028\u2029", "\x1b[31mred\x1b[0m", "\x7f\x85"),
    *(
        "NULL",
        "NaN",
        "true",
        "2026-01-06",
        "0000-00-00",
        "1e999",
        "\u0130\u0131\u017f\u212a",
        "\U0010fffe\ufffe",
        "run=1 email=x status=200",
    ),
)


LATIN = (b"Z\xfcrich", b"\x80\x81\x8d\x8f\x90\x9d\xff", b"\xc3\xbc", b"a\0b", b"\n", b"")


DOCUMENTS = (
    *("{}", "[]", "null", '{"a": 1}', '{"deep": {"b": "ü"}}', '{"list": [1, null, 2]}', '{"a": null}', "", " ", "NaN"),
    *('{"a": NaN}', '{"a": 1e999}', "{", '{"a": 1, "a": 2}', '{"a": 99999999999999999999}', "[" * 200 + "]" * 200),
    *('{"deep": {"b": "\\ud83d"}}', '{"deep": {"b": "\\u0000"}}', '{"huge": [' + ",".join(["7"] * 5000) + "]}", None),
)


DECIMALS = ("0", "-0.000000000000000000000000000001", "9" * 35 + "." + "9" * 30, "-" + "9" * 35, "0.1", None)


INTEGERS = (0, 1, 2**53 - 1, 2**53, 2**64 - 1, None)


LONGS = (-(2**63), 2**63 - 1, 0, None)


DOUBLES = (0.0, -0.0, 1.7976931348623157e308, 5e-324, 0.1, None)


DAYS = ("2026-01-06", "0000-00-00", "2026-00-00", "1000-01-01", "9999-12-31", None)


MOMENTS = (
    "2026-01-06 10:00:00",
    "2026-03-29 02:30:00",
    "0000-00-00 00:00:00",
    "1000-01-01 00:00:00",
    "9999-12-31 23:59:59",
    None,
)


SPANS = ("00:00:00", "-838:59:59", "838:59:59.999999", None)


TABLE = """CREATE TABLE odd (
    id INT PRIMARY KEY, email VARCHAR(500), name LONGTEXT, legacy VARCHAR(100) CHARACTER SET latin1,
    amount DECIMAL(65, 30), big BIGINT UNSIGNED, small BIGINT, ratio DOUBLE, born DATE, seen DATETIME(6), doc LONGTEXT,
    flag TINYINT(1), bit1 BIT(1), span TIME(6), since YEAR
)"""


COUNT = 3_000


ODD_ENVIRON = {
    "DB_TIMEZONE": "Europe/Berlin",
    "USER_FIELDS": "name,legacy,amount,big,small:small:string,ratio,born,seen,doc:doc:json,flag,bit1,span,since",
    "EVENT_FIELDS": "name:label,legacy,amount,small:small:string,born,span,doc:raw:string",
    "EVENT_TIME_COLUMN": "seen",
    "EVENT_KEY": "id,name",
}


def odd_row(number: int) -> tuple[Any, ...]:
    """Row *number*; the lists have lengths without a common factor, or nearly, so that everything meets everything."""

    def pick(values: Sequence[Any], step: int = 1) -> Any:
        return values[number * step % len(values)]

    email = pick(ADDRESSES if number % 3 == 0 else ADDRESSES[:5]).format(number)
    if number % 97 == 0:
        email = (None, "", " \t")[number // 97 % 3]
    name = "x" * 40_000 + str(number) if number % 997 == 5 else pick(TEXTS, 7)
    document = pick(DOCUMENTS) if number % 3 == 0 else '{"a": 1}'
    days = pick(DAYS, number // 6 + 1), pick(MOMENTS, number // 12 + 1) if number % 2 else MOMENTS[0]
    big = pick(INTEGERS, number // 6 + 1) if number % 5 == 0 else number
    values = pick(DECIMALS, number // 5 + 1), big, pick(LONGS, number // 3 + 1), pick(DOUBLES, number // 4 + 1)
    return number, email, name, pick(LATIN), *values, *days, document, number % 2, number % 2, pick(SPANS), 2026


@pytest.fixture(scope="module")
def odd_table(mariadb: Server) -> dict[str, str]:
    """The settings that lead to a table of odd rows."""
    params = mariadb.database(TABLE)
    with pymysql.connect(unix_socket=str(mariadb.directory / "socket"), user="root", database=params.database) as db:
        with db.cursor() as cursor:
            cursor.execute("SET SESSION sql_mode = ''")  # zero dates are stored as they are
            marks = "%s," * 12 + "b%s,%s,%s"
            rows = [odd_row(number) for number in range(COUNT)]
            texts = [(*row[:12], str(row[12]), *row[13:]) for row in rows]
            cursor.executemany(f"INSERT INTO odd VALUES ({marks})", texts)
        db.commit()
    return params_environ(params)


def all_outcomes(world: World, summary: dict[str, Any]) -> None:
    """Each user and each event has exactly one outcome, and what counts as delivered is at Iterable, once."""
    users, events = summary["users"], summary["events"]
    assert sum(users.values()) == sum(events.values()) == summary["rows"]
    assert users["failed"] == events["failed"] == 0
    assert users["delivered"] + users["unchanged"] == len(world.profiles) > 1
    assert events["delivered"] + events["unchanged"] == len(world.events) > 1
    assert max(event["writes"] for event in world.events) == 1


def each_line_is_one_event(world: World) -> list[str]:
    """Every line of the log has the log's form, whatever a row holds."""
    text = world.log()
    lines = text.split("\n")
    assert lines.pop() == ""
    assert [line for line in lines if not LOG_LINE.fullmatch(line)] == []
    assert text.splitlines() == lines
    return lines


def read_back(path: Path) -> list[list[str]]:
    """The CSV as a reader of CSV sees it."""
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.database
def test_thousands_of_odd_rows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mariadb: Server,
    odd_table: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From a real server through a whole run: no crash, one outcome each, one log line an event, valid JSON on the
    wire, a CSV that reads back; and a second run has nothing to send. Before, one row gives the fields their types."""
    assert mariadb
    query = tmp_path / "odd.sql"
    query.write_text("SELECT * FROM odd WHERE id = 1")
    world = World(tmp_path, monkeypatch, **ODD_ENVIRON, ITERABLE_BULK="true", QUERY_FILE=str(query), **odd_table)
    monkeypatch.setattr(connections, "connect", connect)

    assert world.main() == ExitCode.DONE
    query.write_text("SELECT * FROM odd ORDER BY id")
    assert world.main("--json", "--csv", str(tmp_path / "all.csv")) == ExitCode.INCOMPLETE
    summary = strict(capsys.readouterr().out)
    assert summary["rows"] == COUNT
    all_outcomes(world, summary)
    for request in world.iterable.requests:
        assert strict(request.body.decode())
    lines = each_line_is_one_event(world)
    undelivered = [line for line in lines if " rejected: " in line or "Row rejected before any request" in line]
    told = Counter(re.sub(r".* email=(.*) run=.*", r"\1", line) for line in undelivered)
    assert len(told) == summary["events"]["rejected"], "who was rejected has a line; a rejected profile takes its event"
    assert max(told.values()) <= 2, "one for the profile, and one for an event with a reason of its own"
    the_csv_reads_back(tmp_path / "all.csv")
    rejected = read_back(tmp_path / "rejected_rows_all.csv")
    assert len(rejected) - 1 == len(told)

    assert world.main("--json") == ExitCode.DONE
    again = strict(capsys.readouterr().out)
    assert again["requests"] == 0
    assert again["users"]["unchanged"] == summary["users"]["delivered"] + 1
    assert again["events"]["unchanged"] == summary["events"]["delivered"] + 1


def the_csv_reads_back(path: Path) -> None:
    """Every row is there with its texts as they were, but for the apostrophe that disarms a formula."""
    header, *rows = read_back(path)
    assert len(rows) == COUNT and {len(row) for row in rows} == {len(header)} == {15}
    for number, row in enumerate(rows):
        odd = odd_row(number)
        assert row[0] == str(number)
        assert row[1].removeprefix("'") == (odd[1] or "").removeprefix("'")
        assert row[2].removeprefix("'") == odd[2].removeprefix("'")
        assert not re.match(r"[=@\t\r]", row[2])


ODD: tuple[Any, ...] = (
    *(
        "\ud800",
        "a\udfffb",
        "\ud83d\ude00",
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("1E+999999"),
    ),
    *(10**400, -(2**63), True, b"\xff\x00", bytearray(b"x"), memoryview(b"x"), object(), {1, 2}, (1, 2), {"a": {1}}),
    *({"\ud800": "\udfff"}, {"a": float("nan")}, {1: 2}, [[[[]]]], date.min, date.max, datetime.min, datetime.max),
    *(datetime(2026, 1, 6, tzinfo=UTC), timedelta(days=-1), timedelta.max, 1j, range(3), Exception("x"), type, None),
)


TIMES: tuple[Any, ...] = (
    datetime(2026, 1, 6),
    datetime.max,
    datetime.min,
    0,
    2**80,
    "2026-01-06",
    "soon",
    True,
    1.5,
    b"x",
)


def test_odd_python_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that no server gives, at DEBUG, one by one: the same promises; half surrogates become U+FFFD."""
    world = World(tmp_path, monkeypatch, LOG_LEVEL="DEBUG", EVENT_KEY="id", WORKERS="8")
    world.columns = [Column(name, kind) for name, kind in COLUMNS]
    world.rows = [person(0)]
    first = world.run()
    world.rows += [odd_person(number) for number in range(1, 700)]

    summary = world.run(csv=tmp_path / "all.csv")
    assert summary.stopped_because is None
    all_outcomes(world, summary.as_json())
    for request in world.iterable.requests:
        assert strict(request.body.decode())
    lines = each_line_is_one_event(world)
    delivered = summary.users.delivered + summary.events.delivered
    assert sum("call successful" in line for line in lines) == first.requests + delivered
    assert len(read_back(tmp_path / "all.csv")) == 701
    assert any("\ufffd" in str(profile) for profile in world.profiles.values())
    assert world.run().requests == 0


def odd_person(number: int) -> dict[str, Any]:
    """A user with values of any type, also where an address or a time should be."""
    odd = ODD[number % len(ODD)]
    changes = {"first_name": odd} if number % 3 else {"device": odd}
    if number % 5 == 0:
        changes["event_time"] = TIMES[number // 5 % len(TIMES)]
    if number % 7 == 0:
        changes["email"] = (f"\ud800{number}@example.com", number, f"{number}@example.com".encode(), 1.5 + number)[
            number % 4
        ]
    return person(number, **changes)


def test_every_row_builds() -> None:
    """No row raises: each of the odd values in each of the places gives payloads or a reason."""
    columns = [Column(name, kind) for name, kind in COLUMNS]
    builder = PayloadBuilder(settings_of().mapping(), columns)
    found: Counter[str] = Counter()
    for value in (*ODD, *TEXTS, *TIMES, *DOCUMENTS):
        for place in ("email", "first_name", "event_time", "page", "location"):
            values = person(1, **{place: value})
            row = builder.build([values[column.name] for column in columns])
            found[type(row.profile).__name__] += 1
    assert found["Payload"] and found["Rejection"]
