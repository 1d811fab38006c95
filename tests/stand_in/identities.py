"""Whom a request is about, and which addresses and user ids are well formed."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.stand_in.answers import Json, RefusedError, refused

_EMAIL = re.compile(
    r"""(?=[^@]{1,64}@)[^\s()<>@,;:"\\.\[\]\x00-\x1f\x7f-\U0010ffff]+
        (?:\.[^\s()<>@,;:"\\.\[\]\x00-\x1f\x7f-\U0010ffff]+)*
        @(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?P<tld>[a-z]{2,63}|xn--[a-z0-9-]+)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,  # without ASCII, i, k and s would match letters beyond it
)


_RESERVED_TLDS = frozenset({"test", "local", "localhost", "invalid", "example"})


USER_ID = re.compile(r"[ -~]{0,51}[!-~]")


class Identity(NamedTuple):
    """Who an item is about: the field that says so, its value as sent, and the key of the profile."""

    kind: str
    sent: str
    key: str

    @property
    def plural(self) -> str:
        """How the names of the bulk lists end."""
        return "Emails" if self.kind == "email" else "UserIds"


def single_refusal(trouble: str, item: Json, identity: Identity, forgotten_status: int) -> RefusedError:
    """What a single endpoint says where a bulk endpoint has a list for it."""
    email, user_id = item.get("email", ""), item.get("userId", "")
    if trouble == "invalid":
        if identity.kind == "email":
            return refused(400, "InvalidEmailAddressError", f"Invalid email: {identity.sent}")
        return refused(400, "InvalidUserIdError", f"Invalid userId: {identity.sent}")
    if trouble == "forgotten":
        return refused(forgotten_status, "ForgottenUserError", f"User is forgotten: {identity.sent}")
    if trouble == "conflict":
        return refused(409, "Conflict", f"Email {email} and userId {user_id} belong to different users")
    return refused(400, "BadParams", f"User does not exist. Email: {email} UserId: {user_id}")


def is_valid(identity: Identity) -> bool:
    """Addresses as Commons EmailValidator sees them, user ids as Iterable Swagger says."""
    if identity.kind == "userId":
        return USER_ID.fullmatch(identity.sent) is not None
    return is_valid_address(identity.sent)


def is_valid_address(address: str) -> bool:
    """Whether Commons EmailValidator takes an address."""
    match = _EMAIL.fullmatch(address)
    return match is not None and match["tld"].lower() not in _RESERVED_TLDS
