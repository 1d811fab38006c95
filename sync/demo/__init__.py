"""The demo: the real run on a sample database in memory, against a small server that answers as Iterable does."""
