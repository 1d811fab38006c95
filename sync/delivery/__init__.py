"""Sending pending users to Iterable, and when a run stops. Knows neither SQL nor settings.

`loop.py` takes users in their order and hands them to `workers.py`; a worker takes one user's turn (`turn.py`, with
`address_change.py`) or that of many users at once (`bulk.py`, with `bulk_answer.py`). `work.py` has what they exchange,
and the gate before each request. `rules.py` decides when a run stops, `stop.py` makes all threads stop, and `tally.py`
counts.
"""
