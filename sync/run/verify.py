"""Reading back: a sample of the users whom Iterable should have, compared with what it returns; and the repair."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from iterable_client import IterableClient
from sync.api.answers import FAILURES, REJECTIONS, STOPPING, ApiResult, Verdict
from sync.api.endpoints import EVENTS_BY_EMAIL, EVENTS_BY_ID, USERS_BY_EMAIL, USERS_BY_ID
from sync.rows.export import CsvExport, prune, timestamped_name
from sync.rows.identity import address_of, is_user_id, log_field, name_of
from sync.rows.read_back import (
    EXISTS,
    MOST_EVENTS,
    USER,
    Difference,
    event_differences,
    profile_differences,
    segment_differences,
)
from sync.rows.source import SourceError
from sync.run.connections import make_client
from sync.run.lock import locked_state
from sync.run.on_record import OnRecord
from sync.run.settings import Settings, SettingsError
from sync.run.steps import Run, export_stem
from sync.state.verification import DeliveredUser, Repair, Verification, make_pending_again

logger = logging.getLogger("main")

READERS = 16
"""Calls in flight: enough for 100 a second while one takes up to 0.16 s, and there are two endpoints."""

VISIBLE_AFTER = 60.0
"""Seconds after which Iterable shows what it accepted (its support pages ask for a minute before dependent calls)."""

COLUMNS = ("user", "field", "sent", "found")

_NOBODY = frozenset({"error.users.noUserWithIdExists", "UnknownEmailError", "UnknownUserIdError"})

_NO_PATH = frozenset({".", ".."})
"""Ids that no URL can end in: they are steps in a path, however they are encoded. Events are read with such a URL."""


class Found(NamedTuple):
    """What the comparison of one user found, and what sends it again."""

    differences: Sequence[Difference]
    repair: Repair


@dataclass
class Verified:
    """What was compared: how many users, and the differences of those that differ, in `csv` if there are any."""

    compared: int = 0
    pending: int = 0
    differing: list[Found] = field(default_factory=list)
    csv: Path | None = None
    repaired: int = 0

    def lines(self) -> Iterator[tuple[str, Difference]]:
        """Each difference with the user it is about."""
        for found in self.differing:
            for difference in found.differences:
                yield address_of(found.repair.user.identity), difference


def verify(run: Run, *, sleep: Callable[[float], object] = time.sleep) -> Verified:
    """Compare as many users as `--verify` says, at random; takes no lock, and writes only the list of what differs.

    Raises SettingsError for a key that may not read users, SourceError where Iterable cannot be read, and what a run
    raises for its database, state and files.
    """
    settings, count, verified = run.settings, run.options.verify or 0, Verified()
    if settings.use_jwt_auth:
        raise SettingsError(
            ["--verify cannot be used with USE_JWT_AUTH: a JWT-enabled key may not read users; use a server-side key"]
        )
    with run.previewed(), closing(make_client(settings, run.stop)) as client:
        verification = Verification(run.outbox)
        there, verified.pending = verification.count()
        reader = _Reader(client, run.on_record.mapping.segment_field)
        with run.screen.counting("users", min(count, there)) as progress:
            for batch in verification.sample(count):
                verified.compared += len(batch)
                verified.differing += reader.differing(batch, progress)
        if verified.differing:
            _wait_until_visible(settings.state_file.resolve(), sleep)
            verified.differing = list(reader.differing([found.repair.user for found in verified.differing]))
    if verified.differing:
        verified.csv = _write(settings, verified)
    return verified


def _wait_until_visible(state: Path, sleep: Callable[[float], object]) -> None:
    """Wait until all that a run sent can be seen: no request was made long after the last commit to the state."""
    files = (state, state.with_name(f"{state.name}-wal"))
    written = max(path.stat().st_mtime for path in files if path.exists())
    if (wait := written + VISIBLE_AFTER - time.time()) > 0:
        logger.warning("A run ended a moment ago; looking again at what differs in %.0f s", min(VISIBLE_AFTER, wait))
        sleep(min(VISIBLE_AFTER, wait))


def _write(settings: Settings, verified: Verified) -> Path:
    """Write all differences to a CSV beside the exports; as many of these are kept as of the exports."""
    folder, stem = settings.csv_dir, export_stem(settings.sync_name, "verify")
    with CsvExport(folder / timestamped_name(datetime.now(), folder, stem), COLUMNS) as export:
        export.write_all([(user, *difference) for user, difference in verified.lines()])
    prune(folder, settings.csv_keep, stem)
    return export.path


def repair(run: Run, verified: Verified) -> None:
    """Let the next run send what differs, under the sync's lock. Raises LockedError, StateError."""
    repairs = [found.repair for found in verified.differing]
    with locked_state(run.settings, run.stop.is_overdue) as state:
        sync = OnRecord(state, run.settings, run.options).record.id
        make_pending_again(state, sync, repairs, int(time.time() // 86400))
    verified.repaired = len(repairs)


class _Reader:
    """Compares users with what Iterable returns; `segment_field` must not be true for users who left."""

    def __init__(self, client: IterableClient, segment_field: str) -> None:
        self._client, self._segment_field = client, segment_field

    def differing(
        self, users: Sequence[DeliveredUser], progress: Callable[[int], object] = lambda _count: None
    ) -> Iterator[Found]:
        """Those who differ, in no particular order; raises SourceError."""
        with ThreadPoolExecutor(READERS, "reader") as pool:
            for found in pool.map(self._compare, users):
                progress(1)
                if found.differences:
                    yield found

    def _compare(self, user: DeliveredUser) -> Found:
        result = self._look_up(user.identity) if user.left or user.body else None
        if result and result.verdict in REJECTIONS and result.code not in _NOBODY:
            refused = f"(Iterable refuses to show this user: {result.reason})"
            return Found([Difference(USER, EXISTS, refused)], Repair(user, True, []))
        profile = self._profile(user, result) if result else []
        events = self._events(user) if user.events else {}
        differences = [*profile, *chain.from_iterable(events.values())]
        masked = [one._replace(found=self._client.masked(one.found)) for one in differences]  # it is Iterable's word
        return Found(masked, Repair(user, bool(profile), list(events)))

    def _profile(self, user: DeliveredUser, result: ApiResult) -> list[Difference]:
        found = None if result.code in _NOBODY else _read(result).get("user")
        stored = found if isinstance(found, dict) else None
        if user.body is None:
            return segment_differences(self._segment_field, stored)
        return profile_differences(user.body, stored)

    def _look_up(self, identity: str) -> ApiResult:
        name = name_of(identity)
        if is_user_id(identity):
            return self._client.get(USERS_BY_ID, {"userId": name}, userId=name)
        return self._client.get(USERS_BY_EMAIL, {"email": name}, email=name)

    def _events(self, user: DeliveredUser) -> dict[bytes, Sequence[Difference]]:
        """The ids of the events that differ, and how: each is compared with those read that match no other."""
        name = name_of(user.identity)
        if name in _NO_PATH:
            logger.warning("No URL leads to this user's events; they are not compared %s", log_field(user.identity))
            return {}
        endpoint, kind = (EVENTS_BY_ID, "userId") if is_user_id(user.identity) else (EVENTS_BY_EMAIL, "email")
        result = self._client.get(endpoint, {kind: name}, path=name, limit=str(MOST_EVENTS))
        events = [event for event in _read(result).get("events", []) if isinstance(event, dict)]
        found = event_differences([json.loads(event.body) for event in user.events], events)
        return {event.id: several for event, several in zip(user.events, found, strict=True) if several}


def _read(result: ApiResult) -> dict[str, Any]:
    if result.verdict is Verdict.ACCEPTED:
        return result[1]
    if result.verdict is Verdict.INTERRUPTED:
        raise SourceError("interrupted")
    if result.verdict in STOPPING | FAILURES:
        raise SourceError(f"Iterable cannot be read: {result.reason}; check that ITERABLE_API_KEY may read users")
    raise SourceError(f"Iterable refuses to show a user: {result.reason}")
