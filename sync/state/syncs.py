"""Whose state it is: a sync at a destination, the segment fields that it writes, and what its event ids depend on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from sync.rows.mapping import PROFILE, Fields
from sync.state.destinations import Destinations, RefusedError, SyncName
from sync.state.file import State


@dataclass(frozen=True)
class Recorded:
    """What a sync's event ids and payloads depend on, as of its last run.

    `event_key` is in the order that the ids are made in; `by_user_id` says what names the user in them. `address_ids`:
    events are on record under ids that were made with the address. The fields are in the order in which payloads hold
    them, so that another order in the settings changes no payload. `delivered_fields` were mapped in a run that
    delivered; `used` is when the last run was, in UTC.
    """

    event_name: str = ""
    event_key: Sequence[str] = ()
    by_user_id: bool = False
    address_ids: bool = False
    user_fields: Sequence[str] = ()
    event_fields: Sequence[str] = ()
    delivered_fields: Fields = field(default_factory=dict)
    used: str = ""


class SyncRecord:
    """The record of one sync. Opening it puts the sync and its destination on record; raises as `resolve` does."""

    def __init__(
        self,
        state: State,
        sync: SyncName,
        segment_field: str,
        *,
        same_project: bool = False,
        new_project: bool = False,
    ) -> None:
        self._state, self._sync = state, sync
        with state.transaction():
            destinations = Destinations(state, sync, segment_field)
            self.id = destinations.resolve(same_project=same_project, new_project=new_project)
            (settings,) = state.db.execute("SELECT settings FROM sync WHERE id = ?", (self.id,)).fetchone()
        self.is_migrated = settings is None
        self.recorded = Recorded(**json.loads(settings)) if settings and settings != "{}" else None

    def refuse_foreign_field(self, segment_field: str) -> None:
        """Raise RefusedError when another sync of this destination writes this segment field."""
        with self._state.errors_explained():
            self._refuse_foreign_field(segment_field)

    def claim(self, segment_field: str) -> None:
        """From here on this field is the sync's; inside a transaction. Raises RefusedError when it is another's."""
        if segment_field:
            self._refuse_foreign_field(segment_field)
            self._state.db.execute("INSERT OR IGNORE INTO segment_claim VALUES (?, ?)", (segment_field, self.id))

    def _refuse_foreign_field(self, segment_field: str) -> None:
        found = self._state.db.execute(
            "SELECT other.name FROM segment_claim JOIN sync other ON other.id = segment_claim.sync "
            "JOIN sync own ON own.id = ? WHERE field = ? AND other.name <> own.name "
            "AND (other.destination = own.destination OR other.project = own.project)",
            (self.id, segment_field),
        ).fetchone()
        if found:
            raise RefusedError(
                f"SEGMENT_FIELD={segment_field} of the sync {self._sync.name} is written by the sync {found[0]} of the "
                "same project, and each would remove the other's users: give this one another SEGMENT_FIELD; or, if it"
                f" is that sync under a new name, set SYNC_NAME={found[0]}"
            )

    def refuse_new_event_ids(
        self, event_name: str, event_key: Sequence[str], *, by_user_id: bool, has_address: bool
    ) -> None:
        """Raise RefusedError when events that were delivered would be tracked once more under another id."""
        before = self.recorded
        if before is None or not before.event_name or not event_name:
            return
        changed = [
            f"{setting} changed from {old} to {new}"
            for setting, old, new in (
                ("EVENT_NAME", before.event_name, event_name),
                ("EVENT_KEY", ",".join(sorted(before.event_key)), ",".join(sorted(event_key))),
            )
            if old != new
        ]
        if before.by_user_id and not by_user_id:
            changed.append("USER_ID_COLUMN is no longer set")
        if by_user_id and not before.by_user_id and not has_address:
            changed.append("EMAIL_COLUMN is no longer in the query")
        count = self._events_on_record() if changed else 0
        if count:
            raise RefusedError(
                f"{' and '.join(changed)}: {count:,} delivered events would get new ids, and those still in the window "
                "would appear twice: undo the change; or, if this is a different query, give it its own SYNC_NAME; or "
                "run once with --new-event-ids"
            )

    def delivered_fields(self, mapped: Fields) -> Fields:
        """The fields mapped in a run that delivered; for 1.0.0, which recorded none, those of this mapping."""
        if not self.is_migrated:
            return self.recorded.delivered_fields if self.recorded else {}
        return {name: fields for name, fields in mapped.items() if self._has_delivered(name)}

    def _has_delivered(self, name: str) -> bool:
        kind = "text" if name == PROFILE else "blob"
        query = (
            "SELECT EXISTS (SELECT 1 FROM known WHERE sync = :sync AND typeof(key) = :kind AND fingerprint IS NOT NULL)"
        )
        return bool(self._state.execute(query, {"sync": self.id, "kind": kind}).fetchone()[0])

    def _events_on_record(self) -> int:
        """How many events were delivered, including those that are not settled yet."""
        query = (
            "SELECT COUNT(*) FROM (SELECT key FROM known WHERE sync = :sync AND fingerprint IS NOT NULL UNION "
            "SELECT key FROM pending WHERE sync = :sync AND state = 3) WHERE typeof(key) = 'blob'"
        )
        return int(self._state.execute(query, {"sync": self.id}).fetchone()[0])

    def put(self, settings: Recorded) -> None:
        """Put these settings on record; inside a transaction."""
        _put(self._state, self.id, settings)
        self.recorded = settings


def add_delivered(state: State, sync: int, name: str, fields: Sequence[str]) -> None:
    """Put on record that these fields were delivered, of profiles or of events of this name; inside a transaction."""
    (settings,) = state.db.execute("SELECT settings FROM sync WHERE id = ?", (sync,)).fetchone()
    recorded = Recorded(**json.loads(settings or "{}"))
    known = recorded.delivered_fields
    _put(state, sync, replace(recorded, delivered_fields={**known, name: merged(fields, known.get(name, ()))}))


def _put(state: State, sync: int, settings: Recorded) -> None:
    state.db.execute("UPDATE sync SET settings = ? WHERE id = ?", (json.dumps(asdict(settings)), sync))


def merged(names: Sequence[str], recorded: Sequence[str]) -> list[str]:
    """The names in the order on record, and then the new ones in their own."""
    return [*recorded, *(name for name in names if name not in recorded)]
