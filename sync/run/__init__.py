"""One run: what it needs, what holds around its steps, and what it leaves behind. In which order the steps are taken is
in `main.run` and nowhere else.

* `steps.py` has the one object of a run (`Run`): what is around the steps (log, lock, signals, summary) and the steps
  themselves: connect, query, plan, deliver. `switches.py` is what the command line says of it. `connections.py` makes
  the database, the result of the query and the client of the settings. `record.py` holds the settings against what the
  state has on record, and refuses; `announcement.py` logs what the comparison found.
* `settings.py` has one line for each setting: name, parser, default, and whether an empty value counts. The parsers are
  in `setting_values.py`; `env_file.py` reads `.env`; `own_files.py` keeps apart what a run writes and what it reads.
  **To add a setting**: its line in `Settings`, its line in `.env.example`, its row in `docs/settings.md`. A test fails
  until the three agree.
* `errors.py` says which error ends a run with which code of `exit_codes.py`, and in which words. `signals.py` hears
  SIGINT, SIGTERM and SIGHUP; `lock.py` keeps two runs of one sync apart.
* `summary.py` is what a run did, as data; `log.py` writes the log; `metrics.py` and `metrics_file.py` write the
  Prometheus file.
* `differences.py` is `--verify` and `--repair`: it compares users with what `reader.py` reads back from Iterable.
"""
