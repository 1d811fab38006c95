"""`--check`: test everything that a run needs and say, in a line each, what is wrong and what to do. Sends no data."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final

from sync.console.check_project import Found, project_findings
from sync.rows.identity import is_usable
from sync.rows.mapping import unset_problems
from sync.rows.payloads import Payload, Reading, RejectedEvent, RowPayloads
from sync.rows.raw_values import Rejection
from sync.rows.source import ResultSet, Source, SourceError
from sync.run.connections import NO_WINDOW, run_query
from sync.run.env_file import UnreadableError
from sync.run.exit_codes import ExitCode
from sync.run.log import LineFormatter, on_this_clock
from sync.run.on_record import OnRecord
from sync.run.settings import SettingsError
from sync.run.steps import Run
from sync.state.destinations import RefusedError
from sync.state.file import StateCopy, StateError, read_history

SAMPLE_ROWS = 20


@dataclass
class Checked:
    """The run to check, the problems of its settings, what is on record, and what was in the first rows."""

    run: Run
    problems: Sequence[str]
    open: ExitStack = field(default_factory=ExitStack)
    on_record: OnRecord | None = None
    identity: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    def can_use(self, *settings: str) -> bool:
        """Whether none of these settings has a problem. One that has a problem has its default, which nobody chose."""
        return not any(problem.startswith(settings) for problem in self.problems)

    def has_another_use(self, setting: str) -> bool:
        """Whether its file is somebody else's: then nothing else that is said of that file would help."""
        return any(problem.startswith(f"{setting} would write over") for problem in self.problems)


def check(run: Run, problems: Sequence[str] = ()) -> int:
    """Print a line for each finding. All checks run, even after one that fails. Exit code 1 if something is wrong."""
    clean = LineFormatter("", run.settings.secrets().values()).clean
    wrong = 0
    for verdict, what, sentence in findings(Checked(run, problems)):
        wrong += verdict == "WRONG"
        print(f"{verdict:5}  {what:12} {clean(sentence)}", flush=True)
    print(
        f"{wrong} to fix"
        if wrong
        else "all is well: the same command with --dry-run instead of --check shows what would be sent"
    )
    return ExitCode.STOPPED if wrong else ExitCode.DONE


def findings(checked: Checked) -> Found:
    """All checks in the order in which a run would meet their subjects."""
    with checked.open:
        for one in _CHECKS:
            yield from one(checked)


def _settings(checked: Checked) -> Found:
    at = checked.run.settings
    yield from (("WRONG", "settings", problem) for problem in checked.problems)
    if not checked.problems:
        way = "users/bulkUpdate and events/trackBulk" if at.iterable_bulk else "users/update and events/track"
        signed_in = "JWT for each user" if at.use_jwt_auth else "API key"
        yield "ok", "settings", f"all settings can be used; calls {way}, authenticates with {signed_in}"
    path = at.env_file
    if path and path.is_file() and path.stat().st_mode & stat.S_IROTH:  # a group may be let in on purpose
        yield "note", "settings", f"every user of this machine can read {path}, secrets and all: chmod 600 {path}"


def _state(checked: Checked) -> Found:
    """The file, and what a run would refuse because of what is in it, found out by the run's own code."""
    run, path = checked.run, checked.run.settings.state_file.resolve()
    if checked.has_another_use("STATE_FILE"):
        return
    if not (_may_write(path) and os.access(path.parent, os.W_OK)):
        yield _writable("state", path, False)
        return
    try:
        last = read_history(path, 1)
        began = f"the last run began {on_this_clock(last[0].started)}" if last else ""
        yield "ok", "state", f"{path}; {began or 'no run yet: the first one sends everything'}"
        if not checked.problems:
            state = checked.open.enter_context(closing(StateCopy(path)))
            checked.on_record = OnRecord(state, run.settings, run.options)
            checked.on_record.refuse_foreign_field()
    except (RefusedError, StateError) as error:
        yield "WRONG", "state", str(error)


def _files(checked: Checked) -> Found:
    at = checked.run.settings
    if not checked.has_another_use("LOG_FILE"):
        yield _writable("log", at.log_file, not at.log_file.is_dir() and _may_write(at.log_file))
    yield _writable("CSV folder", at.csv_dir, at.csv_dir.is_dir() and _may_write(at.csv_dir))
    if at.metrics_file:
        yield _writable("metrics", at.metrics_file, os.access(at.metrics_file.resolve().parent, os.W_OK))


