"""MySQL and MariaDB: which of them the tests run on, where they differ, and the columns that neither has yet."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import db
from sync.database import wire_types
from sync.rows.source import Kind, Row
from sync.run import connections
from sync.run.exit_codes import ExitCode
from tests import mariadb as servers
from tests.db.asking import SINCE, SINCE_LOCAL, refusal, run
from tests.harness import PROJECT, World
from tests.mariadb import Server, require
from tests.process import params_environ
from tests.products import Product, product

MYSQL = pytest.mark.database("MySQL")


def read(server: Server, tables: str, sql: str) -> tuple[list[Kind], list[Row]]:
    """The kinds and the rows of a query over fresh tables."""
    source = db.connect(server.database(tables))
    try:
        with closing(source.query(sql, SINCE, SINCE_LOCAL)) as result:
            return [column.kind for column in result.columns], list(result)
    finally:
        source.close()


# --- which server ---------------------------------------------------------------------------------------


def test_missing_server_is_a_skip_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server program the tests say how to get one; where the database is required they fail."""
    missing = "no server program: install one"
    monkeypatch.setattr(servers, "product", lambda: missing)
    for setting in ("REQUIRE_DATABASE", "TEST_MYSQLD"):
        monkeypatch.delenv(setting, raising=False)

    with pytest.raises(pytest.skip.Exception, match=f"no database server: {missing}"):
        require()

    for setting in ("REQUIRE_DATABASE", "TEST_MYSQLD"):
        with monkeypatch.context() as once:
            once.setenv(setting, "1")
            with pytest.raises(pytest.fail.Exception, match=f"{setting} is set, and there is {missing}"):
                require()


