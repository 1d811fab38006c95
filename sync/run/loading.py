"""The rows of a result on their way into the state: what a run, a dry run and a verification have in common."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

from sync.rows.columns import Values
from sync.rows.source import ResultSet, Source
from sync.run.job import Job
from sync.run.record import OnRecord
from sync.state.outbox import Outbox


class Loading:
    """Runs the query, and takes its rows into an outbox as they are read; `rows` counts them.

    `keep_bodies`: of what is unchanged, too. Raises RefusedError where the record forbids this run.
    """

    def __init__(self, job: Job, on_record: OnRecord, *, keep_bodies: bool = False) -> None:
        self._job, self._on_record = job, on_record
        on_record.refuse_foreign_field()
        policy = on_record.policy(keep_bodies=keep_bodies)
        self.outbox = Outbox(on_record.state, on_record.record.id, policy, time.time())
        self.rows = 0

    def query(self, source: Source) -> ResultSet:
        """Run the query; its rows pass through the outbox as they are read."""
        result = self._job.query(source)
        self._on_record.check(result.columns)
        reading = self._on_record.reading(result.columns)
        return result.passed_through(lambda rows: self.outbox.take(self._counted(rows), reading))

    def load(self, source: Source) -> None:
        """Read all rows of the query, for whom nobody else waits."""
        for _ in self.query(source).values():
            pass

    def _counted(self, rows: Iterator[Values]) -> Iterator[Values]:
        """The rows; who watches is told of them, a hundred at once."""
        with self._job.reading() as read:
            while some := list(islice(rows, 100)):
                self.rows += len(some)
                read(len(some))
                yield from some


def today() -> int:
    """The day number since 1970."""
    return int(time.time() // 86400)
