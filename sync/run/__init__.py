"""One run: what it needs, what surrounds its steps, and what it leaves behind. The order of the steps is in `main.run`
and nowhere else.

* `steps.py` defines `Run`, the object for one run: what surrounds its steps (log, lock, signals, summary) and the steps
  themselves: connect, query, plan, deliver. `connections.py` makes the database, the result of the query and the client
  from the settings. `on_record.py` compares the settings with what the state has on record, and refuses.
* `settings.py` has one line for each setting (name, parser, default, and whether an empty value counts) and one for
  each option of the command line. The parsers are in `setting_values.py`; `env_file.py` reads `.env`; `own_files.py`
  makes sure that a run does not write to a file that has another use.
  **To add a setting**: its line in `Settings`, its line in `.env.example`, its row in `docs/settings.md`. A test fails
  until the three agree.
* `exit_codes.py` says which error ends a run with which code, and in which words; the code of a run that came to its
  end is in `summary.py`. `signals.py` hears SIGINT, SIGTERM and SIGHUP; `lock.py` keeps two runs of one sync apart.
* `summary.py` is what a run found and did, as data and as sentences of the log, which `log.py` writes; `metrics.py`
  writes the Prometheus file.
* `verify.py` is `--verify` and `--repair`: it reads users back from Iterable and compares them.
"""