def test_mysql_is_a_program_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TEST_MYSQLD may name mysqld itself, or a folder that holds it, in which it is run by chroot, as root."""
    program = tmp_path / "usr" / "sbin" / "mysqld"
    assert product({"TEST_MYSQLD": str(tmp_path)}) == (
        f"no mysqld in TEST_MYSQLD={tmp_path}: make a folder with one by tests/mysql-server"
    )
    program.parent.mkdir(parents=True)
    program.touch()

    alone = product({"TEST_MYSQLD": str(program)})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    folder = product({"TEST_MYSQLD": str(tmp_path)})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert isinstance(alone, Product) and isinstance(folder, Product)
    assert (alone.name, alone.serve[0], alone.inside(tmp_path)) == ("MySQL", str(program), str(tmp_path))
    assert folder.serve[:3] == ("chroot", str(tmp_path), "/usr/sbin/mysqld")
    assert folder.inside(tmp_path / "var" / "data") == "/var/data"
    assert "only root" in str(product({"TEST_MYSQLD": str(tmp_path)}))


def test_only_a_marked_test_gets_a_server() -> None:
    """Whoever selects or leaves out the tests of the database by their marker has them all."""
    with pytest.raises(pytest.fail.Exception, match="needs the marker `database`"):
        Server().__enter__()


# --- columns of any type --------------------------------------------------------------------------------


class Field:
    """What a server says of a column."""

    name = "novel"

    def __init__(self, type_code: int, charsetnr: int = 63, length: int = 1000) -> None:
        self.type_code, self.charsetnr, self.length = type_code, charsetnr, length


JUNK = (b"", b"\xff\xfe\0", b"12", b"-", b"NaN", b"2026-02-31", b"0000-00-00 00:00:00", b"9" * 5000, "é".encode())


@pytest.mark.parametrize("charset", [63, 45])
@pytest.mark.parametrize("code", range(256))
def test_no_type_and_no_bytes_break_the_reading(code: int, charset: int) -> None:
    """Whatever type a server names and whatever bytes it sends, a value comes of it."""
    field = Field(code, charset)
    reader = wire_types.reader(field)

    for data in JUNK:
        assert type(reader(data)).__module__ in ("builtins", "datetime", "decimal")
    assert wire_types.column_kind(field) in Kind


@pytest.mark.parametrize("code", [17, 20, 128, 242, 243, 244])
def test_unknown_type_is_binary(code: int) -> None:
    """A type that is not known here is not guessed: its column holds bytes, as they came."""
    assert wire_types.column_kind(Field(code)) is Kind.BINARY
    assert wire_types.reader(Field(code))(b"\xff") == b"\xff"


def test_text_that_is_none_stays_bytes() -> None:
    """A text that is not UTF-8 is handed on; whoever maps the column has it refused."""
    for code in (253, 245):
        reader = wire_types.reader(Field(code, 45))

        assert (reader("é".encode()), reader(b"\xe9")) == ("é", b"\xe9")


@pytest.mark.database
class TestColumnThatIsNotKnown:
    """A type to come, over a real server: the driver is told that a column has a code which it does not know."""

    @pytest.fixture(autouse=True)
    def novel(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Columns called `novel` have type 200, as if the server had said so."""
        from pymysql.protocol import FieldDescriptorPacket

        original = FieldDescriptorPacket._parse_field_descriptor  # type: ignore[attr-defined]

        def parse(packet: Any, encoding: str) -> None:
            original(packet, encoding)
            if packet.name == "novel":
                packet.type_code = 200

        monkeypatch.setattr(FieldDescriptorPacket, "_parse_field_descriptor", parse)
        yield

    def test_is_harmless(self, mariadb: Server) -> None:
        """All rows and all other columns are read."""
        kinds, rows = read(
            mariadb,
            "CREATE TABLE t (id INT, novel VARBINARY(9)); INSERT INTO t VALUES (1, x'ff00'), (2, NULL)",
            "SELECT * FROM t ORDER BY id",
        )

        assert kinds == [Kind.INTEGER, Kind.BINARY]
        assert rows == [{"id": 1, "novel": b"\xff\0"}, {"id": 2, "novel": None}]

    @pytest.mark.parametrize(
        ("fields", "code", "told"),
        [("first_name", ExitCode.DONE, ""), ("first_name,novel", ExitCode.USAGE, "novel, which is binary")],
        ids=["not mapped", "mapped"],
    )
    def test_in_a_run(
        self, mariadb: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: str, code: ExitCode, told: str
    ) -> None:
        """A run takes no notice of it unless it is mapped; then it is refused by name, before anything is sent."""
        query = tmp_path / "novel.sql"
        inner = (PROJECT / "query.sql").read_text("utf-8").rstrip().rstrip(";")
        query.write_text(f"SELECT seen.*, x'ff00' AS novel FROM ({inner}) AS seen", "utf-8")
        environ = {**params_environ(mariadb.sample()), "QUERY_FILE": str(query), "USER_FIELDS": fields}
        world = World(tmp_path, monkeypatch, **environ)
        monkeypatch.setattr(connections, "connect", db.connect)

        assert world.main() == code
        assert told in world.log()
        assert len(world.profiles) == (8 if code == ExitCode.DONE else 0)


@pytest.mark.database
def test_types_that_hold_bytes(mariadb: Server) -> None:
    """Geometry and bits come as bytes and numbers on both products."""
    kinds, rows = read(
        mariadb,
        "CREATE TABLE t (g GEOMETRY, p POINT, b BIT(64)); "
        "INSERT INTO t VALUES (POINT(1, 2), POINT(1, 2), b'1' << 63), (NULL, NULL, NULL)",
        "SELECT * FROM t ORDER BY b DESC",
    )
    point = struct.pack("<IBIdd", 0, 1, 1, 1, 2)

    assert kinds == [Kind.BINARY, Kind.BINARY, Kind.INTEGER]
    assert rows == [{"g": point, "p": point, "b": 2**63}, {"g": None, "p": None, "b": None}]


@MYSQL
class TestVector:
    """MySQL 9's VECTOR, which the driver does not know."""

    TABLE = "CREATE TABLE t (email VARCHAR(99), v VECTOR(2)); INSERT INTO t VALUES ('a@x.com', TO_VECTOR('[1,-2]'))"

    def test_is_harmless(self, mariadb: Server) -> None:
        """`SELECT *` over it gives every row, and its bytes."""
        kinds, rows = read(mariadb, self.TABLE, "SELECT * FROM t")

        assert kinds == [Kind.TEXT, Kind.BINARY]
        assert rows == [{"email": "a@x.com", "v": struct.pack("<ff", 1, -2)}]


