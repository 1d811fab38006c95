"""Connecting, running a query and reading its rows, on a real server; unhappy paths first."""

from __future__ import annotations

import contextlib
import gc
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.connections import Connection
from pymysql.constants import CLIENT

import db
from db import MySQLParams
from sync.rows.columns import Kind, Row
from sync.rows.source import Source, SourceError
from sync.rows.statement import bound_values, parse
from tests.mariadb import Server, make_certificates, numbers

SINCE = datetime(2026, 1, 6, 12, 30, 15, tzinfo=UTC)
SINCE_LOCAL = datetime(2026, 1, 6, 13, 30, 15)
LARGE = f"SELECT seq, REPEAT('x', 100) AS filler FROM {numbers(8)}"


@pytest.fixture(scope="module")
def sample(mariadb: Server) -> MySQLParams:
    """The sample rows; no test may change them, and `app` cannot."""
    return mariadb.sample()


@pytest.fixture
def source(sample: MySQLParams) -> Iterator[Source]:
    """Connected to the sample rows."""
    connected = db.connect(sample)
    yield connected
    connected.close()


@pytest.fixture(scope="module")
def spare() -> Iterator[Server]:
    """A server that may be killed, and that has no TLS."""
    with Server(tls=False) as server:
        yield server


def run(source: Source, sql: str, limit: int | None = None) -> list[Row]:
    """All rows of a query."""
    return list(source.query(sql, SINCE, SINCE_LOCAL, limit))


def refusal(params: MySQLParams, sql: str = "SELECT 1") -> str:
    """The sentence that a query ends with; it is one line and holds no password."""
    with pytest.raises(SourceError) as caught:
        connected = db.connect(params)
        try:
            run(connected, sql)
        finally:
            connected.close()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert not params.password or params.password not in sentence
    assert sentence.endswith(".")
    return sentence


@contextlib.contextmanager
def listener(serve: Callable[[socket.socket], object]) -> Iterator[MySQLParams]:
    """A port on loopback behind which *serve* has each connection."""
    stopped = threading.Event()

    def accept() -> None:
        while not stopped.is_set():
            with contextlib.suppress(OSError), listening.accept()[0] as client:
                serve(client)
                client.recv(1)  # until the other side is done

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield MySQLParams("127.0.0.1", listening.getsockname()[1], "app", "hidden", "shop", connect_timeout=0.3)
        stopped.set()
        thread.join(5)


# --- no connection --------------------------------------------------------------------------------------


