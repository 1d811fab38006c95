"""A private database server: on a temporary directory, its own port, gone with the tests."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pymysql
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pymysql.constants import CLIENT

from db import MySQLParams
from tests.products import Product, product

_PROJECT = Path(__file__).resolve().parent.parent
allowed = True
"""Whether a server may be started and asked: not by a test without the marker `database`."""
LEFT_OUT = "no database server: "
"""How the reason of a skip begins where no server can be had."""


def installed() -> bool:
    """Whether this machine has what a server takes."""
    return isinstance(product(), Product)


def require() -> Product:
    """The server program. Without one skip, and say how to get it; where it was promised or asked for, fail."""
    found = product()
    if isinstance(found, Product):
        return found
    for setting in ("REQUIRE_DATABASE", "TEST_MYSQLD"):
        if os.environ.get(setting):
            pytest.fail(f"{setting} is set, and there is {found}")
    pytest.skip(f"{LEFT_OUT}{found}")


@cache
def _empty(product: Product) -> Path:
    """A data directory without data, made once and copied by every server: making one takes seconds."""
    temporary = tempfile.TemporaryDirectory(prefix="empty-", dir=product.home, ignore_cleanup_errors=True)
    atexit.register(temporary.cleanup)
    directory = Path(temporary.name)
    command = [*product.install, *_options(product, directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{product.install[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return directory / "data"


def _options(product: Product, directory: Path) -> list[str]:
    """What the making and the running of a server have in common."""
    return [
        f"--datadir={product.inside(directory / 'data')}",
        f"--tmpdir={product.inside(directory)}",  # a server that starts removes other servers' files from a shared one
        *(["--user=root"] if os.geteuid() == 0 else []),
        "--innodb-buffer-pool-size=32M",
        "--innodb-flush-log-at-trx-commit=0",  # nothing here outlives the tests
    ]


def _refuse_unmarked_test() -> None:
    """Threads of a marked test may go on beside unmarked ones."""
    if not allowed and threading.current_thread() is threading.main_thread():
        pytest.fail("a test that needs a server needs the marker `database`")


_CERTIFICATES = {"ca": "ca.pem", "cert": "server.pem", "key": "server.key"}


class Server:
    """A server with TLS for the name `localhost`, started by `with`; *options* are the server program's.

    `app` is a user who may read and nothing else; `execute` is root.
    """

    user, password = "app", "app's pässword"

    def __init__(self, *options: str, tls: bool = True) -> None:
        self._options = options
        self._tls = tls
        self._count = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        _refuse_unmarked_test()
        self._product = require()
        self.product = self._product.name
        self._temporary = tempfile.TemporaryDirectory(
            prefix="server-", dir=self._product.home, ignore_cleanup_errors=True
        )
        self.directory = Path(self._temporary.name)
        self.port = _free_port()
        self.ca = self.directory / "ca.pem"
        self.socket = self.directory / "socket"
        try:
            shutil.copytree(_empty(self._product), self.directory / "data")
            if self._tls:
                make_certificates(self.directory)
            self.start()
            self.execute("CREATE USER app@'%%' IDENTIFIED BY %s", self.password)
            self.execute("GRANT SELECT ON *.* TO app@'%'")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._temporary.cleanup()

    def start(self, *options: str) -> None:
        """Start, or start again; *options* are added for this time."""
        inside = self._product.inside
        tls = [f"--ssl-{key}={inside(self.directory / name)}" for key, name in _CERTIFICATES.items()]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._product.serve,
                    *_options(self._product, self.directory),
                    f"--socket={inside(self.socket)}",
                    f"--port={self.port}",
                    f"--pid-file={inside(self.directory / 'pid')}",
                    "--bind-address=127.0.0.1",
                    "--skip-name-resolve",
                    *(tls if self._tls else self._product.without_tls),
                    *self._options,
                    *options,
                ],
                stdout=log,
                stderr=log,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self.socket))
                return
            except OSError:
                if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / "log").read_text(errors="replace")
                    raise RuntimeError(f"the server did not start: {log[-2000:]}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """Shut down in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """Die in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def restart(self, *options: str) -> None:
        """Stop and start; *options* are added for this time."""
        self.stop()
        self.start(*options)

    def execute(self, sql: str, *values: object, database: str | None = None) -> tuple[tuple[Any, ...], ...]:
        """Run any number of statements as root; the rows of the first."""
        _refuse_unmarked_test()
        with (
            pymysql.connect(
                unix_socket=str(self.socket),
                user="root",
                database=database,
                autocommit=True,
                client_flag=CLIENT.MULTI_STATEMENTS,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql, values or None)
            rows = cursor.fetchall()
            while cursor.nextset():  # an error in a later statement is raised here
                pass
            return rows

    def running(self, words: str) -> bool:
        """Whether `app` is in the middle of a statement with these words."""
        found = self.execute("SELECT info FROM information_schema.processlist WHERE user = %s", self.user)
        return any(words in str(info) for (info,) in found)

    def params(self, database: str) -> MySQLParams:
        """How `app` reaches a database."""
        return MySQLParams("127.0.0.1", self.port, self.user, self.password, database)

    def database(self, *scripts: str) -> MySQLParams:
        """A fresh database in which the scripts were run."""
        name = f"test_{next(self._count)}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        for script in scripts:
            self.execute(script, database=name)
        return self.params(name)

    def sample(self) -> MySQLParams:
        """A fresh database with the sample rows."""
        return self.database(*(_PROJECT.joinpath(name).read_text("utf-8") for name in ("schema.sql", "seed.sql")))


def numbers(digits: int) -> str:
    """What stands after FROM for rows with `seq` from 1 to ten to the power of *digits*, made while they are read."""
    ten = "SELECT 0 AS n" + "".join(f" UNION ALL SELECT {n}" for n in range(1, 10))
    tables = ", ".join(f"({ten}) AS d{at}" for at in range(digits))
    total = " + ".join(f"{10**at} * d{at}.n" for at in range(digits))
    return f"(SELECT 1 + {total} AS seq FROM {tables}) AS numbers"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_certificates(directory: Path) -> None:
    """Write an authority and a certificate that it signed for `localhost`."""
    authority, authority_key = _certificate("Test authority", None, None)
    certificate, key = _certificate("localhost", authority, authority_key)
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(authority.public_bytes(pem))
    (directory / "server.pem").write_bytes(certificate.public_bytes(pem))
    (directory / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _certificate(
    name: str, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name.replace(" ", "-"))]), critical=False)
    )
    return builder.sign(issuer_key or key, hashes.SHA256()), key