# --- where the products differ --------------------------------------------------------------------------

DOCUMENT = """'{"b": 1, "a": 2.0, "a": 3}'"""


@pytest.mark.database
def test_json_on_the_wire(mariadb: Server) -> None:
    """MySQL says JSON and sends its own order of keys, each once; MariaDB's JSON is the very text that was stored."""
    kinds, rows = read(mariadb, f"CREATE TABLE t (j JSON); INSERT INTO t VALUES ({DOCUMENT})", "SELECT j FROM t")

    assert (kinds, rows) == {
        "MariaDB": ([Kind.TEXT], [{"j": '{"b": 1, "a": 2.0, "a": 3}'}]),
        "MySQL": ([Kind.JSON], [{"j": '{"a": 3, "b": 1}'}]),
    }[mariadb.product]


@pytest.mark.database
def test_default_collation(mariadb: Server) -> None:
    """What equals what by default: to MySQL trailing blanks count, and ß is ss; to MariaDB the reverse."""
    equal = "SELECT a = 'A' AS letter_case, a = 'ä' AS accent, a = 'a ' AS blank, 'ß' = 'ss' AS sharp_s FROM t"
    _, (row,) = read(mariadb, "CREATE TABLE t (a VARCHAR(9)); INSERT INTO t VALUES ('a')", equal)

    differing = {"MariaDB": {"blank": 1, "sharp_s": 0}, "MySQL": {"blank": 0, "sharp_s": 1}}[mariadb.product]
    assert row == {"letter_case": 1, "accent": 1, **differing}


@pytest.mark.database
@pytest.mark.parametrize(
    ("sql", "numbers"),
    [
        pytest.param("SELECT ST_GeomFromText('x')", {"MariaDB": None, "MySQL": 3037}, id="geometry"),
        pytest.param("SELECT JSON_EXTRACT('{', '$.a')", {"MariaDB": None, "MySQL": 3141}, id="JSON"),
    ],
)
def test_error_numbers(mariadb: Server, sql: str, numbers: dict[str, int | None]) -> None:
    """What MySQL refuses with a number of its own MariaDB may answer with a NULL and a warning, which nobody sees."""
    number = numbers[mariadb.product]
    if number is None:
        (value,) = read(mariadb, "SELECT 1", sql)[1][0].values()
        assert value is None
    else:
        assert f"answered with error {number} (" in refusal(mariadb.database(), sql)


@pytest.mark.database
def test_how_accounts_sign_in(mariadb: Server) -> None:
    """An account made without a word on the matter signs in by SHA-256 at MySQL and by SHA-1 at MariaDB."""
    plugin = mariadb.execute("SELECT plugin FROM mysql.user WHERE user = 'app'")

    assert plugin == (({"MariaDB": "mysql_native_password", "MySQL": "caching_sha2_password"}[mariadb.product],),)


@pytest.fixture(scope="module", params=[True, False], ids=["TLS", "no TLS"])
def fresh(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose account has not signed in yet."""
    with Server(tls=request.param) as server:
        yield server


@MYSQL
class TestCachingSha2Password:
    """MySQL's login, with and without TLS; the first login of an account sends the password, later ones its hash."""

    def test_without_its_package(self, fresh: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """The password travels encrypted without TLS; where the package for it lacks, the sentence names it."""
        monkeypatch.setattr("pymysql._auth._have_cryptography", False)
        if fresh.execute("SELECT @@tls_version")[0][0]:
            assert "refused the user app" in refusal(replace(fresh.params("mysql"), password="not-the-password"))
        else:
            assert "lacks a package ('cryptography' package is required" in refusal(fresh.params("mysql"))

    def test_signs_in(self, fresh: Server) -> None:
        """The first login and the second work, with a password that is not ASCII."""
        for _ in range(2):
            source = db.connect(fresh.params("mysql"))
            assert run(source, "SELECT 1 AS one") == [{"one": 1}]
            source.close()


def test_package_for_caching_sha2_password_is_required() -> None:
    """The requirements name the extra that MySQL 8's default login needs."""
    requirements = Path(db.__file__).with_name("requirements.txt").read_text()

    assert "PyMySQL[rsa]==" in requirements
