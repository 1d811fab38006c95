"""What an Iterable project answers: requests in, answers out, and what it remembers in between.

This is the behaviour of the local stand-in; `stand_in.py` puts it on a socket. Rules that Iterable documents
name their source. Where sources are silent the stricter reading is taken, and the word "unverified" says so.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from sync.sandbox import bulk_writes, reads
from sync.sandbox.access import Access, Call
from sync.sandbox.answers import (
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
from sync.sandbox.fields import LONGEST_VALUE, RESERVED_USER_FIELDS, Intake, merged
from sync.sandbox.identities import USER_ID, Identity, is_valid, single_refusal
from sync.sandbox.items import EVENT, USER
from sync.sandbox.rules import EVENTS_BULK, EVENTS_TRACK, USERS_BULK, USERS_UPDATE, ProjectRules

_EVENT_ID = re.compile(r"[A-Za-z0-9-]{1,512}")


class _Stored(NamedTuple):
    """A profile: its data, when that was written, and what a GET shows until it is visible."""

    data: Json
    written: float
    before: Json | None
    user_id: str | None = None


class Project:
    """One Iterable project: give it a request, get its answer.

    What it keeps is replaced and never altered in place, so that another thread may read it at any time.
    """

    def __init__(self, rules: ProjectRules) -> None:
        self.rules = rules
        self.stored: dict[str, _Stored] = {}
        self.events: dict[str, Json] = {}
        self.writes: Counter[str] = Counter()
        self.warnings: dict[str, None] = {}
        self.email_of: dict[str, str] = {}
        self.tracked_at: dict[str, float] = {}
        self.access = Access(rules, self.warn)

    @property
    def profiles(self) -> dict[str, Json]:
        """Identity -> data fields, as they are now."""
        return {identity: profile.data for identity, profile in self.stored.copy().items()}

    def handle(self, request: Request) -> Answer:
        """Apply *request* and answer it."""
        try:
            endpoint, argument = _route(request)
            key = self.access.key(request, endpoint)
            claims = self.access.claims(request) if key.kind == "Mobile" else None
            self.access.meter(request, endpoint)
            return _HANDLERS[endpoint](self, Call(request, endpoint, argument, claims))
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

    def identity(self, item: Json) -> Identity:
        """Whom an item is about."""
        email, user_id = item.get("email"), item.get("userId")
        if (email is None and user_id is None) or (email is not None and user_id is not None and not self.rules.hybrid):
            raise refused(400, "BadParams", "Exactly one of email and userId is needed")
        if email is not None:
            return Identity("email", email, email.lower())
        return Identity("userId", str(user_id), self.email_of.get(str(user_id), str(user_id)))

    # What is wrong with an item

    def _trouble(self, item: Json, identity: Identity) -> str | None:
        """The word for why this user cannot be written, as it stands in the names of the bulk lists."""
        if not is_valid(identity) or not USER_ID.fullmatch(item.get("userId") or "x"):
            return "invalid"
        if identity.key in self.rules.forgotten or item.get("userId") in self.rules.forgotten:
            return "forgotten"
        return "conflict" if self._conflicts(item, identity) else None

    def user_trouble(self, item: Json, identity: Identity) -> str | None:
        """The word for why this user cannot be written; None when it can."""
        unknown = identity.kind == "userId" and identity.key not in self.stored
        if unknown and self.rules.email_based and not item.get("preferUserId"):
            return self._trouble(item, identity) or "notFound"
        return self._trouble(item, identity)

    def event_trouble(self, item: Json, identity: Identity) -> str | None:
        """The word for why this user's event cannot be taken; None when it can."""
        trouble = self._trouble(item, identity)
        if trouble == "conflict":
            return None
        if trouble is None and self.rules.events_need_user and identity.key not in self.stored:
            return "notFound"
        return trouble

    def _conflicts(self, item: Json, identity: Identity) -> bool:
        if "email" not in item or "userId" not in item:
            return False
        owner = self.email_of.get(item["userId"], identity.key)
        profile = self.stored.get(identity.key)
        return owner != identity.key or (profile is not None and profile.user_id not in (None, item["userId"]))

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

    def write_profile(self, item: Json, identity: Identity, data: Json, now: float) -> None:
        """Store a profile."""
        old = self.stored.get(identity.key)
        after = merged(old.data if old else {}, data, bool(item.get("mergeNestedObjects")))
        user_id = item.get("userId") or (old.user_id if old else None)
        self.stored[identity.key] = _Stored(after, now, self.visible(old, now), user_id)
        self.writes[identity.key] += 1
        if identity.kind == "email" and user_id is not None:
            self.email_of[user_id] = identity.key

    def write_event(self, item: Json, data: Json, now: float) -> str:
        """Store an event and return its id."""
        event_id: str = item.get("id") or uuid.uuid4().hex
        old = self.events.get(event_id)
        event: Json = {"createdAt": int(self.rules.clock()), **item, "id": event_id, "dataFields": data}
        event["writes"] = old["writes"] + 1 if old else 1
        if old and any(old.get(name) != event.get(name) for name in ("eventName", "email", "userId")):
            self.warn(f"the event id {event_id} came again for another user or event name")
        self.events[event_id] = event
        self.tracked_at[event_id] = now
        return event_id

    def visible(self, profile: _Stored | None, now: float) -> Json | None:
        """What a reading call shows of a profile by now."""
        if profile is None:
            return None
        return profile.data if now - profile.written >= self.rules.visible_after else profile.before

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
        identity = self.identity(item)
        if trouble := self.user_trouble(item, identity):
            raise single_refusal(trouble, item, identity, forgotten_status=409)
        sent = item.get("dataFields", {})
        self.inspect(sent, RESERVED_USER_FIELDS)
        intake = self.user_intake()
        self.write_profile(item, identity, intake.take(sent, self.creates(item)), call.request.arrived)
        created = intake.commit()
        news = f" New fields created are: [{','.join(created)}]" if created else ""
        return json_answer(200, envelope("Success", f"User successfully created/updated.{news}"))

    def track_event(self, call: Call) -> Answer:
        """POST /api/events/track."""
        item = self.body(call, EVENT, required="eventName")
        self.access.check_claims(call, item)
        identity = self.identity(item)
        if trouble := self.event_trouble(item, identity):
            raise single_refusal(trouble, item, identity, forgotten_status=400)
        if call.by_client_key and self.rules.jwt_needs_user and identity.key not in self.stored:
            raise jwt_refused(call.request, "Email could not be found")
        self.check_event(item)
        name = item["eventName"]
        if name in self.rules.disallowed_events:
            return json_answer(200, envelope("BadParams", f"event {name} is disallowed from tracking."))
        if call.by_client_key and name in self.rules.blocked_events:
            event_id = item.get("id") or uuid.uuid4().hex
            return json_answer(200, envelope("Success", f"Event with id: {event_id} tracked.", {"id": event_id}))
        return self._tracked(call, item)

    def _tracked(self, call: Call, item: Json) -> Answer:
        name = item["eventName"]
        sent = item.get("dataFields", {})
        self.inspect(sent)
        intake = self.event_intake(name)
        event_id = self.write_event(item, intake.take(sent, self.creates(item)), call.request.arrived)
        created = ",".join(f"{name}.{new}" for new in intake.commit())
        news = f" Fields that were created were: [{created}]" if created else ""
        return json_answer(200, envelope("Success", f"Event with id: {event_id} tracked.{news}", {"id": event_id}))


_POSTS: dict[str, Callable[[Project, Call], Answer]] = {
    USERS_UPDATE: Project.update_user,
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
_METHODS = {"POST": _POSTS, "GET": _GETS}
_HANDLERS = {**_POSTS, **_GETS}
_TEMPLATES = [(path[: path.index("{")], path) for path in _GETS if "{" in path]


def _route(request: Request) -> tuple[str, str]:
    """The endpoint of *request* and what stands in its path; wrong URLs get the web server's 404 page."""
    path = request.path
    if path in _METHODS.get(request.method, {}):
        return path, ""
    if request.method == "GET" and path not in _POSTS:
        for prefix, template in _TEMPLATES:
            rest = path.removeprefix(prefix)
            if rest != path and rest and "/" not in rest:
                return template, unquote(rest)
    raise RefusedError(html_answer(404, "Action not found"))
