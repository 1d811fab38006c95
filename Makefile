# The commands of this project; `make` alone lists them. * marks those used daily.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TESTS ?=
MUTANTS ?=
# Compiled files are kept even where the environment says not to: each process that the tests start loads them all.
unexport PYTHONDONTWRITEBYTECODE

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/run: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	@$(BIN)/pip install -qq --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/run
	@$(BIN)/pip install -qq --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: $(VENV)/run  ## * show the whole job on sample data; needs no database and no account
	@$(BIN)/python main.py --demo

test: $(VENV)/dev  ## * run the tests; those of the database need a MariaDB server program, or TEST_MYSQLD
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal $(TESTS)

check: $(VENV)/dev  ## * format, lint, strict types and tests: what has to pass before a commit
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

format: $(VENV)/dev  ## * put all files into the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

soak: $(VENV)/dev  ## kill 200 runs at random moments, end 200 more, and show that nothing is lost or doubled
	@$(BIN)/python -m bench.soak --signal KILL
	@$(BIN)/python -m bench.soak --signal TERM

bench: $(VENV)/dev  ## measure speed and memory against a stand-in on this machine
	@$(BIN)/python -m bench.ratios
	@$(BIN)/python -m bench.speed
	@$(BIN)/python -m bench.turns

mutants: $(VENV)/dev  ## break the code in 320 places, one at a time, and show which of them no test notices
	@$(BIN)/python -m bench.mutants $(MUTANTS)

.PHONY: help demo test check format soak bench mutants
