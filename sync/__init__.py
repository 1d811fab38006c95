"""Sends the result of one SQL query to an Iterable project.

A package uses only those below it: `console` and `demo`, `run`, `delivery`, `state`, `api` and `database`, `rows`.
`iterable_client.py` and `db.py` are on the level of `state`. CONTRIBUTING.md has the picture, and
tests/test_structure.py checks it.
"""
