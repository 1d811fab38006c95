"""What is made of the rows of one query: fingerprints, and payloads where they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sync.rows.columns import Column, Values
from sync.rows.mapping import NO_FIELDS, Fields, Mapping
from sync.rows.payloads import PayloadBuilder, RejectedEvent, RowPayloads
from sync.rows.rejection import Rejection


class Reading(PayloadBuilder):
    """Reads each row twice at most: `fingerprint` first, then `payloads` if the fingerprint is not known.

    Of the fields that have no type at Iterable yet, `refusal` tells what does not fit the type that they would get.
    """

    def __init__(
        self, mapping: Mapping, columns: Sequence[Column], *, address_ids: bool = False, typed: Fields = NO_FIELDS
    ) -> None:
        super().__init__(mapping, columns, address_ids=address_ids, typed=typed)
        self._misfits: dict[tuple[str, str], str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def payloads(self, values: Values) -> RowPayloads:
        """All that a row says."""
        row = self.build(values)
        for setting, payload in (("USER_FIELDS", row.profile), ("EVENT_FIELDS", row.event)):
            if isinstance(payload, Rejection | RejectedEvent):
                for field, told in payload.misfits:
                    self._misfits.setdefault((setting, field), told)
                    self._counts[setting, field] += 1
        return row

    def refusal(self) -> str:
        """Why nothing of these rows may be sent as they are mapped; empty when it may."""
        if not self._misfits:
            return ""
        each = "; ".join(
            f"{key[0]}: {told} (rows with such a value: {self._counts[key]:,})" for key, told in self._misfits.items()
        )
        return (
            "values do not fit the types that their fields would get, and Iterable never changes the type of a field, "
            f"so nothing is sent: {each}"
        )
