"""Rows: what the database gave becomes what Iterable is told, and a CSV file."""
