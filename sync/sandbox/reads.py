"""The reading endpoints of the stand-in: users, events, and what the project is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sync.sandbox.access import Call
from sync.sandbox.answers import Answer, Json, json_answer, jwt_refused, refused
from sync.sandbox.identities import Identity, is_valid

if TYPE_CHECKING:
    from sync.sandbox.project import Project


def get_user(project: Project, call: Call) -> Answer:
    """GET /api/users/{email} and its sisters: `{}` for a user nobody knows."""
    asked = call.argument or call.parameter("email")
    identity = Identity("email", asked, asked.lower())
    if not is_valid(identity):
        raise refused(400, "InvalidEmailAddressError", f"Invalid email: {asked}")
    return _user_answer(project, identity, call.request.arrived)


def get_user_by_id(project: Project, call: Call) -> Answer:
    """GET /api/users/byUserId/{userId}."""
    user_id = call.argument or call.parameter("userId")
    identity = Identity("userId", user_id, project.email_of.get(user_id, user_id))
    return _user_answer(project, identity, call.request.arrived)


def _user_answer(project: Project, identity: Identity, now: float) -> Answer:
    profile = project.stored.get(identity.key)
    data = project.visible(profile, now)
    if profile is None or data is None:
        return json_answer(200, {})
    moment = _iterable_time(round(project.rules.clock() - (now - profile.written)))
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


def get_events(project: Project, call: Call) -> Answer:
    """GET /api/events/{email}: the newest first, at most `limit`."""
    asked = call.parameter("limit") or "30"
    limit = int(asked) if asked.isdecimal() else 0
    if not 1 <= limit <= 200:
        raise refused(400, "BadParams", "limit must be from 1 to 200")
    now, owner = call.request.arrived, call.argument.lower()
    kind = "userId" if "byUserId" in call.endpoint else "email"
    found = [
        event
        for event_id, event in project.events.items()
        if str(event.get(kind, "")).lower() == owner
        and now - project.tracked_at[event_id] >= project.rules.visible_after
    ]
    found.sort(key=lambda event: int(event["createdAt"]), reverse=True)
    return json_answer(200, {"events": [_event_as_read(event) for event in found[:limit]]})


def get_fields(project: Project, _call: Call) -> Answer:
    """GET /api/users/getFields: a flat map, nested fields as dotted names."""
    return json_answer(200, {"fields": project.rules.field_types.user})


def get_channels(_project: Project, _call: Call) -> Answer:
    """GET /api/channels."""
    channel = {"id": 1, "name": "Marketing", "channelType": "Marketing", "messageMedium": "Email"}
    return json_answer(200, {"channels": [channel]})


def get_lists(_project: Project, _call: Call) -> Answer:
    """GET /api/lists."""
    listed = {"id": 1, "name": "Everyone", "createdAt": 1624575876355, "listType": "Standard"}
    return json_answer(200, {"lists": [listed]})


def get_messages(project: Project, call: Call) -> Answer:
    """GET /api/inApp/getMessages, the one read a JWT-enabled key may make."""
    asked = {kind: value for kind in ("email", "userId") if (value := call.parameter(kind))}
    project.access.check_claims(call, asked)
    identity = project.identity(asked)
    if not call.parameter("count"):
        raise refused(400, "BadParams", "count is needed")
    if call.by_client_key and project.rules.jwt_needs_user and identity.key not in project.stored:
        raise jwt_refused(call.request, "Email could not be found")
    return json_answer(200, {"inAppMessages": []})


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
