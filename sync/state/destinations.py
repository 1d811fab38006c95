"""Which of its sync's destinations a run is at, and the question to the operator if nobody can know."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from sync.state.file import State

logger = logging.getLogger("state")


class RefusedError(Exception):
    """The run would do harm that cannot be undone; one sentence with the remedy. Nothing was sent."""


class SyncName(NamedTuple):
    """A sync at a destination: `destination` is the name that DESTINATION gives it, empty for none."""

    name: str
    base_url: str
    api_key: str
    destination: str = ""

    @property
    def project(self) -> str:
        """The base URL, and twelve hex digits that distinguish two keys and reveal neither."""
        digest = hashlib.sha256(b"iterable destination\0" + self.api_key.encode()).hexdigest()
        return f"{self.base_url}#{digest[:12]}"


class Destination(NamedTuple):
    """A destination of a sync on record, under the name that DESTINATION gave it, or else under its project.

    `sync` is None for what version 1.0.0 put on record: syncs had no names then. `used` is when a run last planned
    something for it, in UTC.
    """

    number: int
    sync: str | None
    name: str
    project: str
    used: str | None


class Held(NamedTuple):
    """How much of a sync Iterable has, or may have, at a destination: all that is delivered or unconfirmed."""

    users: int
    members: int
    events: int


_KNOWN = """
SELECT id, name, destination, project, COALESCE(
    NULLIF(json_extract(settings, '$.used'), ''), (SELECT MAX(started) FROM run WHERE run.sync = COALESCE(name, '')))
FROM sync WHERE name = :name OR (name IS NULL AND segment_field = :segment_field) ORDER BY name IS NOT NULL, id
"""
"""The sync's own destinations, the newest last; before them those of version 1.0.0, for the first sync that writes the
same segment field."""

_HELD = """
WITH sent AS (SELECT person, key, moment IS NULL AND inside = 1 AND segment_field <> '' AS enters
    FROM pending JOIN sync ON sync.id = sync WHERE sync = :sync AND state IN (1, 2, 3)),
held AS (SELECT key FROM known WHERE sync = :sync AND (fingerprint IS NOT NULL OR rejected IS NULL)
    UNION SELECT key FROM sent UNION SELECT person FROM member WHERE sync = :sync)
SELECT (SELECT COUNT(*) FROM held WHERE typeof(key) = 'text'),
    (SELECT COUNT(*) FROM (SELECT person FROM member WHERE sync = :sync UNION SELECT person FROM sent WHERE enters)),
    (SELECT COUNT(*) FROM held WHERE typeof(key) = 'blob')
