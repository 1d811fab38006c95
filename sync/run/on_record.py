"""A sync's record, compared with the settings of this run: what may not change, and what makes no difference."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sync.rows.mapping import Field, fields_of, in_order
from sync.rows.payloads import Reading
from sync.rows.source import Column
from sync.run.settings import Options, Settings
from sync.state.destinations import RefusedError, SyncName
from sync.state.exchange import Policy
from sync.state.file import State
from sync.state.syncs import Recorded, SyncRecord, merged

logger = logging.getLogger("main")


class OnRecord:
    """The record of this run's sync. `mapping` is that of the settings, in the order on record, so that payloads have
    the same bytes. `typed` are the fields whose types earlier deliveries fixed at Iterable. Raises RefusedError if
    nobody can know whether this is a project on record.
    """

    def __init__(self, state: State, settings: Settings, options: Options) -> None:
        self._options = options
        mapping = settings.mapping()
        self.record = SyncRecord(
            state,
            name_of_sync(settings),
            mapping.segment_field,
            same_project=options.same_project,
            new_project=options.new_project,
        )
        self._before = self.record.recorded or Recorded(event_key=mapping.event_key if self.record.is_migrated else ())
        self.mapping = replace(
            mapping,
            user_fields=in_order(mapping.user_fields, self._before.user_fields),
            event_fields=in_order(mapping.event_fields, self._before.event_fields),
            event_key=self._key_in_order(mapping.event_key),
        )
        self.typed = self.record.delivered_fields(fields_of(mapping))
        by_user_id = bool(mapping.user_id_column)
        self._by_user_id = by_user_id
        knew_addresses = self.record.is_migrated or (self.record.recorded is not None and not self._before.by_user_id)
        self.address_ids = by_user_id and (mapping.follows_addresses or self._before.address_ids or knew_addresses)

    def _key_in_order(self, event_key: Sequence[str]) -> tuple[str, ...]:
        """Sorted, so that the order in the settings does not matter; but ids of 1.0.0 keep the order on record."""
        known = self._before.event_key
        return tuple(known) if sorted(known) == sorted(event_key) else tuple(sorted(event_key))

    def policy(self) -> Policy:
        """How the state is read."""
        options, mapping = self._options, self.mapping
        return Policy(
            whole_window=options.whole_window,
            full=options.full,
            retry_rejected=options.retry_rejected,
            allow_mass_exit=options.allow_mass_exit,
            segment_field=mapping.segment_field,
            by_user_id=mapping.by_user_id,
            follows_addresses=mapping.follows_addresses,
            address_ids=self.address_ids,
            keep_bodies=options.verify is not None,
            fields=fields_of(mapping),
        )

    def refuse_foreign_field(self) -> None:
        """Raise RefusedError for a segment field that is another sync's."""
        self.record.refuse_foreign_field(self.mapping.segment_field)

    def reading(self, columns: Sequence[Column]) -> Reading:
        """The reader of the rows with these columns; `put` refuses the run if it found values that do not fit.

        Raises RefusedError if events would get other ids.
        """
        if self._options.limit is not None and not self.typed:
            logger.warning(
                "This first run reads only some of the rows (--limit %d), and what it sends fixes the types of fields "
                "at Iterable: --dry-run without --limit finds rows that do not fit",
                self._options.limit,
            )
        if not self._options.new_event_ids:
            self.record.refuse_new_event_ids(
                self.mapping.event_name,
                self.mapping.event_key,
                by_user_id=self._by_user_id,
                has_address=self.mapping.email_column in dict(columns),
            )
        self._reading = Reading(self.mapping, columns, address_ids=self.address_ids, typed=self.typed)
        return self._reading

    def put(self) -> None:
        """Put the settings of this run on record, and claim the segment field; inside a transaction.

        Raises RefusedError also for values that do not fit the types that their fields would get.
        """
        if refusal := self._reading.refusal():
            raise RefusedError(refusal)
        if self._options.whole_window:
            self.record.claim(self.mapping.segment_field)
        else:
            self.refuse_foreign_field()
        before, now = self._before, self.mapping
        self.record.put(
            Recorded(
                event_name=now.event_name or before.event_name,
                event_key=now.event_key if now.event_name else before.event_key,
                by_user_id=self._by_user_id if now.event_name else before.by_user_id,
                address_ids=self.address_ids or before.address_ids,
                user_fields=merged(_names(now.user_fields), before.user_fields),
                event_fields=merged(_names(now.event_fields), before.event_fields),
                delivered_fields=self.typed,
                used=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
            )
        )


def _names(fields: Sequence[Field]) -> list[str]:
    return [field.name for field in fields]


def name_of_sync(settings: Settings) -> SyncName:
    """The sync at its destination."""
    return SyncName(settings.sync_name, settings.iterable_api_base_url, settings.iterable_api_key, settings.destination)
