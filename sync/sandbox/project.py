"""What an Iterable project answers: requests in, answers out, and what it remembers in between.

This is the behaviour of the local stand-in; `stand_in.py` puts it on a socket. Rules that Iterable documents
name their source. Where sources are silent the stricter reading is taken, and the word "unverified" says so.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

Json = dict[str, Any]

USERS_UPDATE = "/api/users/update"
USERS_BULK = "/api/users/bulkUpdate"
EVENTS_TRACK = "/api/events/track"
EVENTS_BULK = "/api/events/trackBulk"

DOCUMENTED_LIMITS: Mapping[str, float] = {
    USERS_UPDATE: 500,
    USERS_BULK: 5,
    EVENTS_TRACK: 2000,
    EVENTS_BULK: 10,
    "/api/channels": 100,
    "/api/lists": 100,
    "/api/users/getFields": 3,
    "/api/users/{email}": 100,
    "/api/users/getByEmail": 100,
    "/api/users/byUserId/{userId}": 100,
    "/api/events/{email}": 100,
    "/api/events/byUserId/{userId}": 100,
}
"""Requests per second and project (Iterable Swagger)."""

MAX_BODY = 4_000_000
"""Bytes of a request body ("4MB", Iterable Swagger on bulkUpdate); assumed for the other endpoints."""

MAX_JWT_LIFETIME = 31_536_000
"""Most seconds from `iat` to `exp` (JWT documentation)."""

RESERVED_USER_FIELDS = frozenset(
    {
        *("email", "userId", "itblInternal", "itblDS", "itblUserId"),
        *("profileUpdatedAt", "signupDate", "signupSource", "emailListIds", "userListIds"),
        *("subscribedMessageTypeIds", "unsubscribedChannelIds", "unsubscribedMessageTypeIds"),
        *("receivedSMSDisclaimer", "devices", "phoneNumberDetails", "shoppingCartItems"),
    }
)
"""Profile fields that Iterable keeps itself (User Profile Fields Used by Iterable)."""

LONGEST_VALUE = 32_000
"""About the most characters of one field's value (Field Data Types)."""

_EMAIL = re.compile(
    r"""(?=[^@]{1,64}@)[^\s()<>@,;:"\\.\[\]\x00-\x1f\x7f-\U0010ffff]+
        (?:\.[^\s()<>@,;:"\\.\[\]\x00-\x1f\x7f-\U0010ffff]+)*
        @(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?P<tld>[a-z]{2,63}|xn--[a-z0-9-]+)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,  # without ASCII, i, k and s would match letters beyond it
)
_RESERVED_TLDS = frozenset({"test", "local", "localhost", "invalid", "example"})
_USER_ID = re.compile(r"[ -~]{0,51}[!-~]")
_EVENT_ID = re.compile(r"[A-Za-z0-9-]{1,512}")
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_DATE = re.compile(
    r"""(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])
        (?:[ ]\d\d:\d\d:\d\d(?:[ ][+-]\d\d:\d\d)?
          |T\d\d:\d\d:\d\d\.\d{3}(?:Z|[+-]\d\d:?\d\d))?""",
    re.VERBOSE | re.ASCII,
)

_USER_ITEM: Mapping[str, type] = {
    "email": str,
    "userId": str,
    "preferUserId": bool,
    "mergeNestedObjects": bool,
    "dataFields": dict,
}
_USER: Mapping[str, type] = {**_USER_ITEM, "createNewFields": bool}
_EVENT: Mapping[str, type] = {
    "eventName": str,
    "email": str,
    "userId": str,
    "id": str,
    "createdAt": int,
    "dataFields": dict,
    "campaignId": int,
    "templateId": int,
    "createNewFields": bool,
}
_EXPECTED: Mapping[type, str] = {
    str: "String value expected",
    bool: "Boolean value expected",
    int: "Number value expected",
    dict: "Object value expected",
    list: "Array value expected",
}

_USER_TROUBLES = ("invalid", "notFound", "invalidData", "conflict", "forgotten")
_EVENT_TROUBLES = ("invalid", "notFound", "forgotten")


@dataclass(slots=True)
class Request:
    """One request as it came over the wire; `status` is what it was answered with, 0 without an answer."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    arrived: float
    status: int = 0
    fault: str = ""

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Answer(NamedTuple):
    """A status with its body and the headers that are its own."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class RefusedError(Exception):
    """The request gets this answer, and nothing of it is applied."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass
