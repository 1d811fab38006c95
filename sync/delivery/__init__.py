"""Delivery: owed users to Iterable, many in flight, and when that has to stop."""
