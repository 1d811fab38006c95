"""What is made of the rows of one query: fingerprints, and payloads where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sync.rows.columns import Column, Values
from sync.rows.fingerprint import Fingerprint, fingerprinter
from sync.rows.mapping import Mapping
from sync.rows.payloads import PayloadBuilder, RowPayloads


class Reading:
    """Reads each row twice at most: `fingerprint` first, then `payloads`, with the fingerprint if there is one.

    For `address_ids` see `PayloadBuilder`: then no row has a fingerprint.
    """

    def __init__(self, mapping: Mapping, columns: Sequence[Column], *, address_ids: bool = False) -> None:
        self._builder = PayloadBuilder(mapping, columns, address_ids=address_ids)
        self.fingerprint: Callable[[Values], Fingerprint | None] = (
            (lambda _values: None) if address_ids else fingerprinter(mapping, columns)
        )

    def payloads(self, values: Values, fingerprint: Fingerprint | None) -> RowPayloads:
        """All that a row says."""
        return self._builder.build(values, fingerprint)
