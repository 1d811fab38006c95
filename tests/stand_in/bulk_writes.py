"""The bulk endpoints of the stand-in: all or nothing for what is badly formed, item by item for the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tests.stand_in.access import Call
from tests.stand_in.answers import Answer, Json, RefusedError, json_answer
from tests.stand_in.fields import RESERVED_USER_FIELDS, Intake
from tests.stand_in.identities import Identity
from tests.stand_in.items import EVENT, USER_ITEM

if TYPE_CHECKING:
    from tests.stand_in.project import Project

_USER_TROUBLES = ("invalid", "notFound", "invalidData", "conflict", "forgotten")
_EVENT_TROUBLES = ("invalid", "notFound", "forgotten")


class _Bulk:
    """The outcome of a bulk request while it is put together."""

    def __init__(self, troubles: Iterable[str]) -> None:
        self.failed: dict[str, list[str]] = {
            trouble + kinds: [] for trouble in troubles for kinds in ("Emails", "UserIds")
        }
        self.succeeded = 0
        self.fail_count = 0

    def fail(self, trouble: str, identity: Identity) -> None:
        self.failed[trouble + identity.plural].append(identity.sent)
        self.fail_count += 1

    def answer(self, **more: list[str]) -> Answer:
        return json_answer(
            200,
            {
                "successCount": self.succeeded,
                "failCount": self.fail_count,
                "invalidEmails": self.failed["invalidEmails"],
                "invalidUserIds": self.failed["invalidUserIds"],
                **more,
                "failedUpdates": self.failed,
            },
        )


def bulk_update(project: Project, call: Call) -> Answer:
    """POST /api/users/bulkUpdate: all or nothing for what is badly formed, user by user for the rest."""
    body = project.body(call, {"users": list, "createNewFields": bool}, required="users")
    items = project.items(call, body, USER_ITEM)
    bulk, intake = _Bulk(_USER_TROUBLES), project.user_intake()
    accepted: list[tuple[Json, Identity, Json]] = []
    for item in items:
        identity = project.users.identity(item)
        trouble = project.users.trouble(item, identity)
        data = None if trouble else _bulk_fields(project, item, intake, project.creates(body))
        if data is None:
            bulk.fail(trouble or "invalidData", identity)
        else:
            accepted.append((item, identity, data))
    created = intake.commit()
    _warn_of_repeats(project, (identity.key for _, identity, _ in accepted))
    for item, identity, data in accepted:
        project.write_profile(item, identity, data, call.request.arrived, bulk=True)
    bulk.succeeded = len(accepted)
    return bulk.answer(filteredOutFields=list(intake.dropped), createdFields=created, noOpEmails=[], noOpUserIds=[])


def _bulk_fields(project: Project, item: Json, intake: Intake, create: bool) -> Json | None:
    sent = item.get("dataFields", {})
    project.inspect(sent, RESERVED_USER_FIELDS - {"email", "userId"})
    try:
        return intake.take(sent, create)
    except RefusedError:
        if project.rules.conflict_rejects_batch:
            raise
        return None


def _warn_of_repeats(project: Project, identities: Iterable[str]) -> None:
    for identity, times in Counter(identities).items():
        if times > 1:
            project.warn(f"{identity} is {times} times in one bulkUpdate")


def track_bulk(project: Project, call: Call) -> Answer:
    """POST /api/events/trackBulk."""
    body = project.body(call, {"events": list}, required="events")
    items = project.items(call, body, EVENT, required="eventName")
    bulk, intakes = _Bulk(_EVENT_TROUBLES), dict[str, Intake]()
    accepted: list[tuple[Json, Identity, Json]] = []
    disallowed: list[str] = []
    for item in items:
        project.check_event(item)
        identity, name = project.users.identity(item), item["eventName"]
        if trouble := project.event_trouble(item, identity):
            bulk.fail(trouble, identity)
        elif name in project.rules.disallowed_events:
            disallowed.append(name)
        else:
            accepted.append((item, identity, _event_fields(project, item, intakes)))
    created = [f"{name}.{new}" for name, intake in intakes.items() for new in intake.commit()]
    dropped = [f"{name}.{old}" for name, intake in intakes.items() for old in intake.dropped]
    for item, identity, data in accepted:
        project.write_event(item, identity, data, call.request.arrived)
    bulk.succeeded = len(accepted)
    bulk.fail_count += len(disallowed) if project.rules.count_disallowed else 0
    names = list(dict.fromkeys(disallowed))
    return bulk.answer(disallowedEventNames=names, filteredOutFields=dropped, createdFields=created)


def _event_fields(project: Project, item: Json, intakes: dict[str, Intake]) -> Json:
    name, sent = item["eventName"], item.get("dataFields", {})
    project.inspect(sent)
    if name not in intakes:
        intakes[name] = project.event_intake(name)
    return intakes[name].take(sent, project.creates(item))
