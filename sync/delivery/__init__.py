"""Sending pending users to Iterable, and when a run stops. Knows neither SQL nor settings.

`loop.py` takes users in their order and hands them to `workers.py`; a worker takes one user's turn (`turn.py`, with
`address_change.py`) or that of many users at once (`bulk.py`, with `bulk_answer.py`). `work.py` has what they exchange,
and the gate before each request. `rules.py` decides when a run stops, `stop.py` makes all threads stop, and `tally.py`
counts.

**What happens to a 429.** `iterable_client.py` repeats the request after a wait, and `sync/api/pacing.py` pauses its
endpoint for all workers and lowers the rate. If the last attempt is answered 429 too, nobody has failed: the users go
back into the queue (`Loop._wait_for_quota`). If Iterable accepts nothing for 10 minutes, the run stops; or, if others
were delivered and only such users are left, these users fail. A request for a pause of over 120 s stops the run.

**Words.** The first users are sent alone, as *canaries*, until one profile and one event were accepted. A run is
*suspicious* after a number of failed calls in a row: then only *sampled* users are sent, to confirm that it is the API
that fails. A *repeat failure* is a user who failed before, and of whom nothing was delivered since.
"""
