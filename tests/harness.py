"""What the tests of the run share: rows in memory, and Iterable without a socket.

A `World` is one installation: settings, a source of rows that a test may change between runs, and an Iterable
project as strict as the stand-in, reached through `requests` without a network.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

import main
from iterable_client import IterableClient
from sync.delivery.stop import Stop
from sync.rows.mapping import Mapping as FieldMapping
from sync.rows.payloads import Reading
from sync.rows.source import Column, Row, Values
from sync.run import connections
from sync.run.connections import make_client
from sync.run.settings import Options, Settings, load_settings
from sync.run.steps import Run
from sync.run.summary import Summary
from sync.state.destinations import SyncName
from sync.state.file import State
from sync.state.syncs import SyncRecord
from tests.sample_rows import COLUMNS, Rows
from tests.stand_in.answers import Request
from tests.stand_in.faults import Ending, Fault, Faults
from tests.stand_in.project import Project
from tests.stand_in.rules import ProjectRules

PROJECT = Path(__file__).resolve().parent.parent
UPDATE, TRACK = "/api/users/update", "/api/events/track"
KEY = ProjectRules.api_key


def to_load(rows: Iterable[Row], mapping: FieldMapping) -> tuple[Iterator[Values], Reading]:
    """The rows as a run gives them to its outbox."""
    values = (tuple(row[column.name] for column in COLUMNS) for row in rows)
    return values, Reading(mapping, COLUMNS, address_ids=mapping.follows_addresses)


class Wire(BaseAdapter):
    """Iterable behind `requests`, without a socket; `requests` holds what came, `faults` goes wrong on purpose."""

    def __init__(self, rules: ProjectRules | None = None, faults: Faults | None = None) -> None:
        super().__init__()
        self.project = Project(rules or ProjectRules())
        self.faults = faults
        self.requests: list[Request] = []
        self._lock = threading.Lock()

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Answer as the stand-in would."""
        parts = urlsplit(str(request.url))
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        asked = Request(str(request.method), parts.path, parts.query, headers, body, time.monotonic())
        with self._lock:
            self.requests.append(asked)
            fault = (self.faults(asked) if self.faults else None) or Fault("", applies=True)
            asked.fault = fault.name
            answer = self.project.handle(asked) if fault.applies else None
        if fault.ending is Ending.HOLD:
            raise requests.ReadTimeout("no answer")
        if fault.silent or fault.missing:
            raise requests.ConnectionError("closed")
        told = fault.answer or answer
        assert told is not None
        asked.status = told.status
        response = requests.Response()
        response.status_code = told.status
        response.raw = HTTPResponse(BytesIO(told.body), status=told.status, preload_content=False)
        response.headers.update({"Content-Type": told.content_type, **dict(told.headers)})
        return response

    def close(self) -> None:
        """Nothing is open."""


class World:
    """One installation in *folder*; *environ* changes its settings. Attributes may change between runs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
        self.folder = folder
        self.rows: list[Row] = []
        self.columns: Sequence[Column] = COLUMNS
        self.breaks_after: int | None = None
        self.iterable = Wire()
        self.waits: list[float] = []
        self.environ = {**environment(folder), "ITERABLE_API_BASE_URL": "https://api.iterable.com", **environ}
        self._make_client = make_client
        monkeypatch.setattr(main, "make_client", self.client)
        monkeypatch.setattr(connections, "connect", lambda _params: self.source())

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        return load_settings(Path(os.devnull), self.environ)

    def source(self) -> Rows:
        """The rows as they are now."""
        return Rows(self.rows, self.columns, self.breaks_after)

    def client(self, settings: Settings, stop: Stop) -> IterableClient:
        """The run's client, whose requests go to `iterable` and whose waits take no time."""

        def wait(seconds: float) -> bool:
            self.waits.append(seconds)
            return stop.is_set()

        client = self._make_client(settings, stop)
        client._pacer = None
        client._sleep = wait
        for scheme in ("https://", "http://"):
            client.session.mount(scheme, self.iterable)
        return client

    def run(self, **switches: Any) -> Summary:
        """One run; `sent` is about this one."""
        self.iterable.requests.clear()
        return main.run(Run(self.settings, Options(**switches), source=self.source, source_name="memory://rows"))

    def main(self, *flags: str) -> int:
        """One run by the command line."""
        self.iterable.requests.clear()
        return main.main(["--env-file", str(write_env(self.folder, self.environ)), *flags])

    @property
    def sent(self) -> list[tuple[str, str]]:
        """What the last run sent: path and identity, in order."""
        return [(request.path, identity(request)) for request in self.iterable.requests]

    @property
    def profiles(self) -> dict[str, dict[str, Any]]:
        """What Iterable holds of users."""
        return self.iterable.project.profiles

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that Iterable holds."""
        return list(self.iterable.project.events.values())

    def table(self, query: str) -> list[tuple[Any, ...]]:
        """What the state says."""
        with closing(sqlite3.connect(self.settings.state_file)) as state:
            return state.execute(query).fetchall()

    def log(self) -> str:
        """The whole log."""
        return self.settings.log_file.read_text("utf-8")


def sync_of(state: State, name: str = "default", segment_field: str = "recent_page_view") -> int:
    """The number of a sync in the state."""
    number: int = SyncRecord(state, SyncName(name, "https://api.iterable.com", "key"), segment_field).id
    return number


def identity(request: Request) -> str:
    """Whom a request is about."""
    body = request.json()
    return str(body.get("email") or body.get("userId"))


def whom(request: Request) -> list[str]:
    """The users that a request is about, one or many, in its order."""
    body = request.json()
    items = next((body[key] for key in ("users", "events") if key in body), [body])
    return [str(item.get("email") or item.get("userId")) for item in items]


def asked(world: World) -> set[tuple[str, str]]:
    """What the last run sent, as paths of the single endpoints, whichever were used."""
    single = {"/api/users/bulkUpdate": UPDATE, "/api/events/trackBulk": TRACK}
    requests = world.iterable.requests
    return {(single.get(request.path, request.path), who) for request in requests for who in whom(request)}


def environment(folder: Path) -> dict[str, str]:
    """The settings of an installation whose files are in *folder*."""
    return {
        "SYNC_NAME": "default",
        "DB_USER": "app",
        "DB_NAME": "shop",
        "ITERABLE_API_KEY": KEY,
        "WORKERS": "4",
        "INITIAL_BACKOFF": "0.05",
        "CSV_DIR": str(folder),
        "STATE_FILE": str(folder / "state.sqlite3"),
        "LOG_FILE": str(folder / "run.log"),
    }


def write_env(folder: Path, environ: Mapping[str, str]) -> Path:
    """The settings as a file."""
    path = folder / "env"
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={quoted(value)}\n" for name, value in environ.items()), encoding="utf-8")
    return path


def quoted(value: str, quote: str = "'") -> str:
    """A value as the README says to write it in an env file."""
    return quote + value.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


def counts(summary: Summary) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Delivered, unchanged, rejected, failed: of users and of events."""
    users, events = (
        (told.delivered, told.unchanged, told.rejected, told.failed) for told in (summary.users, summary.events)
    )
    return users, events


def about(who: str, fault: Fault | None, path: str | None = None) -> Faults:
    """*fault* for each request about the user *who*, of *path* alone if it is given."""
    return lambda request: fault if identity(request) == who and path in (None, request.path) else None