def _writable(what: str, path: Path, writable: bool) -> tuple[str, str, str]:
    if writable:
        return "ok", what, f"{path} can be written"
    return "WRONG", what, f"{path} cannot be written; check that its folder exists, and check its owner and mode"


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
    """What the name of a zone is often mistaken for; empty for a name that is clear."""
    if re.fullmatch(r"(Etc/)?GMT[+-][1-9]\d?", zone):
        return "the sign in such a name is reversed: Etc/GMT+2 is two hours behind UTC, and Etc/GMT-2 two hours ahead"
    if re.fullmatch(r"(?!UTC|UCT)[A-Z]{3}", zone):
        return f"{zone} is an abbreviation and not the time of a place: use a name such as America/New_York for that"
    return ""


# -- the database --------------------------------------------------------------------------------------------


def _database(checked: Checked) -> Found:
    at = checked.run.settings
    usable = checked.can_use("DB_HOST", "DB_PORT", "DB_SOCKET", "DB_SSL_CA")  # else it may be the wrong server
    if not (usable and at.db_user and at.db_name):
        return
    try:
        with closing(checked.run.connect()) as source:
            yield "ok", "database", f"{source.description}: {source.server}"
            if source.exposure:
                yield "note", "database", source.exposure
            yield from _query(checked, source)
    except SourceError as error:
        yield "WRONG", "database", str(error)


def _query(checked: Checked, source: Source) -> Found:
    settings = checked.run.settings
    try:
        with closing(run_query(source, settings, replace(checked.run.options, limit=SAMPLE_ROWS))) as result:
            columns = ", ".join(f"{column.name!r} ({column.kind.value})" for column in result.columns)
            yield "ok", "query", f"{settings.query_file.name} gives {columns}"
            if not result.uses_since:
                sentence = f"it {NO_WINDOW}: every run reads its whole result, whatever LOOKBACK_DAYS is"
                yield "note", "query", sentence
            if not any(unset_problems(settings.mapping())):  # else the settings' findings say why no row can be read
                yield from _rows(checked, result)
    except RefusedError as error:
        yield "WRONG", "state", str(error)
    except SourceError as error:
        yield "WRONG", "query", str(error)
    except UnreadableError:  # which is a finding of the settings
        return
    except SettingsError as error:
        yield from (("WRONG", "query", problem) for problem in error.problems)


def _rows(checked: Checked, result: ResultSet) -> Found:
    on_record, columns = checked.on_record, result.columns
    reading = on_record.reading(columns) if on_record else Reading(checked.run.settings.mapping(), columns)
    rows = rejected = 0
    for rows, values in enumerate(result.values(), start=1):
        payloads = reading.payloads(values)
        if reason := _refusal(payloads):
            rejected += 1
            yield "note", "rows", f"row {rows} would be rejected: {reason}"
        if isinstance(payloads.profile, Payload):
            _add_fields(checked.fields, json.loads(payloads.profile.body)["dataFields"])
        if checked.identity is None and is_usable(payloads.identity):
            checked.identity = payloads.identity
    yield "ok" if rows else "note", "rows", f"{rows} read (at most {SAMPLE_ROWS}), {rejected} would be rejected"
    if refusal := reading.refusal():
        yield "WRONG", "rows", refusal


def _refusal(payloads: RowPayloads) -> str:
    """Why the row, or its event alone, would be rejected before any request; empty when it would be sent.

    A value that makes the whole run refuse does not reject its row.
    """
    rejections = (part for part in payloads[2:] if isinstance(part, Rejection | RejectedEvent) and not part.misfits)
    return next((rejection.reason for rejection in rejections), "")


def _add_fields(known: dict[str, Any], fields: Mapping[str, Any], prefix: str = "") -> None:
    """Remember the first value of each field that is not null, and of fields in an object, as `address.city`."""
    for name, value in fields.items():
        if value is not None:
            known.setdefault(prefix + name, value)
        if isinstance(value, dict):
            _add_fields(known, value, f"{prefix}{name}.")


def _project(checked: Checked) -> Found:
    at = checked.run.settings
    if not checked.can_use("ITERABLE_API_BASE_URL"):  # else the key could go to the wrong server
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
    _project,
)