class FieldTypes:
    """The type of each field, fixed by the first value the project ever received (Field Data Types)."""

    user: dict[str, str] = field(default_factory=dict)
    events: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class ProjectRules:
    """What kind of project this is. Every rule may be changed while the stand-in runs."""

    api_key: str = "stand-in-key"
    """The server-side key."""
    jwt_api_key: str | None = None
    jwt_secret: str | None = None
    """A JWT-enabled key and the secret that was shown with it."""
    read_only_key: str | None = None
    reject_extra_claims: bool = False
    """A claim other than email, userId, iat, exp is an invalid payload (unverified, hence a switch)."""
    jwt_needs_user: bool = False
    """events/track with a JWT for a user the project does not know: `email could not be found`."""
    jwt_mismatch_status: int = 401
    """401 (the SDKs) or 400 (API Response Codes) for a JWT of another user."""
    clock: Callable[[], float] = time.time

    limits: Mapping[str, float] | None = None
    """Endpoint -> requests per second, as DOCUMENTED_LIMITS; None: no limits."""
    retry_after: str | None = None
    """The Retry-After header of a 429. No recording of the real one has it."""

    strict: bool = True
    """Unknown fields of the envelope are refused."""
    hybrid: bool = False
    """E-mail address and user id may come together."""
    email_based: bool = False
    """A user id nobody has is an error, unless `preferUserId`."""
    events_need_user: bool = False
    """An event does not create its user, but fails."""
    forgotten: set[str] = field(default_factory=set)
    """Identities under the right to be forgotten."""
    disallowed_events: set[str] = field(default_factory=set)
    count_disallowed: bool = True
    """Whether disallowed events are in `failCount` (unverified)."""
    blocked_events: set[str] = field(default_factory=set)
    """Names that a JWT key may send and that are silently not stored (Event Creation setting)."""

    field_types: FieldTypes = field(default_factory=FieldTypes)
    drop_unknown_fields: bool = False
    """The project's answer where a request says nothing about `createNewFields`."""
    user_field_limit: int = 1_000
    event_field_limit: int = 8_000
    conflict_rejects_batch: bool = True
    """A type conflict in one user refuses the whole bulkUpdate; else it is in `invalidData...`."""
    visible_after: float = 0.0
    """Seconds until a GET shows what was written."""


class _Key(NamedTuple):
    kind: str
    value: str


_GETS_FOR_READ_ONLY = frozenset({"/api/channels", "/api/lists", "/api/users/getFields"})
_FOR_CLIENT_SIDE = frozenset({USERS_UPDATE, EVENTS_TRACK, "/api/inApp/getMessages"})


class _Identity(NamedTuple):
    """Who an item is about: the field that says so, its value as sent, and the key of the profile."""

    kind: str
    sent: str
    key: str

    @property
    def plural(self) -> str:
        return "Emails" if self.kind == "email" else "UserIds"


class _Call(NamedTuple):
    request: Request
    endpoint: str
    argument: str
    claims: Json | None

    @property
    def by_client_key(self) -> bool:
        return self.claims is not None

    def parameter(self, name: str) -> str:
        return parse_qs(self.request.query).get(name, [""])[0]


class _Stored(NamedTuple):
    """A profile: its data, when that was written, and what a GET shows until it is visible."""

    data: Json
    written: float
    before: Json | None
    user_id: str | None = None


class _Window:
    """Admits at most *limit* arrivals in any one second."""

    def __init__(self, limit: float) -> None:
        self._most = max(1, int(limit))
        self._seconds = max(1.0, 1 / limit)
        self._arrivals: deque[float] = deque()

    def admits(self, now: float) -> bool:
        arrivals = self._arrivals
        while arrivals and arrivals[0] <= now - self._seconds:
            arrivals.popleft()
        if len(arrivals) >= self._most:
            return False
        arrivals.append(now)
        return True


class _Intake:
    """What one request does to a map of field types: nothing, until `commit`."""

    def __init__(self, known: dict[str, str], category: str, room: Callable[[], tuple[int, int]]) -> None:
        self._known = known
        self._category = category
        self._room = room
        self.added: dict[str, str] = {}
        self.dropped: dict[str, None] = {}

    def take(self, data: Json, create: bool) -> Json:
        """The part of *data* that is stored. Refused when a value does not fit the type of its field."""
        new: dict[str, str] = {}
        wrong: dict[str, Json] = {}
        kept = self._walk(data, "", create, new, wrong)
        if wrong:
            raise _mismatch(wrong)
        if new:
            self._check_room(new)
            self.added.update(new)
        return kept

    def commit(self) -> list[str]:
        """Keep the new fields; their names."""
        self._known.update(self.added)
        return list(self.added)

    def _walk(self, data: Json, prefix: str, create: bool, new: dict[str, str], wrong: dict[str, Json]) -> Json:
        kept = {}
        for name, value in data.items():
            sample = _sample(value)
            if sample is None:
                kept[name] = value
                continue
            path = prefix + name
            possible = _possible_types(path, sample)
            known = self._known.get(path) or self.added.get(path) or new.get(path)
            if known is None and not create:
                self.dropped[path] = None
                continue
            if known is None:
                new[path] = possible[0]
            elif known not in possible:
                wrong[path] = _unexpected(known, possible, value, self._category)
            nested = type(value) is dict and possible[0] == "object"
            kept[name] = self._walk(value, f"{path}.", create, new, wrong) if nested else value
        return kept

    def _check_room(self, new: dict[str, str]) -> None:
        used, limit = self._room()
        requested = used + len(self.added) + len(new)
        if requested > limit:
            raise _refused(
                400,
                "UniqueFieldsLimitExceeded",
                f"Project 1: The request would increase the number of object fields to {requested}"
                f" by adding [..], which exceeds the limit of {limit}",
                {"limit": limit, "requestedTotal": requested, "newFields": list(new)},
            )


