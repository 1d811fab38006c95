"""Bring the result of one SQL query into an Iterable project: the command line and the order of the steps."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from sync.console.options import Options, parse_options
from sync.console.screen import forgiving_streams
from sync.run.exit_codes import ExitCode
from sync.run.library_warnings import kept_warnings

if TYPE_CHECKING:
    from sync.run.job import Job
    from sync.run.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    with forgiving_streams(), kept_warnings():
        return act(parse_options(argv))


def act(options: Options) -> int:
    """Do what is asked for."""
    from sync.run.settings import SettingsError

    try:
        if options.history:
            return history(options)
        if options.check:
            return check_everything(options)
        with job_of(options) as job:
            if options.dry_run:
                return look_ahead(job)
            return read_back(job, options) if options.verify else one_run(job, options)
    except SettingsError as error:
        return refuse(error.problems)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # a run has its own ways; what is left is --check, --history, --demo and bugs
        print(f"unexpected {type(error).__name__}: {error}", file=sys.stderr)
        return ExitCode.STOPPED


def environment(options: Options) -> dict[str, str] | None:
    """The environment that wins over `.env`; --bulk counts as ITERABLE_BULK=true."""
    return {**os.environ, "ITERABLE_BULK": "true"} if options.bulk else None


def load(options: Options) -> Settings:
    """The settings of this call."""
    from sync.run.settings import load_settings

    return load_settings(options.env_file, environment(options))


def history(options: Options) -> int:
    """Print the last runs, which takes the state file and no other setting."""
    from sync.console.history import show_history
    from sync.run.settings import load_state_file

    return show_history(load_state_file(options.env_file), options.history or 0)


def check_everything(options: Options) -> int:
    """Look at all that a run needs; settings that cannot be used are findings among the others."""
    from sync.console.check import check
    from sync.run.job import Job
    from sync.run.settings import read_settings

    settings, problems = read_settings(options.env_file, environment(options))
    return check(Job(settings, since=options.since), problems)


def job_of(options: Options) -> AbstractContextManager[Job]:
    """What this call works on; for --demo, with the sample database and the stand-in running."""
    from sync.console.progress import ScreenHandler, comparison, progress_bar, rows_read
    from sync.run.job import Job

    switches = options.switches()
    terminal = sys.stderr.isatty()
    watched = terminal or (options.demo and not options.json)
    switches["screen"] = ScreenHandler() if watched else None
    if terminal:
        switches |= {"reading": rows_read, "comparing": comparison, "progress": progress_bar}
    if options.demo:
        from sync.sandbox.demo import demonstration

        return demonstration(bulk=options.bulk, **switches)
    return nullcontext(Job(load(options), **switches))


def look_ahead(job: Job) -> int:
    """Print what a run would send; `| head` may end it quietly."""
    from sync.console.dry_run import dry_run

    try:
        return dry_run(job)
    except BrokenPipeError:
        return ExitCode.DONE


def read_back(job: Job, options: Options) -> int:
    """Read users back from Iterable, and say what differs from the database."""
    from sync.console.verify import verify_and_tell

    return verify_and_tell(job, options.verify or 0, and_repair=options.repair)


def one_run(job: Job, options: Options) -> int:
    """Run, then tell: a person at a terminal everything, cron only what went wrong."""
    from sync.console.report import for_a_person, for_cron
    from sync.run.steps import run

    summary = run(job)
    log_file = str(job.settings.log_file)
    if options.json:
        print(json.dumps(summary.as_json()))
    if job.screen and not options.json:
        print(for_a_person(summary, log_file))
    elif summary.exit_code and not job.screen:
        print(for_cron(summary, log_file), file=sys.stderr)
    return int(summary.exit_code)


def refuse(problems: Sequence[str]) -> int:
    """List every problem of the settings; nothing was connected or written."""
    print(f"The settings cannot be used ({len(problems)} to mend):", file=sys.stderr)
    for problem in problems:
        print(f"  - {problem}", file=sys.stderr)
    return ExitCode.USAGE


if __name__ == "__main__":
    raise SystemExit(main())
