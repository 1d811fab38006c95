"""Iterable's API: its endpoints and limits, what its answers mean, the pace, the tokens."""