class _Bulk:
    """The outcome of a bulk request while it is put together."""

    def __init__(self, troubles: Iterable[str]) -> None:
        self.failed: dict[str, list[str]] = {
            trouble + kinds: [] for trouble in troubles for kinds in ("Emails", "UserIds")
        }
        self.succeeded = 0
        self.fail_count = 0

    def fail(self, trouble: str, identity: _Identity) -> None:
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
        self._email_of: dict[str, str] = {}
        self._tracked_at: dict[str, float] = {}
        self._windows: dict[tuple[str, float], _Window] = {}
        self._refusals = 0

    @property
    def profiles(self) -> dict[str, Json]:
        """Identity -> data fields, as they are now."""
        return {identity: profile.data for identity, profile in self.stored.copy().items()}

    def handle(self, request: Request) -> Answer:
        """Apply *request* and answer it."""
        try:
            endpoint, argument = _route(request)
            key = self._key(request, endpoint)
            claims = self._claims(request) if key.kind == "Mobile" else None
            self._meter(request, endpoint)
            return _HANDLERS[endpoint](self, _Call(request, endpoint, argument, claims))
        except RefusedError as refused:
            return refused.answer

    def warn(self, sentence: str) -> None:
        """Remember that a client did what Iterable accepts and nobody should do."""
        self.warnings[sentence] = None

    # Who may

    def _key(self, request: Request, endpoint: str) -> _Key:
        sent = request.headers.get("api-key") or request.headers.get("api_key")
        if sent is None or (kind := self._kinds().get(sent)) is None:
            raise _refused(401, "BadApiKey", "Invalid API key", {"ip": "127.0.0.1", "endpoint": request.path})
        key = _Key(kind, sent)
        if (kind == "ReadOnly" and endpoint not in _GETS_FOR_READ_ONLY) or (
            kind == "Mobile" and endpoint not in _FOR_CLIENT_SIDE
        ):
            raise _insufficient(key, request.path)
        if kind != "Mobile" and "authorization" in request.headers:
            self.warn("an Authorization header came with a key that is not JWT-enabled")
        return key

    def _kinds(self) -> dict[str | None, str]:
        rules = self.rules
        return {rules.read_only_key: "ReadOnly", rules.jwt_api_key: "Mobile", rules.api_key: "ServerSide"}

    def _claims(self, request: Request) -> Json:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token:
            raise _jwt_refused(request, "JWT authorization header is not set", code="BadAuthorizationHeader")
        if scheme.lower() != "bearer" or not _JWT.fullmatch(token):
            raise _jwt_refused(request, "JWT format is invalid")
        if not _signature_holds(token, self.rules.jwt_secret or ""):
            raise _jwt_refused(request, "JWT is invalid")
        claims = _decoded(token.split(".")[1])
        if problem := self._problem_of_claims(claims):
            raise _jwt_refused(request, problem)
        return claims

    def _problem_of_claims(self, claims: Json) -> str | None:
        issued, expires = claims.get("iat"), claims.get("exp")
        named = [claims[kind] for kind in ("email", "userId") if kind in claims]
        extra = claims.keys() - {"email", "userId", "iat", "exp"}
        if type(issued) is not int or type(expires) is not int or (extra and self.rules.reject_extra_claims):
            return "Invalid payload"
        if not named:
            return "JWT payload requires a value for userId or email"
        if len(named) > 1 or type(named[0]) is not str:
            return "Invalid payload"
        if expires - issued > MAX_JWT_LIFETIME:
            return "exp must be less than 1 year from iat"
        return "JWT token is expired" if expires <= self.rules.clock() else None

    def _check_claims(self, call: _Call, body: Mapping[str, Any]) -> None:
        """The user of the request must be the one of the JWT (JWT documentation); same kind, same letters."""
        if call.claims is None:
            return
        for kind in ("email", "userId"):
            if body.get(kind) != call.claims.get(kind):
                raise _refused(
                    self.rules.jwt_mismatch_status,
                    "JwtUserIdentifiersMismatched",
                    "JWT user identifiers do not match those of the request",
                    {"endpoint": call.request.path},
                )

    def _meter(self, request: Request, endpoint: str) -> None:
        limit = (self.rules.limits or {}).get(endpoint)
        if limit is None:
            return
        window = self._windows.setdefault((endpoint, limit), _Window(limit))
        if not window.admits(request.arrived):
            self._refusals += 1
            raise RefusedError(
                rate_limit_answer(request.path, text=self._refusals % 2 == 0, retry_after=self.rules.retry_after)
            )

    # Reading a body

    def _body(self, call: _Call, allowed: Mapping[str, type], required: str = "") -> Json:
        body = _read_object(call.request)
        wrong = self._wrong_in(body, "obj", allowed, required)
        if wrong:
            raise _bad_body(call.request, wrong)
        return body

    def _items(self, call: _Call, body: Json, allowed: Mapping[str, type], required: str = "") -> list[Json]:
        """The items of a bulk body; one that is badly typed refuses them all."""
        name = "events" if "events" in body else "users"
        wrong: dict[str, str] = {}
        for number, item in enumerate(body[name]):
            at = f"obj.{name}[{number}]"
            if type(item) is dict:
                wrong.update(self._wrong_in(item, at, allowed, required))
            else:
                wrong[at] = _EXPECTED[dict]
        if wrong:
            raise _bad_body(call.request, wrong)
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
                wrong[f"{at}.{name}"] = _EXPECTED[kind]
        if required and required not in item:
            wrong[f"{at}.{required}"] = "Value expected"
        return wrong

    def _identity(self, item: Json) -> _Identity:
        email, user_id = item.get("email"), item.get("userId")
        if (email is None and user_id is None) or (email is not None and user_id is not None and not self.rules.hybrid):
            raise _refused(400, "BadParams", "Exactly one of email and userId is needed")
        if email is not None:
            return _Identity("email", email, email.lower())
        return _Identity("userId", str(user_id), self._email_of.get(str(user_id), str(user_id)))

    # What is wrong with an item

    def _trouble(self, item: Json, identity: _Identity) -> str | None:
        """The word for why this user cannot be written, as it stands in the names of the bulk lists."""
        if not _is_valid(identity) or not _USER_ID.fullmatch(item.get("userId") or "x"):
            return "invalid"
        if identity.key in self.rules.forgotten or item.get("userId") in self.rules.forgotten:
            return "forgotten"
        return "conflict" if self._conflicts(item, identity) else None

    def _user_trouble(self, item: Json, identity: _Identity) -> str | None:
        unknown = identity.kind == "userId" and identity.key not in self.stored
        if unknown and self.rules.email_based and not item.get("preferUserId"):
            return self._trouble(item, identity) or "notFound"
        return self._trouble(item, identity)

    def _event_trouble(self, item: Json, identity: _Identity) -> str | None:
        trouble = self._trouble(item, identity)
        if trouble == "conflict":
            return None
        if trouble is None and self.rules.events_need_user and identity.key not in self.stored:
            return "notFound"
        return trouble

    def _conflicts(self, item: Json, identity: _Identity) -> bool:
        if "email" not in item or "userId" not in item:
            return False
        owner = self._email_of.get(item["userId"], identity.key)
        profile = self.stored.get(identity.key)
        return owner != identity.key or (profile is not None and profile.user_id not in (None, item["userId"]))

    # Fields

    def _user_intake(self) -> _Intake:
        known = self.rules.field_types.user
        return _Intake(known, "user", lambda: (len(known), self.rules.user_field_limit))

    def _event_intake(self, name: str) -> _Intake:
        known = self.rules.field_types.events
        return _Intake(
            known.setdefault(name, {}),
            name,
            lambda: (sum(map(len, known.values())), self.rules.event_field_limit),
        )

    def _creates(self, item: Mapping[str, Any]) -> bool:
        asked = item.get("createNewFields")
        return not self.rules.drop_unknown_fields if asked is None else bool(asked)

    def _inspect(self, data: Json, reserved: frozenset[str] = frozenset()) -> None:
        """Warn of fields that Iterable takes and that are a mistake all the same."""
        for name, value in data.items():
            if name in reserved:
                self.warn(f"the reserved field {name!r} is in dataFields")
            if not name or name[0] == "_" or name.isdigit() or not {",", "#", "."}.isdisjoint(name):
                self.warn(f"the field name {name!r} is against Iterable's rules for names")
            if type(value) is str and len(value) > LONGEST_VALUE:
                self.warn(f"the value of field {name!r} is longer than {LONGEST_VALUE} characters")

    # Writing

    def _write_profile(self, item: Json, identity: _Identity, data: Json, now: float) -> None:
        old = self.stored.get(identity.key)
        merged = _merged(old.data if old else {}, data, bool(item.get("mergeNestedObjects")))
        user_id = item.get("userId") or (old.user_id if old else None)
        self.stored[identity.key] = _Stored(merged, now, self._visible(old, now), user_id)
        self.writes[identity.key] += 1
        if identity.kind == "email" and user_id is not None:
            self._email_of[user_id] = identity.key

    def _write_event(self, item: Json, data: Json, now: float) -> str:
        event_id: str = item.get("id") or uuid.uuid4().hex
        old = self.events.get(event_id)
        event: Json = {"createdAt": int(self.rules.clock()), **item, "id": event_id, "dataFields": data}
        event["writes"] = old["writes"] + 1 if old else 1
        if old and any(old.get(name) != event.get(name) for name in ("eventName", "email", "userId")):
            self.warn(f"the event id {event_id} came again for another user or event name")
        self.events[event_id] = event
        self._tracked_at[event_id] = now
        return event_id

    def _visible(self, profile: _Stored | None, now: float) -> Json | None:
        if profile is None:
            return None
        return profile.data if now - profile.written >= self.rules.visible_after else profile.before

    def _check_event(self, item: Json) -> None:
        if "id" in item and not _EVENT_ID.fullmatch(item["id"]):
            raise _refused(400, "BadParams", f"Invalid event id: {item['id']}")
        created = item.get("createdAt")
        if created is None:
            self.warn("an event came without createdAt")
        elif created <= 0 or created > self.rules.clock() + 86_400:
            self.warn(f"createdAt {created} is not a recent time in Unix seconds")

    # The endpoints

    def update_user(self, call: _Call) -> Answer:
        """POST /api/users/update."""
        item = self._body(call, _USER)
        self._check_claims(call, item)
        identity = self._identity(item)
        if trouble := self._user_trouble(item, identity):
            raise _single_refusal(trouble, item, identity, forgotten_status=409)
        sent = item.get("dataFields", {})
        self._inspect(sent, RESERVED_USER_FIELDS)
        intake = self._user_intake()
        self._write_profile(item, identity, intake.take(sent, self._creates(item)), call.request.arrived)
        created = intake.commit()
        news = f" New fields created are: [{','.join(created)}]" if created else ""
        return json_answer(200, envelope("Success", f"User successfully created/updated.{news}"))

    def track_event(self, call: _Call) -> Answer:
        """POST /api/events/track."""
        item = self._body(call, _EVENT, required="eventName")
        self._check_claims(call, item)
        identity = self._identity(item)
        if trouble := self._event_trouble(item, identity):
            raise _single_refusal(trouble, item, identity, forgotten_status=400)
        if call.by_client_key and self.rules.jwt_needs_user and identity.key not in self.stored:
            raise _jwt_refused(call.request, "Email could not be found")
        self._check_event(item)
        name = item["eventName"]
        if name in self.rules.disallowed_events:
            return json_answer(200, envelope("BadParams", f"event {name} is disallowed from tracking."))
        if call.by_client_key and name in self.rules.blocked_events:
            event_id = item.get("id") or uuid.uuid4().hex
            return json_answer(200, envelope("Success", f"Event with id: {event_id} tracked.", {"id": event_id}))
        return self._tracked(call, item)

    def _tracked(self, call: _Call, item: Json) -> Answer:
        name = item["eventName"]
        sent = item.get("dataFields", {})
        self._inspect(sent)
        intake = self._event_intake(name)
        event_id = self._write_event(item, intake.take(sent, self._creates(item)), call.request.arrived)
        created = ",".join(f"{name}.{new}" for new in intake.commit())
        news = f" Fields that were created were: [{created}]" if created else ""
        return json_answer(200, envelope("Success", f"Event with id: {event_id} tracked.{news}", {"id": event_id}))

    def bulk_update(self, call: _Call) -> Answer:
        """POST /api/users/bulkUpdate: all or nothing for what is badly formed, user by user for the rest."""
        body = self._body(call, {"users": list, "createNewFields": bool}, required="users")
        items = self._items(call, body, _USER_ITEM)
        bulk, intake = _Bulk(_USER_TROUBLES), self._user_intake()
        accepted: list[tuple[Json, _Identity, Json]] = []
        for item in items:
            identity = self._identity(item)
            trouble = self._user_trouble(item, identity)
            data = None if trouble else self._bulk_fields(item, intake, self._creates(body))
            if data is None:
                bulk.fail(trouble or "invalidData", identity)
            else:
                accepted.append((item, identity, data))
        created = intake.commit()
        self._warn_of_repeats(identity.key for _, identity, _ in accepted)
        for item, identity, data in accepted:
            self._write_profile(item, identity, data, call.request.arrived)
        bulk.succeeded = len(accepted)
        return bulk.answer(filteredOutFields=list(intake.dropped), createdFields=created, noOpEmails=[], noOpUserIds=[])

    def _bulk_fields(self, item: Json, intake: _Intake, create: bool) -> Json | None:
        sent = item.get("dataFields", {})
        self._inspect(sent, RESERVED_USER_FIELDS)
        try:
            return intake.take(sent, create)
        except RefusedError:
            if self.rules.conflict_rejects_batch:
                raise
            return None

    def _warn_of_repeats(self, identities: Iterable[str]) -> None:
        for identity, times in Counter(identities).items():
            if times > 1:
                self.warn(f"{identity} is {times} times in one bulkUpdate")

    def track_bulk(self, call: _Call) -> Answer:
        """POST /api/events/trackBulk."""
        body = self._body(call, {"events": list}, required="events")
        items = self._items(call, body, _EVENT, required="eventName")
        bulk, intakes = _Bulk(_EVENT_TROUBLES), dict[str, _Intake]()
        accepted: list[tuple[Json, Json]] = []
        disallowed: list[str] = []
        for item in items:
            self._check_event(item)
            identity, name = self._identity(item), item["eventName"]
            if trouble := self._event_trouble(item, identity):
                bulk.fail(trouble, identity)
            elif name in self.rules.disallowed_events:
                disallowed.append(name)
            else:
                accepted.append((item, self._event_fields(item, intakes)))
        created = [f"{name}.{new}" for name, intake in intakes.items() for new in intake.commit()]
        dropped = [f"{name}.{old}" for name, intake in intakes.items() for old in intake.dropped]
        for item, data in accepted:
            self._write_event(item, data, call.request.arrived)
        bulk.succeeded = len(accepted)
        bulk.fail_count += len(disallowed) if self.rules.count_disallowed else 0
        names = list(dict.fromkeys(disallowed))
        return bulk.answer(disallowedEventNames=names, filteredOutFields=dropped, createdFields=created)

    def _event_fields(self, item: Json, intakes: dict[str, _Intake]) -> Json:
        name, sent = item["eventName"], item.get("dataFields", {})
        self._inspect(sent)
        if name not in intakes:
            intakes[name] = self._event_intake(name)
        return intakes[name].take(sent, self._creates(item))

    def get_user(self, call: _Call) -> Answer:
        """GET /api/users/{email} and its sisters: `{}` for a user nobody knows."""
        asked = call.argument or call.parameter("email")
        identity = _Identity("email", asked, asked.lower())
        if not _is_valid(identity):
            raise _refused(400, "InvalidEmailAddressError", f"Invalid email: {asked}")
        return self._user_answer(identity, call.request.arrived)

    def get_user_by_id(self, call: _Call) -> Answer:
        """GET /api/users/byUserId/{userId}."""
        user_id = call.argument or call.parameter("userId")
        identity = _Identity("userId", user_id, self._email_of.get(user_id, user_id))
        return self._user_answer(identity, call.request.arrived)

    def _user_answer(self, identity: _Identity, now: float) -> Answer:
        profile = self.stored.get(identity.key)
        data = self._visible(profile, now)
        if profile is None or data is None:
            return json_answer(200, {})
        moment = _iterable_time(round(self.rules.clock() - (now - profile.written)))
        internal = {"documentUpdatedAt": moment, "documentCreatedAt": moment}
        user: Json = {
            "dataFields": {
                **data,
                "profileUpdatedAt": moment,
                "signupSource": "API",
                "itblInternal": internal,
            }
        }
        if "@" in identity.key:
            user["email"] = identity.key
        user_id = profile.user_id or (identity.sent if identity.kind == "userId" else None)
        return json_answer(200, {"user": user if user_id is None else {**user, "userId": user_id}})

    def get_events(self, call: _Call) -> Answer:
        """GET /api/events/{email}: the newest first, at most `limit`."""
        asked = call.parameter("limit") or "30"
        limit = int(asked) if asked.isdecimal() else 0
        if not 1 <= limit <= 200:
            raise _refused(400, "BadParams", "limit must be from 1 to 200")
        now, owner = call.request.arrived, call.argument.lower()
        kind = "userId" if "byUserId" in call.endpoint else "email"
        found = [
            event
            for event_id, event in self.events.items()
            if str(event.get(kind, "")).lower() == owner
            and now - self._tracked_at[event_id] >= self.rules.visible_after
        ]
        found.sort(key=lambda event: int(event["createdAt"]), reverse=True)
        return json_answer(200, {"events": [_event_as_read(event) for event in found[:limit]]})

    def get_fields(self, _call: _Call) -> Answer:
        """GET /api/users/getFields: a flat map, nested fields as dotted names."""
        return json_answer(200, {"fields": self.rules.field_types.user})

    def get_channels(self, _call: _Call) -> Answer:
        """GET /api/channels."""
        channel = {"id": 1, "name": "Marketing", "channelType": "Marketing", "messageMedium": "Email"}
        return json_answer(200, {"channels": [channel]})

    def get_lists(self, _call: _Call) -> Answer:
        """GET /api/lists."""
        listed = {"id": 1, "name": "Everyone", "createdAt": 1624575876355, "listType": "Standard"}
        return json_answer(200, {"lists": [listed]})

    def get_messages(self, call: _Call) -> Answer:
        """GET /api/inApp/getMessages, the one read a JWT-enabled key may make."""
        asked = {kind: value for kind in ("email", "userId") if (value := call.parameter(kind))}
        self._check_claims(call, asked)
        identity = self._identity(asked)
        if not call.parameter("count"):
            raise _refused(400, "BadParams", "count is needed")
        if call.by_client_key and self.rules.jwt_needs_user and identity.key not in self.stored:
            raise _jwt_refused(call.request, "Email could not be found")
        return json_answer(200, {"inAppMessages": []})


