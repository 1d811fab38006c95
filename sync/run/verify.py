"""Reading back: a sample of the users whom Iterable should have, held against what it gives back; and the repair."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sync.delivery.stop import Stop
from sync.rows.columns import Column, Kind
from sync.rows.export import CsvExport, prune, timestamped_name
from sync.rows.identity import address_of
from sync.rows.read_back import Difference
from sync.run.env_file import DEFAULT_SYNC
from sync.run.job import Job, csv_folder, export_stem, make_client
from sync.run.loading import Loading, today
from sync.run.lock import RunLock, is_held, lock_path
from sync.run.reading import Found, Reader
from sync.run.record import OnRecord
from sync.run.settings import SettingsError
from sync.run.steps import open_state
from sync.state.file import StateCopy, read_history
from sync.state.verification import DeliveredUser, Repair, Verification, owe_again

logger = logging.getLogger("main")

VISIBLE_AFTER = 60.0
"""Seconds after which Iterable shows what it took (its support pages ask for a minute before dependent calls)."""

COLUMNS = tuple(Column(name, Kind.TEXT) for name in ("user", "field", "sent", "found"))


@dataclass
class Verified:
    """What was compared: how many users, and the differences of those that differ, in `csv` if there are any."""

    rows: int = 0
    compared: int = 0
    owed: int = 0
    differing: list[Found] = field(default_factory=list)
    csv: Path | None = None
    repaired: int = 0

    def lines(self) -> Iterator[tuple[str, Difference]]:
        """Each difference with the user it is about."""
        for found in self.differing:
            for difference in found.differences:
                yield address_of(found.user.identity), difference


def verify(job: Job, count: int, *, sleep: Callable[[float], object] = time.sleep) -> Verified:
    """Compare `count` users at random ; takes no lock, and writes only the list of what differs.

    Raises SettingsError, NotReadableError and what a run raises for its database, state and files.
    """
    settings = job.settings
    if settings.use_jwt_auth:
        raise SettingsError(
            ["--verify cannot go with USE_JWT_AUTH: a JWT-enabled key may not read users; use a server-side key for it"]
        )
    verified = Verified()
    with closing(StateCopy(settings.state_file)) as state:
        on_record = OnRecord(job, state)
        loading = Loading(job, on_record, keep_bodies=True)
        with closing(job.connect()) as database:
            loading.load(database)
        verified.rows = loading.rows
        with job.comparing():
            loading.outbox.plan(on_record.put)
        verification = Verification(loading.outbox)
        there, verified.owed = verification.count()
        total = min(count, there)
        with closing(make_client(settings, Stop())) as client:
            reader = Reader(client, on_record.mapping.segment_field)
            with job.progress(total) as progress:
                for batch in verification.sample(count):
                    verified.compared += len(batch)
                    verified.differing += _differing(reader, batch, progress)
            verified.differing = _looked_at_again(job, reader, verified.differing, sleep)
    if verified.differing:
        try:
            verified.csv = _write(job, verified)
        except OSError as error:
            logger.warning("The list of all differences cannot be written: %s; check CSV_DIR", error)
    return verified


def _differing(reader: Reader, users: Sequence[DeliveredUser], progress: Callable[[int], object]) -> Iterator[Found]:
    for found in reader.compare(users):
        progress(1)
        if found.differences:
            yield found


def _looked_at_again(
    job: Job, reader: Reader, differing: Sequence[Found], sleep: Callable[[float], object]
) -> list[Found]:
    """What differs is read once more; what a run has just sent, when a minute has passed since."""
    if not differing:
        return []
    wait = _seconds_to_wait(job)
    if wait:
        logger.warning("A run ended a moment ago; looking again at %d users in %.0f s", len(differing), wait)
        sleep(wait)
    return list(_differing(reader, [found.user for found in differing], lambda _count: None))


def _seconds_to_wait(job: Job) -> float:
    """Until everything that a run of this sync sent may be seen; one that was killed ended when it was last alive."""
    settings = job.settings
    now = datetime.now(UTC).replace(tzinfo=None)
    if is_held(lock_path(settings.state_file, _lock_name(job))):
        return VISIBLE_AFTER
    runs = (run for run in read_history(settings.state_file, 20) if run.sync == settings.sync_name)
    last = next(runs, None)
    if last is None:
        return 0.0
    seconds = last.summary["seconds"] if last.summary else _since_written(settings.state_file, last.started)
    end = datetime.fromisoformat(last.started) + timedelta(seconds=seconds)
    return min(VISIBLE_AFTER, max(0.0, VISIBLE_AFTER - (now - end).total_seconds()))


def _since_written(state_file: Path, started: str) -> float:
    """Seconds from then to the last commit to the state or its log: no request was made long after it."""
    written = max(
        path.stat().st_mtime for path in (state_file, state_file.with_name(f"{state_file.name}-wal")) if path.exists()
    )
    return max(0.0, written - datetime.fromisoformat(started).replace(tzinfo=UTC).timestamp())


def _lock_name(job: Job) -> str:
    return job.settings.sync_name if job.settings.sync_name != DEFAULT_SYNC else ""


def _write(job: Job, verified: Verified) -> Path:
    """All differences as a CSV beside the exports, of which as many are kept."""
    folder, stem = csv_folder(job.settings), export_stem(job.settings.sync_name).replace("query_results", "verify", 1)
    with CsvExport(folder / timestamped_name(datetime.now(), folder, stem), COLUMNS) as export:
        for user, difference in verified.lines():
            export.write_all([[user, *difference]])
    prune(folder, job.settings.csv_keep, stem)
    return export.path


def repair(job: Job, verified: Verified) -> None:
    """Let what differs be owed again, under the sync's lock; the next run sends it. Raises LockedError, StateError."""
    settings = job.settings
    repairs = [
        Repair(found.user, bool(found.profile), [event for event, _ in found.events]) for found in verified.differing
    ]
    with RunLock(lock_path(settings.state_file, _lock_name(job))), closing(open_state(job, Stop())) as state:
        owe_again(state, OnRecord(job, state).record.id, repairs, today())
    verified.repaired = len(repairs)
