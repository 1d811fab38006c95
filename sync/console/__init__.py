"""What the operator sees: the command line, progress during a run, and the report at its end. No other package prints,
except the demo.

* `options.py` parses the command line, and has the table of flags that cannot go together. **To add a flag**: its field
  in `Options` (`sync/run/settings.py`), and its row in the README.
* `screen.py` is what a person sees of a run: the log's lines, and bars under them. `report.py` is what was done, as
  text for a person, for cron and as JSON, `--history`, and what `--verify` found.
* `check.py` is `--check`: a table of checks, each of which yields findings; `check_project.py` has those that ask
  Iterable. **To add a check**: a function that yields them, and its place in the table.
* `dry_run.py` is `--dry-run`: the run's own loop with a client that prints.
"""
