"""The state file: what Iterable has, what it is owed, and what is in doubt."""