_POSTS: dict[str, Callable[[Project, _Call], Answer]] = {
    USERS_UPDATE: Project.update_user,
    USERS_BULK: Project.bulk_update,
    EVENTS_TRACK: Project.track_event,
    EVENTS_BULK: Project.track_bulk,
}
_GETS: dict[str, Callable[[Project, _Call], Answer]] = {
    "/api/channels": Project.get_channels,
    "/api/lists": Project.get_lists,
    "/api/users/getFields": Project.get_fields,
    "/api/users/getByEmail": Project.get_user,
    "/api/users/byUserId": Project.get_user_by_id,
    "/api/inApp/getMessages": Project.get_messages,
    "/api/users/byUserId/{userId}": Project.get_user_by_id,
    "/api/users/{email}": Project.get_user,
    "/api/events/byUserId/{userId}": Project.get_events,
    "/api/events/{email}": Project.get_events,
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


def envelope(code: str, msg: str = "", params: Json | None = None) -> Json:
    """The body of every single answer (Iterable Swagger, IterableApiResponse)."""
    return {"msg": msg, "code": code, "params": params}


_encode = json.JSONEncoder(separators=(",", ":")).encode


def json_answer(status: int, body: object) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, _encode(body).encode())


def html_answer(status: int, title: str) -> Answer:
    """A page, as web servers and proxies in front of an API send them."""
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Answer(status, page.encode(), "text/html; charset=utf-8")


