"""Iterable's API, below `iterable_client.py`, which has the one loop of attempts.

`endpoints.py` has the names and limits of the endpoints, and the body of a request with the user it is about;
`tokens.py` has the JWTs. `pacing.py` says when a request may start, and slows down after a 429. `transport.py` sends
one request within its time. `answers.py` interprets an answer, and `network.py` its absence.
"""
