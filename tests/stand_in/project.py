"""What an Iterable project answers: requests in, answers out, and what it remembers in between.

This is the behaviour of the local stand-in; `stand_in.py` puts it on a socket. Rules that Iterable documents
name their source. Where sources are silent the stricter reading is taken, and the word "unverified" says so.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from tests.stand_in import bulk_writes, reads, renames
from tests.stand_in.access import Access, Call
from tests.stand_in.answers import (
    EXPECTED,
    Answer,
    Json,
    RefusedError,
    Request,
    bad_body,
    envelope,
    html_answer,
    json_answer,
    jwt_refused,
    read_object,
    refused,
)
from tests.stand_in.fields import LONGEST_VALUE, RESERVED_USER_FIELDS, Intake
from tests.stand_in.identities import Identity, single_refusal
from tests.stand_in.items import EVENT, USER
from tests.stand_in.rules import EVENTS_BULK, EVENTS_TRACK, USERS_BULK, USERS_EMAIL, USERS_UPDATE, ProjectRules
from tests.stand_in.users import Users

_EVENT_ID = re.compile(r"[A-Za-z0-9-]{1,512}")


class Project:
    """One Iterable project: give it a request, get its answer.

    What it keeps is replaced and never altered in place, so that another thread may read it at any time.
    """

    def __init__(self, rules: ProjectRules) -> None:
        self.rules = rules
        self.events: dict[str, Json] = {}
        self.warnings: dict[str, None] = {}
        self.users = Users(rules, self.warn)
        self.owner_of: dict[str, str] = {}
        self.tracked_at: dict[str, float] = {}
        self.access = Access(rules, self.warn)

    @property
    def profiles(self) -> dict[str, Json]:
        """Identity -> data fields, as they are now."""
        return {identity: profile.data for identity, profile in self.users.stored.copy().items()}

    def handle(self, request: Request) -> Answer:
        """Apply *request* and answer it."""
        try:
            endpoint, argument = _route(request)
            key = self.access.key(request, endpoint)
            claims = self.access.claims(request) if key.kind == "Mobile" else None
            self.access.meter(request, endpoint)
            return _METHODS[request.method][endpoint](self, Call(request, endpoint, argument, claims))
        except RefusedError as refused:
            return refused.answer

    def warn(self, sentence: str) -> None:
        """Remember that a client did what Iterable accepts and nobody should do."""
        self.warnings[sentence] = None

    # Reading a body

    def body(self, call: Call, allowed: Mapping[str, type], required: str = "") -> Json:
        """The body of a request, all of whose fields are of the documented types."""
        body = read_object(call.request)
        wrong = self._wrong_in(body, "obj", allowed, required)
        if wrong:
            raise bad_body(call.request, wrong)
        return body

    def items(self, call: Call, body: Json, allowed: Mapping[str, type], required: str = "") -> list[Json]:
        """The items of a bulk body; one that is badly typed refuses them all."""
        name = "events" if "events" in body else "users"
        wrong: dict[str, str] = {}
        for number, item in enumerate(body[name]):
            at = f"obj.{name}[{number}]"
            if type(item) is dict:
                wrong.update(self._wrong_in(item, at, allowed, required))
            else:
                wrong[at] = EXPECTED[dict]
        if wrong:
            raise bad_body(call.request, wrong)
        items: list[Json] = body[name]
        return items

    def _wrong_in(self, item: Json, at: str, allowed: Mapping[str, type], required: str) -> dict[str, str]:
        wrong = {}
        for name, value in item.items():
            kind = allowed.get(name)
            if kind is None:
                if self.rules.strict:
                    wrong[f"{at}.{name}"] = "Unknown field"
            elif type(value) is not kind:
                wrong[f"{at}.{name}"] = EXPECTED[kind]
        if required and required not in item:
            wrong[f"{at}.{required}"] = "Value expected"
        return wrong

    # What is wrong with an item

    def event_trouble(self, item: Json, identity: Identity) -> str | None:
        """The word for why this user's event cannot be taken; None when it can."""
        trouble = self.users.trouble({**item, "dataFields": {}, "preferUserId": True}, identity)
        if trouble == "conflict":
            return None
        if trouble is None and self.rules.events_need_user and identity.key not in self.users.stored:
            return "notFound"
        return trouble

    # Fields

    def user_intake(self) -> Intake:
        """What one request does to the types of profile fields."""
        known = self.rules.field_types.user
        return Intake(known, "user", lambda: (len(known), self.rules.user_field_limit))

    def event_intake(self, name: str) -> Intake:
        """What one request does to the types of the fields of this event."""
        known = self.rules.field_types.events
        return Intake(
            known.setdefault(name, {}),
            name,
            lambda: (sum(map(len, known.values())), self.rules.event_field_limit),
        )

    def creates(self, item: Mapping[str, Any]) -> bool:
        """Whether unknown fields are created."""
        asked = item.get("createNewFields")
        return not self.rules.drop_unknown_fields if asked is None else bool(asked)

    def inspect(self, data: Json, reserved: frozenset[str] = frozenset()) -> None:
        """Warn of fields that Iterable takes and that are a mistake all the same."""
        for name, value in data.items():
            if name in reserved:
                self.warn(f"the reserved field {name!r} is in dataFields")
            if not name or name[0] == "_" or name.isdigit() or not {",", "#", "."}.isdisjoint(name):
                self.warn(f"the field name {name!r} is against Iterable's rules for names")
            if type(value) is str and len(value) > LONGEST_VALUE:
                self.warn(f"the value of field {name!r} is longer than {LONGEST_VALUE} characters")

    # Writing

    def write_event(self, item: Json, identity: Identity, data: Json, now: float) -> str:
        """Store an event and return its id."""
        event_id: str = item.get("id") or uuid.uuid4().hex
        old = self.events.get(event_id)
        event: Json = {"createdAt": int(self.rules.clock()), **item, "id": event_id, "dataFields": data}
        event["writes"] = old["writes"] + 1 if old else 1
        if old and (old["eventName"], self.owner_of[event_id]) != (event["eventName"], identity.key):
            self.warn(f"the event id {event_id} came again for another user or event name")
        self.events[event_id] = event
        self.owner_of[event_id] = identity.key
        self.tracked_at[event_id] = now
        return event_id

    def move_user(self, key: str, email: str) -> None:
        """Give a user another address: the events move along."""
        new = self.users.move(key, email)
        self._give_events(key, new)

    def _give_events(self, key: str, new: str) -> None:
        self.owner_of.update({event: new for event, owner in self.owner_of.copy().items() if owner == key})

    def delete_user(self, key: str) -> None:
        """Forget a user, with the events (what becomes of those is unverified)."""
        self.users.delete(key)
        for event_id in [event for event, owner in self.owner_of.items() if owner == key]:
            self.events = {event: data for event, data in self.events.items() if event != event_id}
            del self.owner_of[event_id]

    def write_profile(self, item: Json, identity: Identity, data: Json, now: float, *, bulk: bool = False) -> None:
        """Store a profile; who gets another key by it keeps the events."""
        key = self.users.write(item, identity, data, now, bulk=bulk)
        if key != identity.key:
            self._give_events(identity.key, key)

    def check_event(self, item: Json) -> None:
        """Refuse an id that is none; warn of an odd time."""
        if "id" in item and not _EVENT_ID.fullmatch(item["id"]):
            raise refused(400, "BadParams", f"Invalid event id: {item['id']}")
        created = item.get("createdAt")
        if created is None:
            self.warn("an event came without createdAt")
        elif created <= 0 or created > self.rules.clock() + 86_400:
            self.warn(f"createdAt {created} is not a recent time in Unix seconds")

    # The endpoints

    def update_user(self, call: Call) -> Answer:
        """POST /api/users/update."""
        item = self.body(call, USER)
        self.access.check_claims(call, item)
        identity = self.users.identity(item)
        if trouble := self.users.trouble(item, identity):
            raise single_refusal(trouble, item, identity, forgotten_status=409)
        sent = item.get("dataFields", {})
        self.inspect(sent, RESERVED_USER_FIELDS - {"email", "userId"})
        intake = self.user_intake()
        self.write_profile(item, identity, intake.take(sent, self.creates(item)), call.request.arrived)
        created = intake.commit()
        news = f" New fields created are: [{','.join(created)}]" if created else ""
        return json_answer(200, envelope("Success", f"User successfully created/updated.{news}"))

    def track_event(self, call: Call) -> Answer:
        """POST /api/events/track."""
        item = self.body(call, EVENT, required="eventName")
        self.access.check_claims(call, item)
        identity = self.users.identity(item)
        if trouble := self.event_trouble(item, identity):
            raise single_refusal(trouble, item, identity, forgotten_status=400)
        if call.by_client_key and self.rules.jwt_needs_user and identity.key not in self.users.stored:
            raise jwt_refused(call.request, "Email could not be found")
        self.check_event(item)
        name = item["eventName"]
        if name in self.rules.disallowed_events:
            return json_answer(200, envelope("BadParams", f"event {name} is disallowed from tracking."))
        if call.by_client_key and name in self.rules.blocked_events:
            event_id = item.get("id") or uuid.uuid4().hex
            return json_answer(200, envelope("Success", f"Event with id: {event_id} tracked.", {"id": event_id}))
        return self._tracked(call, item, identity)

    def _tracked(self, call: Call, item: Json, identity: Identity) -> Answer:
        name = item["eventName"]
        sent = item.get("dataFields", {})
        self.inspect(sent)
        intake = self.event_intake(name)
        event_id = self.write_event(item, identity, intake.take(sent, self.creates(item)), call.request.arrived)
        created = ",".join(f"{name}.{new}" for new in intake.commit())
        news = f" Fields that were created were: [{created}]" if created else ""
        return json_answer(200, envelope("Success", f"Event with id: {event_id} tracked.{news}", {"id": event_id}))