def rate_limit_answer(path: str, *, text: bool = False, retry_after: str | None = None) -> Answer:
    """A 429, which the real service sends as JSON and as plain text."""
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    if text:
        return Answer(429, b"Rate limit exceeded. Please try again later.", "text/plain", headers)
    msg = f"Exceeded rate limit for endpoint: {path}, project: 1 "
    return json_answer(429, envelope("RateLimitExceeded", msg, {}))._replace(headers=headers)


def _refused(status: int, code: str, msg: str, params: Json | None = None) -> RefusedError:
    return RefusedError(json_answer(status, envelope(code, msg, params)))


def _bad_body(request: Request, params: Mapping[str, str]) -> RefusedError:
    return _refused(400, "BadJsonBody", f"[{request.path}] Invalid JSON body", dict(params))


def _jwt_refused(request: Request, msg: str, code: str = "InvalidJwtPayload") -> RefusedError:
    return _refused(401, code, msg, {"endpoint": request.path})


def _insufficient(key: _Key, path: str) -> RefusedError:
    return _refused(
        401,
        "BadApiKey",
        "Disabled API key or insufficient privileges",
        {"ip": "127.0.0.1", "endpoint": path, "apiKeyIdentifier": key.value[:8], "apiKeyType": key.kind},
    )


def _single_refusal(trouble: str, item: Json, identity: _Identity, forgotten_status: int) -> RefusedError:
    """What a single endpoint says where a bulk endpoint has a list for it."""
    email, user_id = item.get("email", ""), item.get("userId", "")
    if trouble == "invalid":
        if identity.kind == "email":
            return _refused(400, "InvalidEmailAddressError", f"Invalid email: {identity.sent}")
        return _refused(400, "InvalidUserIdError", f"Invalid userId: {identity.sent}")
    if trouble == "forgotten":
        return _refused(forgotten_status, "ForgottenUserError", f"User is forgotten: {identity.sent}")
    if trouble == "conflict":
        return _refused(409, "Conflict", f"Email {email} and userId {user_id} belong to different users")
    return _refused(400, "BadParams", f"User does not exist. Email: {email} UserId: {user_id}")


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _read_object(request: Request) -> Json:
    if len(request.body) > MAX_BODY:
        raise RefusedError(html_answer(413, "Request Entity Too Large"))
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _refused(415, "BadJsonBody", f"[{request.path}] Expecting application/json body")
    try:
        body = _decoder.decode(request.body.decode())
    except ValueError as error:
        raise _bad_body(request, {"obj": "Valid JSON expected"}) from error
    if type(body) is not dict:
        raise _bad_body(request, {"obj": _EXPECTED[dict]})
    return body


