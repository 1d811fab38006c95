"""`--check`: look at everything that a run needs and say, a line each, what is wrong and what to do. Sends no data."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final

from sync.console.check_project import Found, project_findings
from sync.console.screen import print_error
from sync.rows.columns import Column
from sync.rows.identity import is_usable
from sync.rows.mapping import NO_FIELDS, Fields, unset_problems
from sync.rows.payloads import Payload, Reading, RejectedEvent, RowPayloads
from sync.rows.rejection import Rejection
from sync.rows.source import ResultSet, Source, SourceError
from sync.run.connections import NO_WINDOW, ColumnsError, UsageError, run_query
from sync.run.env_file import UnreadableError
from sync.run.exit_codes import ExitCode
from sync.run.log import LineFormatter, on_this_clock
from sync.run.metrics_file import metrics_path
from sync.run.record import OnRecord
from sync.run.steps import Run
from sync.state.destinations import RefusedError
from sync.state.file import StateCopy, StateError, read_history

SAMPLE_ROWS = 20


@dataclass
class Checked:
    """A run that is looked at, the problems of its settings, and what the query and its first rows gave."""

    run: Run
    problems: Sequence[str]
    columns: Sequence[Column] = ()
    identity: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    def can_use(self, *settings: str) -> bool:
        """Whether none of these settings has a problem: one that has stands at its default, which nobody meant."""
        return not any(problem.startswith((f"{name} ", f"{name}:")) for problem in self.problems for name in settings)


def check(run: Run, problems: Sequence[str] = ()) -> int:
    """Print a line for each check, all of them also after one that fails; exit code 1 when something is wrong."""
    clean = LineFormatter("", run.settings.secrets().values()).clean
    wrong = 0
    try:
        for verdict, what, sentence in findings(Checked(run, problems)):
            wrong += verdict == "WRONG"
            print(f"{verdict:5}  {what:12} {clean(sentence)}", flush=True)
    except Exception as error:  # a bug, or what a library says that nobody foresaw
        return print_error(error, run.settings)
    print(f"{wrong} to fix" if wrong else "all is well: python3 main.py --dry-run shows what would be sent")
    return ExitCode.STOPPED if wrong else ExitCode.DONE


def findings(checked: Checked) -> Found:
    """All checks in the order in which a run would meet their subjects."""
    for one in _CHECKS:
        try:
            yield from one(checked)
        except RefusedError as error:
            yield "WRONG", "state", str(error)
        except StateError:  # which `_state` has told
            continue


def _settings(checked: Checked) -> Found:
    at = checked.run.settings
    yield from (("WRONG", "settings", problem) for problem in checked.problems)
    if not checked.problems:
        way = "users/bulkUpdate and events/trackBulk" if at.iterable_bulk else "users/update and events/track"
        signed_in = "JWT for each user" if at.use_jwt_auth else "API key"
        yield "ok", "settings", f"every setting can be used; {way}, signed in by {signed_in}"
    path = at.env_file
    if path and path.is_file() and path.stat().st_mode & stat.S_IROTH:  # a group may be let in on purpose
        yield "note", "settings", f"every user of this machine can read {path}, secrets and all: chmod 600 {path}"


def _state(checked: Checked) -> Found:
    path = checked.run.settings.state_file.resolve()
    if not _may_write(path) or not os.access(path.parent, os.W_OK):
        yield _writable("state", path, False)
        return
    try:
        last = read_history(path, 1)
    except StateError as error:
        yield "WRONG", "state", str(error)
        return
    began = f"the last run began {on_this_clock(last[0].started)}" if last else ""
    yield "ok", "state", f"{path}; {began or 'no run yet: the first one sends everything'}"


def _files(checked: Checked) -> Found:
    at = checked.run.settings
    yield _writable("log", at.log_file, not at.log_file.is_dir() and _may_write(at.log_file))
    yield _writable("CSV folder", at.csv_dir, at.csv_dir.is_dir() and _may_write(at.csv_dir))
    if at.metrics_file:
        metrics = metrics_path(at.metrics_file, at.sync_name)
        yield _writable("metrics", metrics, os.access(metrics.resolve().parent, os.W_OK))


def _writable(what: str, path: Path, writable: bool) -> tuple[str, str, str]:
    if writable:
        return "ok", what, f"{path} may be written"
    return "WRONG", what, f"{path} may not be written; check that its folder exists, and its owner and mode"


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK) if path.exists() else path.parent.is_dir() and os.access(path.parent, os.W_OK)


def _time_zone(checked: Checked) -> Found:
    if checked.can_use("DB_TIMEZONE"):
        zone = checked.run.settings.db_timezone
        yield "ok", "time zone", meaning(zone, datetime.now(UTC))
        if told := mistaken_for(str(zone)):
            yield "note", "time zone", told


def meaning(zone: tzinfo, now: datetime) -> str:
    """What the zone means at *now*, an aware time, and in the year after it."""
    year = (now.astimezone(UTC) + timedelta(days=day) for day in range(366))
    current, *others = dict.fromkeys(f"UTC{moment.astimezone(zone).isoformat()[-6:]}" for moment in year)
    if others:
        return f"{zone} is {current} now, and {' or '.join(others)} in another part of the year: it has summer time"
    return f"{zone} is {current} now and all year: it has no summer time"


def mistaken_for(zone: str) -> str:
    """What people take the name of a zone for; empty for one that says what it is."""
    if re.fullmatch(r"(Etc/)?GMT[+-][1-9]\d?", zone):
        return "the sign in such a name is reversed: Etc/GMT+2 is two hours behind UTC, and Etc/GMT-2 two hours ahead"
    if re.fullmatch(r"(?!UTC|UCT)[A-Z]{3}", zone):
        return (
            f"{zone} is not the clock of a place: EST, MST, HST and GMT never have summer time, and CET, MET, EET and "
            "WET always do; if you mean the clock of a place, name it, such as America/New_York"
        )
    return ""


# -- the database --------------------------------------------------------------------------------------------


def _database(checked: Checked) -> Found:
    run = checked.run
    if not (run.settings.db_user and run.settings.db_name):  # the settings' findings say what is missing
        return
    if not checked.can_use("DB_HOST", "DB_PORT", "DB_SOCKET", "DB_SSL_CA"):  # the password is for another server
        return
    try:
        source = run.connect()
    except SourceError as error:
        yield "WRONG", "database", str(error)
        return
    with closing(source):
        yield "ok", "database", f"{source.description}: {source.server}"
        if source.exposure:
            yield "note", "database", source.exposure
        try:
            yield from _query(checked, source)
        except (SourceError, UsageError) as error:
            yield "WRONG", "query", str(error)
        except UnreadableError:  # which is a finding of the settings
            return
        except ColumnsError as error:
            yield from (("WRONG", "query", problem) for problem in error.problems)


def _query(checked: Checked, source: Source) -> Found:
    settings = checked.run.settings
    with run_query(source, settings, replace(checked.run.switches, limit=SAMPLE_ROWS)) as result:
        checked.columns = result.columns
        columns = ", ".join(f"{column.name!r} ({column.kind.value})" for column in result.columns)
        yield "ok", "query", f"{settings.query_file.name} gives {columns}"
        if not result.uses_since:
            sentence = f"it {NO_WINDOW}: every run reads all that it selects, whatever LOOKBACK_DAYS says"
            yield "note", "query", sentence
        if not any(unset_problems(settings.mapping())):  # else the settings' findings say why no row can be read
            yield from _rows(checked, result)


def _rows(checked: Checked, result: ResultSet) -> Found:
    reading = Reading(checked.run.settings.mapping(), result.columns, typed=_typed(checked.run))
    rows = rejected = lacking = 0
    for rows, values in enumerate(result.values(), start=1):
        payloads = reading.payloads(values)
        lacking += bool(payloads.lacks)
        if reason := _refusal(payloads):
            rejected += 1
            yield "note", "rows", f"row {rows} would be rejected: {reason}"
        if isinstance(payloads.profile, Payload):
            _add_fields(checked.fields, json.loads(payloads.profile.body)["dataFields"])
        if checked.identity is None and is_usable(payloads.identity):
            checked.identity = payloads.identity
    found = f"{rows} of the first {SAMPLE_ROWS}" if rows else "none"
    yield "ok" if rows else "note", "rows", f"{found} read, {rejected} would be rejected"
    if refusal := reading.refusal():
        yield "WRONG", "rows", refusal
    yield _names(checked, rows, lacking)


def _typed(run: Run) -> Fields:
    """The fields that have their types at Iterable; a state that cannot tell has findings of its own."""
    with suppress(StateError, RefusedError), closing(StateCopy(run.settings.state_file)) as state:
        return OnRecord(state, run.settings, run.switches).typed
    return NO_FIELDS


def _names(checked: Checked, rows: int, lacking: int) -> tuple[str, str, str]:
    """Which names of a user are sent, and how many rows lack one."""
    mapping = checked.run.settings.mapping()
    words = ("user id", "address") if mapping.by_user_id else ("address", "user id")
    columns = mapping.identity_column, mapping.other_name_column
    identity, other = (f"{word} (column {column})" for word, column in zip(words, columns, strict=True))
    identified = f"users are identified by their {identity}"
    if not mapping.other_name_column and mapping.by_user_id:
        sentence = "no address is sent, and who has none cannot be mailed; write EMAIL_COLUMN out, and it goes along"
        return "note", "names", f"{identified}; {sentence}"
    if not mapping.other_name_column:
        return "ok", "names", f"{identified}; no user id is sent"
    if not mapping.user_fields:
        return "note", "names", f"the {other} is not sent: it goes with a profile, and USER_FIELDS is empty"
    if lacking:
        told = f"{lacking} of {rows} rows lack it, and their profiles go without it"
        return "note", "names", f"{identified}, the {other} goes along; {told}"
    return "ok", "names", f"{identified}, the {other} goes along; no row lacks it"


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


# -- what is on record, and the project ------------------------------------------------------------------------


def _record(checked: Checked) -> Found:
    """What a run would refuse because of what is on record of its sync: the run's own code is asked."""
    if checked.problems:
        return
    run = checked.run
    with closing(StateCopy(run.settings.state_file)) as state:
        on_record = OnRecord(state, run.settings, run.switches)
        try:
            on_record.refuse_foreign_field()
        except RefusedError as error:
            yield "WRONG", "state", str(error)
        if checked.columns:
            on_record.check(checked.columns)


def _project(checked: Checked) -> Found:
    at = checked.run.settings
    if not checked.can_use("ITERABLE_API_BASE_URL"):  # the key is for another address
        return iter(())
    if at.iterable_api_key and (at.iterable_jwt_secret or not at.use_jwt_auth):
        return project_findings(at, checked.identity, checked.fields)
    return iter(())


_CHECKS: Final[Sequence[Callable[[Checked], Found]]] = (
    _settings,
    _state,
    _files,
    _time_zone,
    _database,
    _record,
    _project,
)
