"""Reading back: a sample of the users whom Iterable should have, held against what it gives back; and the repair."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sync.rows.export import CsvExport, prune, timestamped_name
from sync.rows.identity import address_of
from sync.rows.read_back import Difference
from sync.run.connections import make_client
from sync.run.lock import locked_state
from sync.run.reader import Found, Reader
from sync.run.record import OnRecord
from sync.run.settings import Settings, SettingsError
from sync.run.steps import Run, export_stem
from sync.state.verification import DeliveredUser, Repair, Verification, make_pending_again

logger = logging.getLogger("main")

VISIBLE_AFTER = 60.0
"""Seconds after which Iterable shows what it took (its support pages ask for a minute before dependent calls)."""

COLUMNS = ("user", "field", "sent", "found")


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
                yield address_of(found.user.identity), difference


def refuse_key_with_jwt(settings: Settings) -> None:
    """Raise SettingsError for a key that may not read users."""
    if settings.use_jwt_auth:
        raise SettingsError(
            ["--verify cannot go with USE_JWT_AUTH: a JWT-enabled key may not read users; use a server-side key for it"]
        )


def verify(run: Run, count: int, *, sleep: Callable[[float], object] = time.sleep) -> Verified:
    """Compare `count` users at random ; takes no lock, and writes only the list of what differs.

    Raises NotReadableError and what a run raises for its database, state and files.
    """
    verified = Verified()
    with run.previewed(keep_bodies=True):
        verification = Verification(run.outbox)
        there, verified.pending = verification.count()
        with closing(make_client(run.settings, run.stop)) as client:
            reader = Reader(client, run.on_record.mapping.segment_field)
            with run.screen.counting("users", min(count, there)) as progress:
                for batch in verification.sample(count):
                    verified.compared += len(batch)
                    verified.differing += _differing(reader, batch, progress)
            if verified.differing:
                verified.differing = _looked_at_again(run.settings, reader, verified.differing, sleep)
    if verified.differing:
        try:
            verified.csv = _write(run.settings, verified)
        except OSError as error:
            logger.warning("The list of all differences cannot be written: %s; check CSV_DIR", error)
    return verified


def _differing(reader: Reader, users: Sequence[DeliveredUser], progress: Callable[[int], object]) -> Iterator[Found]:
    for found in reader.compare(users):
        progress(1)
        if found.differences:
            yield found


def _looked_at_again(
    settings: Settings, reader: Reader, differing: Sequence[Found], sleep: Callable[[float], object]
) -> list[Found]:
    """What differs is read once more; what a run has just sent, when a minute has passed since."""
    if wait := _seconds_to_wait(settings.state_file.resolve()):
        logger.warning("A run ended a moment ago; looking again at %d users in %.0f s", len(differing), wait)
        sleep(wait)
    return list(_differing(reader, [found.user for found in differing], lambda _count: None))


def _seconds_to_wait(state: Path) -> float:
    """Until everything that a run sent may be seen: no request was made long after the last commit to the state."""
    files = (state, state.with_name(f"{state.name}-wal"))
    written = max(path.stat().st_mtime for path in files if path.exists())
    return min(VISIBLE_AFTER, max(0.0, VISIBLE_AFTER - (time.time() - written)))


def _write(settings: Settings, verified: Verified) -> Path:
    """All differences as a CSV beside the exports, of which as many are kept."""
    folder, stem = settings.csv_dir, export_stem(settings.sync_name, "verify")
    with CsvExport(folder / timestamped_name(datetime.now(), folder, stem), COLUMNS) as export:
        for user, difference in verified.lines():
            export.write_all([[user, *difference]])
    prune(folder, settings.csv_keep, stem)
    return export.path


def repair(run: Run, verified: Verified) -> None:
    """Let the next run send what differs, under the sync's lock. Raises LockedError, StateError."""
    repairs = [
        Repair(found.user, bool(found.profile), [event for event, _ in found.events]) for found in verified.differing
    ]
    with locked_state(run.settings, run.stop.is_overdue) as state:
        sync = OnRecord(state, run.settings, run.switches).record.id
        make_pending_again(state, sync, repairs, int(time.time() // 86400))
    verified.repaired = len(repairs)
