"""Bring the result of one SQL query into an Iterable project. `run` is the order of the steps; `main` the commands."""

from __future__ import annotations

import logging
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

logging.captureWarnings(True)  # libraries warn of each other while they are loaded, and cron mails what is printed
logging.getLogger().addHandler(logging.NullHandler())  # what no log takes is not printed either

try:
    from iterable_client import export_results_to_csv
    from sync.console.check import check
    from sync.console.dry_run import dry_run
    from sync.console.options import Options, parse_options
    from sync.console.report import print_problems, print_summary, print_unexpected, show_history
    from sync.console.screen import Terminal
    from sync.console.streams import forgiving_streams
    from sync.console.verify import verify_and_tell
    from sync.demo.demonstration import demonstration
    from sync.run.connections import make_client
    from sync.run.exit_codes import ExitCode
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


def run(this: Run) -> Summary:
    """One run, step by step. Whatever goes wrong ends it with an exit code and a reason, which are in the summary."""
    with this.accounted_for(), this.logged(), this.alone():
        with closing(this.connect()) as database:  # by db.py
            rows = this.query(database)  # they pass through the state on their way into the CSV
            this.summary.csv = export_results_to_csv(rows, str(this.csv_path()))
        this.plan()
        with closing(make_client(this.settings, this.stop)) as client:
            this.deliver(client)  # for each user client.update_user(...), then client.track_event(...)
    return this.summary


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    with forgiving_streams():
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
        return check(Run(settings, options), problems)
    screen = Terminal(options)
    ready: AbstractContextManager[Run]
    if options.demo:
        ready = demonstration(options, screen, bulk=options.bulk)
    else:
        ready = nullcontext(Run(load_settings(options.env_file, environ, options.csv), options, screen))
    with ready as this:
        if options.dry_run:
            return dry_run(this)
        if options.verify:
            return verify_and_tell(this, options.verify, and_repair=options.repair)
        summary = run(this)
        print_summary(summary, this.settings.log_file, watched=screen.lines is not None, as_json=options.json)
        return summary.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