_POSTS: dict[str, Callable[[Project, Call], Answer]] = {
    USERS_UPDATE: Project.update_user,
    USERS_EMAIL: renames.update_email,
    USERS_BULK: bulk_writes.bulk_update,
    EVENTS_TRACK: Project.track_event,
    EVENTS_BULK: bulk_writes.track_bulk,
}
_GETS: dict[str, Callable[[Project, Call], Answer]] = {
    "/api/channels": reads.get_channels,
    "/api/lists": reads.get_lists,
    "/api/users/getFields": reads.get_fields,
    "/api/users/getByEmail": reads.get_user,
    "/api/users/byUserId": reads.get_user_by_id,
    "/api/inApp/getMessages": reads.get_messages,
    "/api/users/byUserId/{userId}": reads.get_user_by_id,
    "/api/users/{email}": reads.get_user,
    "/api/events/byUserId/{userId}": reads.get_events,
    "/api/events/{email}": reads.get_events,
}
_DELETES: dict[str, Callable[[Project, Call], Answer]] = {
    "/api/users/byUserId/{userId}": renames.delete_by_id,
    "/api/users/{email}": renames.delete_by_email,
}
_METHODS = {"POST": _POSTS, "GET": _GETS, "DELETE": _DELETES}


def _route(request: Request) -> tuple[str, str]:
    """The endpoint of *request* and what stands in its path; wrong URLs get the web server's 404 page."""
    path, handlers = request.path, _METHODS.get(request.method, {})
    if path in handlers and "{" not in path:
        return path, ""
    for template in handlers if path not in _POSTS else ():
        prefix, brace, _ = template.partition("{")
        rest = path.removeprefix(prefix)
        if brace and rest != path and rest and "/" not in rest:
            return template, unquote(rest)
    raise RefusedError(html_answer(404, "Action not found"))
