"""Pending users to Iterable, and when a run stops. Knows neither SQL nor settings.

`loop.py` takes users in their order and hands them to `workers.py`; a worker takes one user's turn (`turn.py`, with
`address_change.py`) or that of many users at once (`bulk.py`, with `bulk_answer.py`). What the two say to each other,
and the gate before each request, is in `work.py`. `rules.py` says when a run stops, `stop.py` tells everybody, and
`tally.py` counts.
"""
