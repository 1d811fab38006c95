"""Changing a user's address, and deleting users, in the stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.stand_in.access import Call
from tests.stand_in.answers import Answer, envelope, json_answer, refused
from tests.stand_in.identities import is_valid_address
from tests.stand_in.items import EMAIL_CHANGE
from tests.stand_in.names import ProjectType

if TYPE_CHECKING:
    from tests.stand_in.project import Project


def update_email(project: Project, call: Call) -> Answer:
    """POST /api/users/updateEmail: profile and events move along (Iterable Swagger).

    The document gives the endpoint to email-based projects; that a hybrid one takes it, and that a userID-based one
    does not, is unverified, and so is the code for a new address that exists.
    """
    body = project.body(call, EMAIL_CHANGE, required="newEmail")
    current, user_id, new = body.get("currentEmail"), body.get("currentUserId"), body["newEmail"]
    project.access.check_claims(call, {"email": current, "userId": None if current else user_id})
    if project.rules.project_type is ProjectType.USER_ID:
        raise refused(400, "BadParams", "updateEmail is for email-based projects")
    if current is None and user_id is None:
        raise refused(400, "BadParams", "One of currentEmail and currentUserId is needed")
    for name, address in (("currentEmail", current), ("newEmail", new)):
        if address is not None and not is_valid_address(address):
            raise refused(400, "InvalidEmailAddressError", f"Invalid {name} {address}")
    if new.lower() in project.rules.forgotten:
        raise refused(400, "ForgottenUserError", f"User is forgotten: {new}")
    names = project.users.names
    key = names.of_email(current) if current is not None else names.of_id(str(user_id))
    if key is None:
        raise refused(400, "BadParams", f"Cannot change user Some({current or user_id}) to {new}. User does not exist")
    if names.of_email(new) not in (None, key):
        raise refused(400, "EmailAlreadyExists", f"The email {new} already exists")
    project.move_user(key, new)
    return json_answer(200, envelope("Success", f"{current or user_id} was updated to {new}"))


def delete_by_email(project: Project, call: Call) -> Answer:
    """DELETE /api/users/{email}: Success also for who is unknown (recorded); not in userID-based projects."""
    if project.rules.project_type is ProjectType.USER_ID:
        raise refused(400, "BadParams", "A userID-based project deletes users by userId")
    if key := project.users.names.of_email(call.argument):
        project.delete_user(key)
    return json_answer(200, envelope("Success"))


def delete_by_id(project: Project, call: Call) -> Answer:
    """DELETE /api/users/byUserId/{userId}: all users with it (Iterable Swagger)."""
    keys = project.users.names.with_id(call.argument)
    if not keys:
        raise refused(400, "BadParams", f"User does not exist. Email:  UserId: {call.argument}")
    for key in keys:
        project.delete_user(key)
    return json_answer(200, envelope("Success"))
