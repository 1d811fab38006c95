"""`--check`: look at everything that a run needs and say, a line each, what is wrong and what to do. Sends no data."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sync.console.check_project import project_findings
from sync.console.finding import Finding, Sample
from sync.console.refusals import refusals
from sync.console.time_zone import meaning
from sync.rows.identity import is_usable
from sync.rows.mapping import NO_FIELDS, Fields, unset_problems
from sync.rows.mapping import Mapping as FieldMapping
from sync.rows.payloads import Payload, Reading, RejectedEvent, RowPayloads
from sync.rows.rejection import Rejection
from sync.rows.source import ResultSet, SourceError
from sync.run.clock import on_this_clock
from sync.run.env_file import UnreadableError
from sync.run.errors import exit_of
from sync.run.exit_codes import ExitCode
from sync.run.job import ColumnsError, Job, UsageError, csv_folder
from sync.run.library_warnings import take_warnings
from sync.run.log import LineFormatter
from sync.run.metrics_file import metrics_path
from sync.run.record import OnRecord
from sync.state.destinations import RefusedError
from sync.state.file import StateCopy, StateError, read_history

SAMPLE_ROWS = 20
_SILENCE = logging.NullHandler()  # the findings say it; without any handler, warnings would go to the screen


def check(job: Job, problems: tuple[str, ...] = ()) -> int:
    """Print a line for each check, all of them also after one that fails; exit code 1 when something is wrong."""
    logging.getLogger().addHandler(_SILENCE)
    clean = LineFormatter("", job.settings.secrets().values()).clean
    wrong = 0
    try:
        for finding in findings(job, problems):
            wrong += finding.verdict == "WRONG"
            print(f"{finding.verdict:5}  {finding.what:12} {clean(finding.sentence)}", flush=True)
    except Exception as error:  # a bug, or what a library says that nobody foresaw
        code, sentence = exit_of(error, job.settings.masking)
        print(clean(sentence), file=sys.stderr)
        return code
    for sentence in take_warnings():
        print(clean(job.settings.masking(sentence)), file=sys.stderr)
    print(f"{wrong} to fix" if wrong else "all is well: python3 main.py --dry-run shows what would be sent")
    return ExitCode.STOPPED if wrong else ExitCode.DONE


def findings(job: Job, problems: tuple[str, ...]) -> Iterator[Finding]:
    """All checks in the order in which a run would meet their subjects."""
    yield from (Finding("WRONG", "settings", problem) for problem in problems)
    if not problems:
        yield Finding("ok", "settings", f"every setting can be used; {_mode(job)}")
    yield from _env_file(job.settings.env_file)
    state = _state(job.settings.state_file.resolve())
    yield state
    yield from _files(job)
    if not any(problem.startswith("DB_TIMEZONE ") for problem in problems):
        zone, surprise = meaning(job.settings.db_timezone, datetime.now(UTC))
        yield Finding("note", "time zone", f"{zone}; {surprise}") if surprise else Finding("ok", "time zone", zone)
    sample = Sample()
    yield from _database(job, sample)
    if not problems and state.verdict != "WRONG":
        yield from (Finding("WRONG", "state", sentence) for sentence in refusals(job, sample.columns))
    if job.settings.iterable_api_key and (job.settings.iterable_jwt_secret or not job.settings.use_jwt_auth):
        yield from project_findings(job, sample)


def _mode(job: Job) -> str:
    way = "users/bulkUpdate and events/trackBulk" if job.settings.iterable_bulk else "users/update and events/track"
    return f"{way}, signed in by {'JWT for each user' if job.settings.use_jwt_auth else 'API key'}"


def _env_file(path: Path | None) -> Iterator[Finding]:
    """Whether its secrets are the owner's; a group may be let in on purpose, everybody is an accident."""
    if path and path.is_file() and path.stat().st_mode & stat.S_IROTH:
        yield Finding(
            "note", "settings", f"every user of this machine can read {path}, secrets and all: chmod 600 {path}"
        )


def _files(job: Job) -> Iterator[Finding]:
    log, folder = job.settings.log_file, csv_folder(job.settings)
    yield _writable("log", log, not log.is_dir() and _may_write(log))
    yield _writable("CSV folder", folder, folder.is_dir() and _may_write(folder))
    if job.settings.metrics_file:
        metrics = metrics_path(job.settings.metrics_file, job.settings.sync_name)
        yield _writable("metrics", metrics, os.access(metrics.resolve().parent, os.W_OK))


def _writable(what: str, path: Path, writable: bool) -> Finding:
    if writable:
        return Finding("ok", what, f"{path} may be written")
    return Finding("WRONG", what, f"{path} may not be written; check that its folder exists, and its owner and mode")


