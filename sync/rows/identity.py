"""What names a user to Iterable: an e-mail address or a user id, in one string that tells which it is.

An identity is the lower-cased address itself, or `id:` and a user id, or `?:` and a stand-in for a value that names
nobody, so that the row's outcome has a place to be recorded.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sync.rows.columns import Kind
from sync.rows.values import UnfitError

USER_ID_PREFIX: Final = "id:"  # no address starts like this, nor like the next: a colon is not allowed there
_UNUSABLE_PREFIX: Final = "?:"

ADDRESS_KINDS: Final = frozenset({Kind.TEXT, Kind.UNKNOWN})
"""The columns that EMAIL_COLUMN may name."""

USER_ID_KINDS: Final = ADDRESS_KINDS | {Kind.INTEGER}
"""The columns that USER_ID_COLUMN may name."""


def is_usable(identity: str) -> bool:
    """Tell an identity that Iterable can be given from the stand-in for a bad one."""
    return not identity.startswith(_UNUSABLE_PREFIX)


def address_of(identity: str) -> str:
    """Return the address or user id of an identity, as a reader of the log knows it."""
    return identity.removeprefix(USER_ID_PREFIX).removeprefix(_UNUSABLE_PREFIX)


def log_field(identity: str) -> str:
    """Return the field that names the user in a log line: `email=...` or `user_id=...`."""
    if identity.startswith(USER_ID_PREFIX):
        return f"user_id={address_of(identity)}"
    return f"email={address_of(identity)}"


def name_of(identity: str) -> str:
    """Return the address or user id of a usable identity, letter for letter: an id may begin like a stand-in."""
    return identity.removeprefix(USER_ID_PREFIX)


def identity_fields(identity: str) -> dict[str, str]:
    """Return how a request names the user of a usable identity: by `email` or by `userId`, never both."""
    return {"userId" if is_user_id(identity) else "email": name_of(identity)}


def is_user_id(identity: str) -> bool:
    """Tell a user id from an address."""
    return identity.startswith(USER_ID_PREFIX)


def unusable_identity(stand_in: str) -> str:
    """Return the identity of what names nobody."""
    return _UNUSABLE_PREFIX + stand_in


# The rules of Apache Commons' EmailValidator, without its list of top-level domains, which ages. What only some
# of its versions refuse (characters outside ASCII) passes: Iterable's own answer is then the row's outcome.
_WORD = r"""(?:(?:[^\s()<>@,;:\\"\[\].]|\\.)+|"(?:[^"\\]|\\.)*")"""
_LOCAL_PART = rf"{_WORD}(?:\.{_WORD})*"
_ALNUM = r"a-z0-9\x80-\U0010ffff"
_DOMAIN = (
    rf"(?:[{_ALNUM}](?:[{_ALNUM}-]{{0,61}}[{_ALNUM}])?\.)+"  # labels
    rf"[a-z\x80-\U0010ffff][{_ALNUM}-]{{0,61}}[{_ALNUM}]"  # a top-level domain: no digit first, so no IP address
)
_ADDRESS: Final = re.compile(f"{_LOCAL_PART}@{_DOMAIN}")
_MAX_ADDRESS: Final = 254  # with the next, the limits of SMTP
_MAX_LOCAL_PART: Final = 64
_MAX_USER_ID: Final = 52


def address_identity(value: Any) -> str:
    """Return the identity of an e-mail address; only what no version of the rules accepts is refused."""
    if not isinstance(value, str):
        raise UnfitError("an e-mail address is text; name another column in EMAIL_COLUMN")
    address = value.strip().lower()
    if (
        len(address) <= _MAX_ADDRESS
        and _ADDRESS.fullmatch(address)
        and address.rindex("@") <= _MAX_LOCAL_PART
        and address.isprintable()  # no control characters, invisible marks or half surrogates
    ):
        return address
    raise UnfitError(f"{_address_fault(address)}; correct it in the database")


def _address_fault(address: str) -> str:
    local, at, domain = address.rpartition("@")
    faults = (
        (not at, "an e-mail address needs an @"),
        (not address.isprintable(), "the address holds a control or invisible character"),
        (len(address) > _MAX_ADDRESS, f"the address is longer than {_MAX_ADDRESS} characters"),
        (len(local) > _MAX_LOCAL_PART, f"more than {_MAX_LOCAL_PART} characters stand before the @"),
        (not re.fullmatch(_LOCAL_PART, local), "what stands before the @ is not allowed there"),
        (not re.fullmatch(_DOMAIN, domain), "what stands after the @ is not a full domain name"),
    )
    return next(text for wrong, text in faults if wrong)


def user_id_identity(value: Any) -> str:
    """Return the identity of a user id: text, or a whole number written as text."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnfitError("a user id is text or a whole number; name another column in USER_ID_COLUMN")
    text = str(value)
    if not text.strip():
        raise UnfitError("the user id is empty")
    if len(text) > _MAX_USER_ID:
        raise UnfitError(f"a user id has at most {_MAX_USER_ID} characters; correct it in the database")
    if not (text.isascii() and text.isprintable()) or text.endswith(" "):
        raise UnfitError("a user id is printable ASCII without a space at its end; correct it in the database")
    return USER_ID_PREFIX + text
