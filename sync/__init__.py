"""Brings the result of one SQL query into an Iterable project."""
