"""Iterable's API, below `iterable_client.py`, which has the one loop of attempts.

`endpoints.py` has the names and limits of the endpoints, `messages.py` the body of a request and the user it is about,
`tokens.py` the JWTs. `pacing.py` says when a request may start, and slows down after a 429. `transport.py` sends one
request within its time (`deadline.py`). `answers.py` says what an answer means, and `network.py` what it means that
there is none.
"""