def test_nobody_listens() -> None:
    """A server that is down is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    sentence = refusal(MySQLParams("127.0.0.1", port, "app", "hidden", "shop"))

    assert sentence == (
        f"No database answers at 127.0.0.1:{port} (Connection refused): start the server, or check DB_HOST and DB_PORT."
    )


@pytest.mark.parametrize("host", ["db.invalid", "a..b", "x" * 70])
def test_unknown_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that nobody knows, or that cannot be one, is a wrong DB_HOST."""
    known = socket.getaddrinfo

    def getaddrinfo(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "db.invalid":  # no test waits for a name server
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(name, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    assert refusal(MySQLParams(host, 3306, "app", "hidden", "shop")) == (
        f"The host name {host!r} is not known: check DB_HOST."
    )


def test_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that swallows packets is given up after the connect timeout."""

    def swallow(_: object, timeout: float) -> None:
        assert timeout == 4
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", swallow)

    sentence = refusal(MySQLParams("10.0.0.9", 3306, "app", "hidden", "shop", connect_timeout=4))

    assert sentence.startswith("10.0.0.9:3306 did not answer within 4 s: check DB_HOST and DB_PORT")


def test_silent_server() -> None:
    """A server that accepts and says nothing is given up too."""
    with listener(lambda _: None) as params:
        assert f"The connection to {params.address} was lost (" in refusal(params)


@pytest.mark.parametrize(
    "greeting",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(99999),
        b"220 mail ready\r\n" + bytes(99999),
        b"\x02\0\0\0\x0a8",
        b"\x01\0\0\0\0",
    ],
)
def test_not_a_database(greeting: bytes) -> None:
    """Another kind of server behind the port is called that."""
    with listener(lambda client: client.sendall(greeting)) as params:
        sentence = refusal(params)

    assert sentence == (f"What answers at {params.address} does not speak MySQL's protocol: check DB_HOST and DB_PORT.")


def test_too_many_connections() -> None:
    """An error in place of a greeting is read as such."""
    packet = b"\xff" + struct.pack("<H", 1040) + b"Too many\nconnections"

    with listener(lambda client: client.sendall(struct.pack("<I", len(packet)) + packet)) as params:
        sentence = refusal(params)

    assert "takes no more connections (Too many connections)" in sentence


def test_ipv6_address() -> None:
    """An IPv6 address is written so that its port can be told apart."""
    assert MySQLParams("::1", 3306, "app", "x", "shop").address == "[::1]:3306"


def test_password_stays_out_of_repr() -> None:
    """The parameters can be logged."""
    assert "hidden" not in repr(MySQLParams("h", 1, "u", "hidden", "d"))


# --- refused by the server ------------------------------------------------------------------------------


@pytest.mark.database
class TestRefused:
    """Each refusal of the server is a sentence that says what to do."""

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"password": "wrong-hidden"}, "refused the user app: check DB_USER and DB_PASSWORD"),
            ({"password": ""}, "refused the user app: check DB_USER and DB_PASSWORD"),
            ({"user": "nobody"}, "refused the user nobody: check DB_USER and DB_PASSWORD"),
            ({"database": "nowhere"}, "There is no database nowhere at"),
        ],
    )
    def test_login(self, sample: MySQLParams, changes: dict[str, str], sentence: str) -> None:
        """A wrong user, password or database is told apart from the others."""
        assert sentence in refusal(replace(sample, **changes))  # type: ignore[arg-type]

    def test_database_without_privilege(self, mariadb: Server, sample: MySQLParams) -> None:
        """A user without privileges is told which one is missing."""
        mariadb.execute("CREATE USER guest@'%' IDENTIFIED BY 'hidden'")
        guest = replace(sample, user="guest", password="hidden")

        assert "GRANT SELECT on it, or correct DB_NAME" in refusal(guest)

        mariadb.execute(f"GRANT SELECT (id) ON {sample.database}.customers TO guest@'%'")
        assert "may not read what the query asks of" in refusal(guest, "SELECT email FROM customers")
        assert "may not read what the query asks of" in refusal(guest, "SELECT page FROM page_views")

    @pytest.mark.parametrize(
        ("sql", "sentence"),
        [
            ("SELECT * FROM nowhere", "names a table that"),
            ("SELECT missing FROM customers", "names a column that"),
            ("SELECT FROM WHERE", "does not understand the query"),
            ("SELECT :sinc", "does not understand the query"),
            ("SELECT no_such_function()", "answered with error 1305"),
            ("SELECT 1/0 FROM (SELECT 1 UNION SELECT (SELECT 1 UNION SELECT 2)) AS x", "error 1242"),
            ("", "The query is empty: write one SELECT"),
            ("  -- nothing\n /* at all */ ; # :since", "The query is empty"),
            ("SELECT 1; SELECT 2", "The query holds more than one statement"),
            ("SELECT 1; DROP TABLE customers;", "The query holds more than one statement"),
            ("UPDATE customers SET email = NULL", "this session only reads"),
            ("DELETE FROM page_views", "this session only reads"),
            ("DROP TABLE page_views", "this session only reads"),
            ("DO 1", "The query has no result"),
            ("SELECT 1 INTO @x", "The query has no result"),
        ],
    )
    def test_query(self, mariadb: Server, sample: MySQLParams, sql: str, sentence: str) -> None:
        """A query that cannot be run is refused with the reason, whatever the user's privileges."""
        mariadb.execute(
            "DROP USER IF EXISTS owner@'%'; CREATE USER owner@'%' IDENTIFIED BY 'hidden'; GRANT ALL ON *.* TO owner@'%'"
        )

        assert sentence in refusal(replace(sample, user="owner", password="hidden"), sql)

        counts = mariadb.execute("SELECT COUNT(email) FROM customers", database=sample.database)
        assert counts == ((16,),), "nothing was written"

    def test_statement_timeout(self, mariadb: Server, sample: MySQLParams) -> None:
        """A query that the server stops for its length is told so; each product has its own way to say the length."""
        select, limited = {
            "MariaDB": ("SELECT", "SET STATEMENT max_statement_time = 0.05 FOR SELECT"),
            "MySQL": ("SELECT", "SELECT /*+ MAX_EXECUTION_TIME(50) */"),
        }[mariadb.product]

        assert "took longer than" in refusal(sample, LARGE.replace(select, limited, 1))

    @pytest.mark.parametrize(("what", "sentence"), [("QUERY", "stopped the query"), ("CONNECTION", "was lost")])
    def test_killed(self, mariadb: Server, sample: MySQLParams, what: str, sentence: str) -> None:
        """A query that somebody kills while its rows are read ends in an error, never in fewer rows."""
        source = db.connect(sample)
        rows = iter(source.query(f"{LARGE} -- {what}", SINCE, SINCE_LOCAL))
        next(rows)
        ((thread,),) = mariadb.execute(
            "SELECT id FROM information_schema.processlist WHERE info LIKE %s AND user = 'app'", f"SELECT seq%{what}"
        )

        mariadb.execute(f"KILL {what} {thread}")

        with pytest.raises(SourceError, match=f"{sentence}|stopped the query"):
            for _ in rows:
                pass
        source.close()

    @pytest.mark.database("MariaDB")  # MySQL cannot be told to give itself out for another version
    def test_old_server(self, spare: Server) -> None:
        """A server without window functions is refused by its version."""
        params = spare.database()

        spare.restart("--version=5.7.44")
        assert f"{params.address} runs MySQL 5.7.44, which is too old" in refusal(params)

        spare.restart("--version=10.1.48-MariaDB")
        assert "runs MariaDB 10.1.48, which is too old: use MySQL 8 or MariaDB 10.2" in refusal(params)

        spare.restart("--version=8.0.36")
        source = db.connect(params)
        assert source.server == "MySQL 8.0.36, no TLS"
        source.close()

    def test_server_dies(self, spare: Server, capfd: pytest.CaptureFixture[str]) -> None:
        """A server that dies while rows are read is an error; the next query finds the server again."""
        spare.restart()
        source = db.connect(spare.database())
        rows = iter(source.query(LARGE, SINCE, SINCE_LOCAL))
        next(rows)

        spare.kill()

        with pytest.raises(SourceError, match=r"was lost \(.*\): see whether the server is up"):
            for _ in rows:
                pass
        del rows
        gc.collect()
        with pytest.raises(SourceError, match="No database answers at"):
            run(source, "SELECT 1")
        spare.start()
        assert run(source, "SELECT 1 AS one") == [{"one": 1}]
        source.close()
        assert capfd.readouterr() == ("", "")


def test_every_sentence_can_be_told() -> None:
    """No error of the table fails while it is told, and each is one sentence with the server in it."""
    params = MySQLParams("db", 3306, "app", "hidden", "shop")

    for number in (*db._ADVICE, 4711):
        sentence = db._sentence(pymysql.err.OperationalError(number, "said {by} the\nserver"), params)

        assert "db:3306" in sentence and sentence.endswith(".") and "\n" not in sentence, number


# --- TLS ------------------------------------------------------------------------------------------------


@pytest.mark.database
class TestTLS:
    """DB_SSL_CA means a certificate of that authority, for that host, or no connection."""

    def test_authority_is_missing_or_nonsense(self, sample: MySQLParams, tmp_path: Path) -> None:
        """A file that is not there, or not a certificate, is a wrong DB_SSL_CA."""
        nonsense = tmp_path / "nonsense.pem"
        nonsense.write_text("not a certificate")

        for path, reason in ((tmp_path / "none.pem", "No such file or directory"), (nonsense, ".+")):
            with pytest.raises(SourceError, match=f"{path} cannot be read \\({reason}\\): give DB_SSL_CA a file"):
                db.connect(replace(sample, ssl_ca=str(path)))

    def test_other_authority(self, sample: MySQLParams, tmp_path: Path) -> None:
        """A certificate that another authority signed is not trusted."""
        make_certificates(tmp_path)

        sentence = refusal(replace(sample, host="localhost", ssl_ca=str(tmp_path / "ca.pem")))

        assert "is not to be trusted (" in sentence

    def test_other_host(self, mariadb: Server, sample: MySQLParams) -> None:
        """A good certificate for another name is not trusted."""
        sentence = refusal(replace(sample, ssl_ca=str(mariadb.ca)))

        assert "is not to be trusted (" in sentence and "DB_HOST the name that stands in it" in sentence

    def test_server_without_tls(self, spare: Server, mariadb: Server) -> None:
        """TLS that was demanded is never done without."""
        spare.restart()

        sentence = refusal(replace(spare.database(), ssl_ca=str(mariadb.ca)))

        assert "offers no TLS, and DB_SSL_CA demands it" in sentence

    def test_broken_tls(self) -> None:
        """A server that promises TLS and then talks something else is a sentence too."""

        def serve(client: socket.socket) -> None:
            offered = CLIENT.CAPABILITIES | CLIENT.SSL
            greeting = b"\x0a8.4.0\0" + bytes(4) + b"12345678\0" + struct.pack("<H", offered & 0xFFFF)
            greeting += struct.pack("<BHHB", 45, 2, offered >> 16, 21) + bytes(10) + b"123456789012\0"
            client.sendall(struct.pack("<I", len(greeting)) + greeting + b"mysql_native_password\0")
            client.recv(4096)
            client.sendall(b"this is not TLS at all")

        with listener(serve) as params:
            assert "TLS with 127.0.0.1:" in refusal(params)

    def test_verified(self, mariadb: Server, sample: MySQLParams) -> None:
        """The right authority and name connect, and the session says so."""
        source = db.connect(replace(sample, host="localhost", ssl_ca=str(mariadb.ca)))

        assert source.server.startswith(f"{mariadb.product} ")
        assert source.server.endswith(", verified)")
        source.close()

    def test_unverified(self, source: Source) -> None:
        """Without an authority TLS is used when it is offered, and called what it is."""
        assert "TLS (TLS_" in source.server
        assert source.server.endswith(", not verified)")


# --- the session ----------------------------------------------------------------------------------------


@pytest.mark.database
class TestSession:
    """What the query finds around it."""

    def test_description(self, source: Source, sample: MySQLParams) -> None:
        """The description names everything but the password."""
        assert source.description == f"mysql://app@127.0.0.1:{sample.port}/{sample.database}"

    def test_utc_and_utf8(self, source: Source) -> None:
        """The session's time is UTC, its text UTF-8, and its sql_mode the server's own."""
        (row,) = run(
            source,
            "SELECT @@time_zone AS zone, @@character_set_results AS charset, @@sql_mode = @@global.sql_mode AS same,"
            " TIMESTAMPDIFF(SECOND, NOW(), UTC_TIMESTAMP()) AS off, '花🌻' AS text",
        )

        assert row == {"zone": "+00:00", "charset": "utf8mb4", "same": 1, "off": 0, "text": "花🌻"}

    def test_each_query_sees_its_moment(self, mariadb: Server) -> None:
        """A second query sees what was written since the first."""
        params = mariadb.database("CREATE TABLE t (id INT)")
        source = db.connect(params)
        assert run(source, "SELECT id FROM t") == []

        mariadb.execute("INSERT INTO t VALUES (1)", database=params.database)

        assert run(source, "SELECT id FROM t") == [{"id": 1}]
        source.close()

    def test_slow_query_is_waited_for(self, sample: MySQLParams) -> None:
        """The connect timeout is about connecting: a query may take longer."""
        source = db.connect(replace(sample, connect_timeout=0.5))

        assert run(source, "SELECT SLEEP(0.7) AS slept") == [{"slept": 0}]
        source.close()

    def test_close_twice(self, sample: MySQLParams) -> None:
        """Closing again does nothing."""
        source = db.connect(sample)
        source.close()
        source.close()


# --- parameters -----------------------------------------------------------------------------------------


PARAMETER = st.sampled_from([":since", ":since_local"])
OPAQUE = st.sampled_from(
    [
        "':since'",
        "'it''s :since; %s'",
        r"'\' :since'",
        r"'\\'",
        '":since"',
        r'"\" :since"',
        '"a"":since"',
        "`:since`",
        r"`\`",
        "`a``:since`",
        "-- :since ' ; \n",
        "--\n",
        '# :since " ;\n',
        "/* :since ' ; */",
        "/*+ :since */",
        "/**/",
        "/* -- */",
    ]
)
CODE = st.sampled_from(
    [
        *("SELECT ", " % ", "%s", "%(since)s", "%%", "x", " \n", "(1,2)", "1--1", "-", "/", "*", "\\", "$.a", "{}"),
        *(":sinces", ":since_", ":sinceé", ": since", "@a:=1", "/*! ", "/*!50101 ", "/*M! ", " */"),
    ]
)


@given(st.lists(st.one_of(PARAMETER.map(lambda text: (True, text)), (OPAQUE | CODE).map(lambda text: (False, text)))))
def test_parameters_are_found_in_code_only(pieces: list[tuple[bool, str]]) -> None:
    """Whatever stands around it, a parameter in code is bound and everything else arrives unchanged."""
    spaced = [(True, f" {text} ") if bound else (False, f" {text} ") for bound, text in pieces]
    sql = "SELECT" + "".join(text for _, text in spaced)
    values = {"since": "'S'", "since_local": "'L'"}

    statement = parse(sql)
    sent = statement.render(db._double_percent, db._placeholder) % values

    assert sent == "SELECT" + "".join(f" {values[text.strip()[1:]]} " if bound else text for bound, text in spaced)
    assert statement.parameters == {text.strip()[1:] for bound, text in spaced if bound}


@given(st.text() | st.text(alphabet="'\"`\\-#/*!M;:since_local \n0"), st.booleans())
def test_any_text_parses_or_is_refused(sql: str, backslash_escapes: bool) -> None:
    """No text whatever makes the search for parameters fail or lose a character."""
    try:
        statement = parse(sql, backslash_escapes=backslash_escapes)
    except SourceError:
        return

    kept = statement.render(str, ":{}".format)
    assert kept == sql or kept.replace(";", "") == sql.replace(";", "")


@pytest.mark.parametrize("ending", ["'", '"', "`", "/*", "'a\\", "/* *", "--", "#"])
def test_what_is_never_closed_reaches_to_the_end(ending: str) -> None:
    """Quotes and comments that are never closed hide what follows, and the server says what is wrong."""
    assert parse(f"SELECT :since {ending} :since").parameters == {"since"}
    assert parse(f"SELECT {ending}").parameters == set()


@pytest.mark.parametrize("sql", ["SELECT 1;", "SELECT 1 ;; \n", "SELECT 1; -- done", "SELECT 1 /* ; */", "SELECT ';'"])
def test_one_statement_may_end_in_a_semicolon(sql: str) -> None:
    """A semicolon that ends the statement, or that is text, is no second statement."""
    assert parse(sql).parameters == set()


def test_times_are_bound_in_their_zones() -> None:
    """An aware time is bound in UTC, a wall clock as it is, both in whole seconds."""
    since = datetime(2026, 1, 6, 1, 0, 0, 999999, timezone(timedelta(hours=2)))

    assert bound_values(since, datetime(2026, 1, 6, 1)) == {
        "since": "2026-01-05 23:00:00",
        "since_local": "2026-01-06 01:00:00",
    }
    for wrong in ((SINCE_LOCAL, SINCE_LOCAL), (SINCE, SINCE)):
        with pytest.raises(ValueError, match="since is an aware time"):
            bound_values(*wrong)


@pytest.mark.database
class TestParameters:
    """The same on the server, which has the last word on what is code."""

    @pytest.mark.parametrize(
        ("expression", "value"),
        [
            (":since", "2026-01-06 12:30:15"),
            (":since_local", "2026-01-06 13:30:15"),
            ("':since'", ":since"),
            ("'100% :since'", "100% :since"),
            ("'%s %(since)s %%'", "%s %(since)s %%"),
            (r"'\':since'", "':since"),
            ("'it''s :since'", "it's :since"),
            ('":since"', ":since"),
            ("5 % 3", 2),
            ("/*! :since */", "2026-01-06 12:30:15"),
            pytest.param("/*M! :since */", "2026-01-06 12:30:15", marks=pytest.mark.database("MariaDB")),
            pytest.param("1 /*M! + :since */", 1, marks=pytest.mark.database("MySQL")),
            ("1 /* :since */", 1),
            ("2 # :since '\n", 2),
            ("3 -- :since '\n", 3),
            ("4--1", 5),
            ("'a' LIKE 'a%' AND :since LIKE '2026%'", 1),
            ("CONCAT(:since,':since',:since_local)", "2026-01-06 12:30:15:since2026-01-06 13:30:15"),
        ],
    )
    def test_bound(self, source: Source, expression: str, value: object) -> None:
        """The server gets a value where it reads code, and the very text elsewhere."""
        assert run(source, f"SELECT {expression} AS `x:since`;") == [{"x:since": value}]

    def test_no_backslash_escapes(self, mariadb: Server, sample: MySQLParams) -> None:
        """Where the server's sql_mode makes a backslash a letter, it is one here too."""
        mariadb.execute("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'")
        try:
            source = db.connect(sample)
        finally:
            mariadb.execute("SET GLOBAL sql_mode = DEFAULT")

        assert run(source, r"SELECT '\' AS a, :since AS b, 'c' AS c") == [
            {"a": "\\", "b": "2026-01-06 12:30:15", "c": "c"}
        ]
        source.close()

    @pytest.mark.parametrize(
        ("sql", "used"),
        [
            ("SELECT :since", True),
            ("SELECT :since_local", True),
            ("SELECT ':since' -- :since", False),
        ],
    )
    def test_uses_since(self, source: Source, sql: str, used: bool) -> None:
        """A query that does not look at the window can be told from one that does."""
        with source.query(sql, SINCE, SINCE_LOCAL) as result:
            assert result.uses_since is used


# --- rows -----------------------------------------------------------------------------------------------


@pytest.mark.database
class TestRows:
    """Rows come one by one, and those that nobody wants are not read."""

    @pytest.fixture
    def packets(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Grows by one with each packet that the driver reads."""
        read: list[int] = []
        original: Any = Connection._read_packet

        def counted(*args: Any) -> Any:
            read.append(1)
            return original(*args)

        monkeypatch.setattr(Connection, "_read_packet", counted)
        return read

    @pytest.mark.parametrize("limit", [0, 1, 1000])
    def test_limit(self, source: Source, packets: list[int], limit: int, capfd: pytest.CaptureFixture[str]) -> None:
        """Of a hundred million rows the limit is read and no more, without a word on the screen."""
        rows = run(source, LARGE, limit)
        source.close()
        gc.collect()

        assert len({row["seq"] for row in rows}) == len(rows) == limit
        assert len(packets) < limit + 10
        assert capfd.readouterr() == ("", "")

    def test_reading_stops_half_way(
        self, source: Source, packets: list[int], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A result that is closed, or left behind by the next query, is not read to its end."""
        result = source.query(LARGE, SINCE, SINCE_LOCAL)
        next(iter(result))
        result.close()
        left = source.query(LARGE, SINCE, SINCE_LOCAL)
        next(iter(left))

        assert run(source, "SELECT 1 AS one") == [{"one": 1}]
        left.close()
        assert run(source, "SELECT 2 AS two") == [{"two": 2}]

        source.close()
        del result, left
        gc.collect()
        assert len(packets) < 100
        assert capfd.readouterr() == ("", "")

    def test_closed_result_does_not_look_complete(self, source: Source) -> None:
        """Reading on after the result was closed is an error: no row is lost in silence."""
        rows = iter(source.query(LARGE, SINCE, SINCE_LOCAL))
        next(rows)
        source.close()

        with pytest.raises(RuntimeError, match="closed before all of it was read"):
            next(rows)

    def test_whole_result_keeps_the_connection(self, source: Source) -> None:
        """A result that was read to its end costs no new connection."""
        first = run(source, "SELECT CONNECTION_ID() AS id")

        assert run(source, "SELECT CONNECTION_ID() AS id", limit=None) == first

    def test_no_rows(self, source: Source) -> None:
        """A result without rows still has its columns."""
        with source.query("SELECT id, email FROM customers WHERE FALSE", SINCE, SINCE_LOCAL) as result:
            assert [column.name for column in result.columns] == ["id", "email"]
            assert list(result) == []

    def test_repeated_names_can_be_seen(self, source: Source) -> None:
        """Two columns of one name both stand in the columns."""
        with source.query("SELECT 1 AS a, 2 AS a", SINCE, SINCE_LOCAL) as result:
            assert [column.name for column in result.columns] == ["a", "a"]


TYPES: list[tuple[str, str, Kind, object]] = [
    ("TINYINT(1)", "1", Kind.BOOLEAN, 1),
    ("BOOLEAN", "FALSE", Kind.BOOLEAN, 0),
    ("BIT(1)", "b'1'", Kind.BOOLEAN, 1),
    ("BIT(12)", "b'100000000001'", Kind.INTEGER, 2049),
    ("TINYINT", "-7", Kind.INTEGER, -7),
    ("SMALLINT", "7", Kind.INTEGER, 7),
    ("MEDIUMINT", "7", Kind.INTEGER, 7),
    ("INT(1)", "7", Kind.INTEGER, 7),
    ("BIGINT UNSIGNED", "18446744073709551615", Kind.INTEGER, 2**64 - 1),
    ("YEAR", "2026", Kind.YEAR, 2026),
    ("DECIMAL(30,10)", "1.5", Kind.NUMBER, Decimal("1.5000000000")),
    ("FLOAT", "1.5", Kind.NUMBER, 1.5),
    ("DOUBLE", "1e300", Kind.NUMBER, 1e300),
    ("DATE", "'2026-01-06'", Kind.DATE, date(2026, 1, 6)),
    ("DATE", "'0000-00-00'", Kind.DATE, "0000-00-00"),
    ("DATETIME(6)", "'2026-01-06 01:02:03.000004'", Kind.DATETIME, datetime(2026, 1, 6, 1, 2, 3, 4)),
    ("DATETIME", "'0000-00-00 00:00:00'", Kind.DATETIME, "0000-00-00 00:00:00"),
    ("TIMESTAMP NULL", "'2026-01-06 01:02:03'", Kind.TIMESTAMP, datetime(2026, 1, 6, 1, 2, 3)),
    ("TIME", "'-25:00:01'", Kind.TIME, -timedelta(hours=25, seconds=1)),
    ("CHAR(3)", "'abc'", Kind.TEXT, "abc"),
    ("VARCHAR(9) CHARACTER SET latin1", "'é'", Kind.TEXT, "é"),
    ("TEXT", "'🌻'", Kind.TEXT, "🌻"),
    ("LONGTEXT", "'x'", Kind.TEXT, "x"),
    ("ENUM('a','b')", "'b'", Kind.TEXT, "b"),
    ("SET('a','b')", "'a,b'", Kind.TEXT, "a,b"),
    ("BINARY(2)", "x'00ff'", Kind.BINARY, b"\x00\xff"),
    ("VARBINARY(9)", "x'ff'", Kind.BINARY, b"\xff"),
    ("TINYBLOB", "x'ff'", Kind.BINARY, b"\xff"),
    ("LONGBLOB", "x'ff'", Kind.BINARY, b"\xff"),
    ("POINT", "POINT(1, 2)", Kind.BINARY, struct.pack("<IBIdd", 0, 1, 1, 1, 2)),
    ("INT", "NULL", Kind.INTEGER, None),
]


@pytest.mark.database
def test_kinds_and_values(mariadb: Server) -> None:
    """Each type of column has the kind that the metadata gives, and the driver's own value."""
    columns = ", ".join(f"c{at} {declared}" for at, (declared, *_) in enumerate(TYPES))
    values = ", ".join(value for _, value, *_ in TYPES)
    params = mariadb.database(
        f"SET sql_mode = '', time_zone = '+00:00'; CREATE TABLE t ({columns}); INSERT INTO t VALUES ({values})"
    )
    source = db.connect(params)

    result = source.query("SELECT * FROM t", SINCE, SINCE_LOCAL)
    (row,) = result

    found = [
        (*declared[:2], column.kind, row[column.name]) for declared, column in zip(TYPES, result.columns, strict=True)
    ]
    assert found == TYPES
    source.close()


@pytest.mark.database
def test_kinds_of_expressions(source: Source) -> None:
    """What has no type of its own is unknown, a comparison is a number, and a derived time stays a time."""
    sql = """WITH x AS (SELECT event_time, ROW_NUMBER() OVER () AS n FROM page_views)
             SELECT NULL, 1 = 1, MAX(event_time), MAX(n), COUNT(*) FROM x"""

    with source.query(sql, SINCE, SINCE_LOCAL) as result:
        kinds = [column.kind for column in result.columns]

    assert kinds == [Kind.UNKNOWN, Kind.INTEGER, Kind.TIMESTAMP, Kind.INTEGER, Kind.INTEGER]
