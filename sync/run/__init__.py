"""One run: what it needs, what holds around its steps, and what it leaves behind. In which order the steps are taken is
in `main.run` and nowhere else.

* `steps.py` has the one object of a run (`Run`): what is around the steps (log, lock, signals, summary) and the steps
  themselves: connect, query, plan, deliver. `connections.py` makes the database, the result of the query and the client
  of the settings. `record.py` holds the settings against what the state has on record, and refuses.
* `settings.py` has one line for each setting (name, parser, default, and whether an empty value counts) and one for
  each option of the command line. The parsers are in `setting_values.py`; `env_file.py` reads `.env`; `own_files.py`
  keeps apart what a run writes and what it reads.
  **To add a setting**: its line in `Settings`, its line in `.env.example`, its row in `docs/settings.md`. A test fails
  until the three agree.
* `exit_codes.py` says which error ends a run with which code, and in which words; the code of a run that came to its
  end is in `summary.py`. `signals.py` hears SIGINT, SIGTERM and SIGHUP; `lock.py` keeps two runs of one sync apart.
* `summary.py` is what a run found and did, as data and as sentences of the log, which `log.py` writes; `metrics.py`
  writes the Prometheus file.
* `differences.py` is `--verify` and `--repair`: it reads users back from Iterable and compares them.
"""
