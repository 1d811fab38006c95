"""Sends the result of one SQL query to an Iterable project."""
