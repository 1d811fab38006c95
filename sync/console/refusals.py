"""What a run would refuse because of what is on record of its sync: `--check` asks the run's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from sync.rows.columns import Column
from sync.run.job import Job
from sync.run.record import OnRecord
from sync.state.destinations import RefusedError
from sync.state.file import StateCopy, StateError


def refusals(job: Job, columns: Sequence[Column]) -> Iterator[str]:
    """The run's sentence for each thing that it would refuse; `columns` are those of the query, if it could be run."""
    try:
        with closing(StateCopy(job.settings.state_file)) as state:
            on_record = OnRecord(job, state)
            yield from _refusal(on_record.refuse_foreign_field)
            if columns:
                yield from _refusal(lambda: on_record.check(columns))
    except (RefusedError, StateError) as error:
        yield str(error)


def _refusal(ask: Callable[[], None]) -> Iterator[str]:
    try:
        ask()
    except RefusedError as error:
        yield str(error)
