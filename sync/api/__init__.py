"""Iterable's API: its endpoints and rate limits, the meaning of its answers, pacing, tokens."""
