"""The reading endpoints of the stand-in: users, events, and what the project is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.stand_in.access import Call
from tests.stand_in.answers import Answer, Json, json_answer, jwt_refused, refused
from tests.stand_in.identities import is_valid_address
from tests.stand_in.names import Owner

if TYPE_CHECKING:
    from tests.stand_in.project import Project


def get_user(project: Project, call: Call) -> Answer:
    """GET /api/users/{email} and its sisters: `{}` for a user nobody knows."""
    asked = call.argument or call.parameter("email")
    if not is_valid_address(asked):
        raise refused(400, "InvalidEmailAddressError", f"Invalid email: {asked}")
    return _user_answer(project, project.users.names.of_email(asked), call.request.arrived)


def get_user_by_id(project: Project, call: Call) -> Answer:
    """GET /api/users/byUserId/{userId}."""
    user_id = call.argument or call.parameter("userId")
    return _user_answer(project, project.users.names.of_id(user_id), call.request.arrived)


def _user_answer(project: Project, key: str | None, now: float) -> Answer:
    profile = project.users.stored.get(key or "")
    data = project.users.visible(profile, now)
    if profile is None or data is None:
        return json_answer(200, {})
    owner = project.users.names[key or ""]
    moment = _iterable_time(round(project.rules.clock() - (now - profile.written)))
    user: Json = {
        "dataFields": {
            **data,
            **({"email": owner.email} if owner.email else {}),
            **({"userId": owner.user_id} if owner.user_id else {}),
            "profileUpdatedAt": moment,
            "signupSource": "API",
            "itblInternal": {"documentUpdatedAt": moment, "documentCreatedAt": moment},
        }
    }
    names = {"email": owner.email, "userId": owner.user_id}
    return json_answer(200, {"user": user | {kind: name for kind, name in names.items() if name}})


def get_events(project: Project, call: Call) -> Answer:
    """GET /api/events/{email}: the newest first, at most `limit`."""
    asked = call.parameter("limit") or "30"
    limit = int(asked) if asked.isdecimal() else 0
    if not 1 <= limit <= 200:
        raise refused(400, "BadParams", "limit must be from 1 to 200")
    names, asked_for = project.users.names, call.argument
    by_id = "byUserId" in call.endpoint
    owner = (names.of_id(asked_for) or asked_for) if by_id else (names.of_email(asked_for) or asked_for.lower())
    now = call.request.arrived
    found = [
        (event_id, event)
        for event_id, event in project.events.items()
        if project.owner_of[event_id] == owner and now - project.tracked_at[event_id] >= project.rules.visible_after
    ]
    found.sort(key=lambda one: int(one[1]["createdAt"]), reverse=True)
    return json_answer(200, {"events": [_event_as_read(event, names[owner]) for _, event in found[:limit]]})


def get_fields(project: Project, _call: Call) -> Answer:
    """GET /api/users/getFields: a flat map, nested fields as dotted names."""
    return json_answer(200, {"fields": {"email": "string", "userId": "string", **project.rules.field_types.user}})


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
    identity = project.users.identity(asked)
    if not call.parameter("count"):
        raise refused(400, "BadParams", "count is needed")
    if call.by_client_key and project.rules.jwt_needs_user and identity.key not in project.users.stored:
        raise jwt_refused(call.request, "Email could not be found")
    return json_answer(200, {"inAppMessages": []})


def _iterable_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S +00:00")


def _event_as_read(event: Json, names: Owner) -> Json:
    """An event as GET shows it; whether its id is shown is unverified, so it is not."""
    known = {"email": names.email or event.get("email"), "userId": names.user_id or event.get("userId")}
    owner: Json = {kind: name for kind, name in known.items() if name}
    return {
        "eventName": event["eventName"],
        "eventType": "customEvent",
        **owner,
        "createdAt": _iterable_time(event["createdAt"]),
        "dataFields": event["dataFields"],
    }