def _is_valid(identity: _Identity) -> bool:
    """Addresses as Commons EmailValidator sees them, user ids as Iterable Swagger says."""
    if identity.kind == "userId":
        return _USER_ID.fullmatch(identity.sent) is not None
    match = _EMAIL.fullmatch(identity.sent)
    return match is not None and match["tld"].lower() not in _RESERVED_TLDS


def _decoded(segment: str) -> Json:
    """A segment of a JWT as an object; an empty one when it is none."""
    try:
        value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, binascii.Error):
        return {}
    return value if isinstance(value, dict) else {}


def _signature_holds(token: str, secret: str) -> bool:
    """HS256 over the first two segments, keyed with the text of the secret (JWT documentation)."""
    signed, _, signature = token.rpartition(".")
    right = base64.urlsafe_b64encode(hmac.digest(secret.encode(), signed.encode(), "sha256")).rstrip(b"=")
    header = _decoded(signed.partition(".")[0])
    return header.get("alg") == "HS256" and hmac.compare_digest(right, signature.encode())


def _sample(value: Any) -> Any:
    """The value that tells the type: of an array, its first element that is not null."""
    if type(value) is list:
        return next((element for element in value if element is not None), None)
    return value


def _possible_types(path: str, value: Any) -> tuple[str, ...]:
    """The types *value* may have, the one it gives a new field first (Field Data Types)."""
    match value:
        case bool():
            return ("boolean",)
        case int():
            return ("long", "double")
        case float():
            return ("double",)
        case str():
            return ("date", "string", "keyword") if _DATE.fullmatch(value) else ("string", "keyword")
    if path.endswith("_geo_location") and type(value) is dict and value.keys() == {"lat", "lon"}:
        return ("geo_location",)
    return ("object",)