"""


class Destinations:
    """The destinations of one sync that are on record; for use inside a transaction."""

    def __init__(self, state: State, sync: SyncName, segment_field: str) -> None:
        self._db, self._sync, self._segment_field = state.db, sync, segment_field
        found = self._db.execute(_KNOWN, {"name": sync.name, "segment_field": segment_field})
        self._known = [Destination(*row) for row in found]

    def resolve(self, *, same_project: bool, new_project: bool) -> int:
        """The number of the sync at its destination, which is on record from here on.

        Raises RefusedError if the key or the base URL is new, the destination's name is new too, something is held
        elsewhere, and neither `same_project` nor `new_project` says what to do with it.
        """
        here = self._on_record()
        if here is None:
            here = self._taken_along(same_project=same_project, new_project=new_project)
        return self._put_new() if here is None else self._put(here)

    def _on_record(self) -> Destination | None:
        """The destination with this key and base URL, whatever its name; or else the one with this name.

        A key and a base URL with which nothing was ever delivered count for less than a name.
        """
        matches = [one for one in self._known if self._has_project(one) or one.name == self._name]
        if len(matches) < 2:
            return matches[0] if matches else None
        return max(
            matches,
            key=lambda one: (
                one.sync is not None,
                self._has_project(one) and any(self._held(one)),
                one.name == self._name,
            ),
        )

    @property
    def _name(self) -> str:
        return self._sync.destination or self._sync.project

    def _has_project(self, one: Destination) -> bool:
        return _without_port(one.project) == _without_port(self._sync.project)

    def _taken_along(self, *, same_project: bool, new_project: bool) -> Destination | None:
        """The sync's earlier destination, if it continues under the new key, URL or name; None for a new start."""
        held = {one: held for one in self._known if any(held := self._held(one))}
        if same_project and len(held) == 1:
            return next(iter(held))
        if held and not new_project:
            raise RefusedError(self._question(held))
        others = [one for one in self._known if one not in held]
        if not others:
            return None
        self._forget_rejections(others[-1])
        return others[-1]

    def _held(self, one: Destination) -> Held:
        return Held(*self._db.execute(_HELD, {"sync": one.number}).fetchone())

    def _forget_rejections(self, backlog: Destination) -> None:
        """Another project may accept what this one rejected."""
        self._db.execute("DELETE FROM known WHERE sync = ?", (backlog.number,))
        self._db.execute("UPDATE pending SET state = 0, reason = NULL WHERE sync = ?", (backlog.number,))

    def _put(self, here: Destination) -> int:
        """Put this run's key, base URL and name on record; a name that another destination has stays there."""
        unnamed = here.name == here.project
        wanted = self._sync.destination or (self._sync.project if unnamed else here.name)
        taken = {one.name for one in self._known if one.sync is not None and one != here}
        name = here.name if wanted in taken else wanted
        if self._sync.destination not in ("", name):
            logger.warning(
                "DESTINATION=%s names another project on record than the key and the base URL, which are those of %s: "
                "the run uses %s; correct DESTINATION or the key",
                self._sync.destination,
                name,
                name,
            )
        self._db.execute(
            "UPDATE sync SET name = ?, destination = ?, project = ? WHERE id = ?",
            (self._sync.name, name, self._sync.project, here.number),
        )
        return here.number

    def _put_new(self) -> int:
        number: int = self._db.execute(
            "INSERT INTO sync (name, destination, project, segment_field, settings) VALUES (?, ?, ?, ?, '{}') "
            "RETURNING id",
            (self._sync.name, self._name, self._sync.project, self._segment_field),
        ).fetchone()[0]
        return number

    def _question(self, held: Mapping[Destination, Held]) -> str:
        """Why the run is refused, what is at stake, and the ways forward."""
        here = _where(self._name, self._sync.project)
        on_record = "; ".join(_described(*one) for one in held.items())
        if len(held) == 1:
            same = "it is the same project (with a new key, say), run once with --same-project: all of that stays valid"
        else:
            same = "it is one of these, set DESTINATION to its name (--same-project cannot tell which one you mean)"
        return (
            "ITERABLE_API_KEY, ITERABLE_API_BASE_URL or DESTINATION has changed, and the program cannot tell whether "
            f"{here} is a project that the sync {self._sync.name} has sent to before. On record: {on_record}. "
            f"If {same}. If it is another project, run once with --new-project: all of that stays on record, and the "
            "sync starts from nothing"
        )


def _without_port(project: str) -> str:
    """Version 1.0.0 put the port on record even if it was the usual one."""
    port = ":443#" if project.startswith("https:") else ":80#"
    return project.replace(port, "#")


def _where(name: str, project: str) -> str:
    return name if name == project else f"{name} ({project})"


def _described(one: Destination, held: Held) -> str:
    """A destination, what is held there, and when a run last used it, by the clock of this machine."""
    used = datetime.fromisoformat(one.used).replace(tzinfo=UTC).astimezone() if one.used else None
    return (
        f"{_where(one.name, one.project)} with {_counted(held.users, 'user')}, {_counted(held.members, 'member')} "
        f"of the segment and {_counted(held.events, 'event')}, last used "
        f"{f'{used:%Y-%m-%d %H:%M}' if used else 'at an unknown time'}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
