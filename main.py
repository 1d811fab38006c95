"""Send the result of one SQL query to an Iterable project. `run` has the steps in order; `main` chooses the command."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

HOME = Path(__file__).resolve().parent
if str(HOME) not in sys.path:  # python -I and PYTHONSAFEPATH=1 leave the script's folder out
    sys.path.insert(0, str(HOME))

if sys.version_info < (3, 11):  # noqa: UP036 - the system's own Python may be older
    sys.exit("main.py needs Python 3.11 or newer: start it as .venv/bin/python main.py (README: A real run)")

logging.captureWarnings(True)  # libraries warn of each other while they are loaded, and cron mails what is printed
logging.getLogger().addHandler(logging.NullHandler())  # nor is what no handler takes

try:
    from iterable_client import export_results_to_csv
    from sync.console.check import check
    from sync.console.dry_run import dry_run
    from sync.console.options import parse_options
    from sync.console.report import history_table, print_error, print_summary, verify_and_tell
    from sync.console.screen import Terminal, forgiving
    from sync.demo.demonstration import demonstration
    from sync.run.connections import make_client
    from sync.run.exit_codes import ExitCode
    from sync.run.settings import Options, SettingsError, load_settings, read_settings
    from sync.run.steps import Run
    from sync.run.summary import Summary
    from sync.state.file import read_history

    if not find_spec("jwt"):  # only some runs import it, and would fail half way without it
        raise ModuleNotFoundError(name="jwt")
except ModuleNotFoundError as missing:
    sys.exit(
        f"main.py needs the package {missing.name}, which this Python does not have. Start it as .venv/bin/python "
        "main.py. To create that environment: python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"
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
    gc.set_threshold(50_000)  # rows make no cycles, and to look for some after every 700 objects costs 3 % of a run
    with redirect_stdout(forgiving(sys.stdout)), redirect_stderr(forgiving(sys.stderr)):
        options = parse_options(argv)
        try:
            return act(options)
        except (Exception, KeyboardInterrupt) as error:
            return print_error(error)


def act(options: Options) -> int:
    """Read the settings, but for a demo, and do the command with them."""
    environ = {**os.environ, "ITERABLE_BULK": "true"} if options.bulk else dict(os.environ)
    if options.history:
        settings = load_settings(options.env_file, environ, needed="STATE_FILE")
        print(history_table(read_history(settings.state_file, options.history)))
        return ExitCode.DONE
    if options.demo:
        with demonstration(options, Terminal(options)) as this:
            return command(this)
    settings, problems = read_settings(options.env_file, environ, options.csv)
    if problems and not options.check:
        raise SettingsError(problems)
    return command(Run(settings, options, Terminal(options)), problems)


def command(this: Run, problems: Sequence[str] = ()) -> int:
    """Do what was asked for: a run, unless the options name another command."""
    options = this.options
    try:
        if options.check:
            return check(this, problems)
        if options.dry_run:
            return dry_run(this)
        if options.verify:
            return verify_and_tell(this)
    except Exception as error:  # a run handles its own errors; this is for the other commands, and for bugs
        return print_error(error, this.settings.masking)
    summary = run(this)
    print_summary(this)
    return summary.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