def _unexpected(known: str, possible: tuple[str, ...], value: Any, category: str) -> Json:
    return {
        "incomingTypes": list(possible),
        "expectedType": known,
        "_type": "UnexpectedType",
        "offendingValue": value,
        "category": category,
    }


def _mismatch(wrong: dict[str, Json]) -> RefusedError:
    details = "".join(
        f" Field '{name}' already exists for type '{error['category']}' and has a data type of"
        f" '{error['expectedType']}' but possible types '{', '.join(error['incomingTypes'])}' in the request."
        for name, error in wrong.items()
    )
    msg = "Project 1: The request does not have the same data types as the data previously submitted."
    return _refused(400, "RequestFieldsTypesMismatched", msg + details, {"validationErrors": wrong})


def _merged(stored: Json, data: Json, nested: bool) -> Json:
    """*stored* with *data* over it: null clears, objects replace or, if *nested*, merge one level deep."""
    result = dict(stored)
    for name, value in data.items():
        old = result.get(name)
        if value is None:
            result.pop(name, None)
        elif type(value) is dict:
            whole = {**old, **value} if nested and type(old) is dict else value
            result[name] = {key: inner for key, inner in whole.items() if inner is not None}
        else:
            result[name] = value
    return result


def _iterable_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S +00:00")


def _event_as_read(event: Json) -> Json:
    """An event as GET shows it; whether its id is shown is unverified, so it is not."""
    owner: Json = {kind: event[kind] for kind in ("email", "userId") if kind in event}
    return {
        "eventName": event["eventName"],
        "eventType": "customEvent",
        **owner,
        "createdAt": _iterable_time(event["createdAt"]),
        "dataFields": event["dataFields"],
    }
