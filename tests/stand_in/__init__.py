"""A strict stand-in for Iterable on this machine: `python -m tests.stand_in` starts it."""
