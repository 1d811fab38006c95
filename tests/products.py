"""The server programs that the tests of the database run on: MariaDB as it is installed, or the MySQL they are given.

`TEST_MYSQLD` names MySQL's `mysqld`, or a folder with a system that holds one (`tests/mysql-server` makes it). A
product says how a server is made and started; `tests/mariadb.py` does it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


class Product(NamedTuple):
    """One kind of server on this machine."""

    name: str
    install: tuple[str, ...]
    """The command that makes an empty data directory, without the options that both commands share."""
    serve: tuple[str, ...]
    """The command that is the server."""
    without_tls: tuple[str, ...] = ()
    home: Path | None = None
    """Where its files have to be; None: anywhere."""
    root: Path | None = None
    """The folder that is `/` to the server; None: the machine's own."""

    def inside(self, path: Path) -> str:
        """What the server calls a file."""
        return str(path if self.root is None else "/" / path.relative_to(self.root))


def product(environ: Mapping[str, str] = os.environ) -> Product | str:
    """The server program to test with, or what is missing."""
    given = environ.get("TEST_MYSQLD", "")
    if given:
        return _mysql(Path(given).resolve())
    serve = _program("mariadbd", "mysqld")
    install = _program("mariadb-install-db", "mysql_install_db")
    if serve is None or install is None:
        return "no MariaDB server program: apt-get install mariadb-server"
    how = ("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
    quick = ("--no-defaults", "--innodb-log-file-size=4M")
    return Product("MariaDB", (install, *quick, *how), (serve, *quick))


def _mysql(given: Path) -> Product | str:
    if given.is_file():
        return _mysql_by((str(given),))
    program = next((name for name in ("usr/sbin/mysqld", "usr/bin/mysqld") if (given / name).is_file()), None)
    if program is None:
        return f"no mysqld in TEST_MYSQLD={given}: make a folder with one by tests/mysql-server"
    if os.geteuid():
        return f"TEST_MYSQLD={given} is a folder, which only root can run a server in"
    return _mysql_by(("chroot", str(given), f"/{program}"), given)


def _mysql_by(command: tuple[str, ...], root: Path | None = None) -> Product:
    # What no test needs takes seconds and memory.
    quick = ("--skip-mysqlx", "--skip-log-bin", "--innodb-doublewrite=OFF", "--innodb-redo-log-capacity=64M")
    # It makes certificates for itself unless it is told to speak no version of TLS.
    without_tls = ("--tls-version=",)
    return Product(
        "MySQL",
        (*command, "--no-defaults", "--initialize-insecure", *quick),
        (*command, "--no-defaults", "--secure-file-priv=NULL", *quick),
        without_tls,
        root / "tmp" if root else None,
        root,
    )


def _program(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name, path=_PATH))), None)
