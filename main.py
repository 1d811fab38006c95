"""Bring the result of one SQL query into an Iterable project. `run` is the order of the steps; `main` the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from importlib.util import find_spec
from pathlib import Path

HOME = Path(__file__).resolve().parent
if str(HOME) not in sys.path:  # python -I and PYTHONSAFEPATH=1 leave the script's folder out
    sys.path.insert(0, str(HOME))

if sys.version_info < (3, 11):  # noqa: UP036 - the system's own Python may be older
    sys.exit("main.py needs Python 3.11 or newer: start it as .venv/bin/python main.py (README: A real run)")

from sync.run.library_warnings import keep_warnings, kept_warnings

keep_warnings()  # those of libraries that do not fit each other come while they are loaded

try:
    from iterable_client import export_results_to_csv
    from sync.console.check import check
    from sync.console.dry_run import dry_run
    from sync.console.history import show_history
    from sync.console.options import Options, parse_options
    from sync.console.progress import watched_by
    from sync.console.report import print_problems, print_summary, print_unexpected
    from sync.console.screen import forgiving_streams
    from sync.console.verify import verify_and_tell
    from sync.demo.demonstration import demonstration
    from sync.run.exit_codes import ExitCode
    from sync.run.job import Job, csv_path, make_client
    from sync.run.settings import SettingsError, load_settings, load_state_file, read_settings
    from sync.run.steps import Run
    from sync.run.summary import Summary

    for package in ("jwt", "tqdm"):  # only some runs load these, and would meet their lack in the middle
        if not find_spec(package):
            raise ModuleNotFoundError(name=package)
except ModuleNotFoundError as missing:
    sys.exit(
        f"main.py needs the package {missing.name}, which this Python lacks. Start it as .venv/bin/python main.py; "
        "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt makes that environment."
    )


def run(job: Job) -> Summary:
    """One run, step by step. Whatever goes wrong ends it with an exit code and a reason, which are in the summary."""
    run = Run(job)
    with run.accounted_for(), run.logged(), run.alone():
        with closing(job.connect()) as database:  # by db.py
            rows = run.query(database)  # they pass through the state on their way into the CSV
            run.summary.csv = export_results_to_csv(rows, str(csv_path(job)))
        run.plan()
        with closing(make_client(job.settings, run.stop)) as client:
            run.deliver(client)  # for each user client.update_user(...), then client.track_event(...)
    return run.summary


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    with forgiving_streams(), kept_warnings():
        options = parse_options(argv)
        try:
            return act(options)
        except SettingsError as error:
            print_problems(error.problems)
            return ExitCode.USAGE
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        except Exception as error:  # a run has its own ways; what is left is the other commands, and bugs
            print_unexpected(error)
            return ExitCode.STOPPED


def act(options: Options) -> int:
    """The command that is asked for: a run, unless another is named."""
    environ = {**os.environ, "ITERABLE_BULK": "true"} if options.bulk else dict(os.environ)
    if options.history:
        return show_history(load_state_file(options.env_file, environ), options.history)
    if options.check:
        settings, problems = read_settings(options.env_file, environ)
        return check(Job(settings, since=options.since), problems)
    switches = options.switches() | watched_by(options)
    ready: AbstractContextManager[Job]
    if options.demo:
        ready = demonstration(bulk=options.bulk, **switches)
    else:
        ready = nullcontext(Job(load_settings(options.env_file, environ, options.csv), **switches))
    with ready as job:
        if options.dry_run:
            return dry_run(job)
        if options.verify:
            return verify_and_tell(job, options.verify, and_repair=options.repair)
        summary = run(job)
        print_summary(summary, job, as_json=options.json)
        return summary.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