def _state(path: Path) -> Finding:
    if not _may_write(path) or not os.access(path.parent, os.W_OK):
        return _writable("state", path, False)
    try:
        last = read_history(path, 1)
    except StateError as error:
        return Finding("WRONG", "state", str(error))
    history = (
        f"the last run began {on_this_clock(last[0].started)}" if last else "no run yet: the first one sends everything"
    )
    return Finding("ok", "state", f"{path}; {history}")


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK) if path.exists() else path.parent.is_dir() and os.access(path.parent, os.W_OK)


# -- the database --------------------------------------------------------------------------------------------


def _database(job: Job, sample: Sample) -> Iterator[Finding]:
    if not (job.source or (job.settings.db_user and job.settings.db_name)):
        return
    try:
        source = job.connect()
    except SourceError as error:
        yield Finding("WRONG", "database", str(error))
        return
    with closing(source):
        yield Finding("ok", "database", f"{source.description}: {source.server}")
        if source.exposure:
            yield Finding("note", "database", source.exposure)
        try:
            yield from _query(replace(job, limit=SAMPLE_ROWS), source, sample)
        except (SourceError, UsageError) as error:
            yield Finding("WRONG", "query", str(error))
        except UnreadableError:  # which is a finding of the settings
            return
        except ColumnsError as error:
            yield from (Finding("WRONG", "query", problem) for problem in error.problems)


def _query(job: Job, source: Any, sample: Sample) -> Iterator[Finding]:
    with job.query(source) as result:
        sample.columns = result.columns
        columns = ", ".join(f"{column.name!r} ({column.kind.value})" for column in result.columns)
        yield Finding("ok", "query", f"{job.settings.query_file.name} gives {columns}")
        if not result.uses_since:
            sentence = "it uses neither :since nor :since_local: every run reads all that it selects"
            yield Finding("note", "query", f"{sentence}, whatever LOOKBACK_DAYS says")
        if not any(unset_problems(job.mapping())):  # else the settings' findings say what no row can be read without
            yield from _rows(job, result, sample)


def _rows(job: Job, result: ResultSet, sample: Sample) -> Iterator[Finding]:
    reading = Reading(job.mapping(), result.columns, typed=_typed(job))
    rows = rejected = lacking = 0
    for rows, values in enumerate(result.values(), start=1):
        payloads = reading.payloads(values)
        lacking += bool(payloads.lacks)
        if reason := _refusal(payloads):
            rejected += 1
            yield Finding("note", "rows", f"row {rows} would be rejected: {reason}")
        if isinstance(payloads.profile, Payload):
            _add_fields(sample.fields, json.loads(payloads.profile.body)["dataFields"])
        if sample.identity is None and is_usable(payloads.identity):
            sample.identity = payloads.identity
    found = f"{rows} of the first {SAMPLE_ROWS}" if rows else "none"
    yield Finding("ok" if rows else "note", "rows", f"{found} read, {rejected} would be rejected")
    if refusal := reading.refusal():
        yield Finding("WRONG", "rows", refusal)
    yield _names(job.mapping(), rows, lacking)


def _typed(job: Job) -> Fields:
    """The fields that have their types at Iterable; a state that cannot tell has findings of its own."""
    with suppress(StateError, RefusedError), closing(StateCopy(job.settings.state_file)) as state:
        return OnRecord(job, state).typed
    return NO_FIELDS


def _names(mapping: FieldMapping, rows: int, lacking: int) -> Finding:
    """Which names of a user are sent, and how many rows lack one."""
    words = ("user id", "address") if mapping.by_user_id else ("address", "user id")
    columns = mapping.identity_column, mapping.other_name_column
    identity, other = (f"{word} (column {column})" for word, column in zip(words, columns, strict=True))
    if not mapping.other_name_column:
        if not mapping.by_user_id:
            return Finding("ok", "names", f"users are identified by their {identity}; no user id is sent")
        sentence = "no address is sent, and who has none cannot be mailed; write EMAIL_COLUMN out, and it goes along"
        return Finding("note", "names", f"users are identified by their {identity}; {sentence}")
    if not mapping.user_fields:
        return Finding("note", "names", f"the {other} is not sent: it goes with a profile, and USER_FIELDS is empty")
    sentence = f"{lacking} of {rows} rows lack it, and their profiles go without it" if lacking else "no row lacks it"
    verdict = "note" if lacking else "ok"
    return Finding(verdict, "names", f"users are identified by their {identity}, the {other} goes along; {sentence}")


def _refusal(payloads: RowPayloads) -> str:
    """Why the row, or its event alone, would be rejected before any request; empty when it would be sent.

    A value that makes the run refuse rejects no row.
    """
    rejections = (part for part in payloads[2:] if isinstance(part, Rejection | RejectedEvent) and not part.misfits)
    return next((rejection.reason for rejection in rejections), "")


def _add_fields(known: dict[str, Any], fields: Mapping[str, Any], prefix: str = "") -> None:
    """Remember the first value of each field that is not null; what is in an object also as `address.city`."""
    for name, value in fields.items():
        if value is not None:
            known.setdefault(prefix + name, value)
        if isinstance(value, dict):
            _add_fields(known, value, f"{prefix}{name}.")
