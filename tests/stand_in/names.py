"""Which profile has which names, by the kind of project (Iterable's support pages on identifying users).

email-based: the address is unique and the user id is not; userID-based: the other way round; hybrid: both are unique.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple


class ProjectType(Enum):
    """What identifies a user; fixed when a project is made."""

    EMAIL = "email"
    USER_ID = "userId"
    HYBRID = "hybrid"


PLACEHOLDER = "@placeholder.email"
"""How addresses end that Iterable makes up for users without one, and never mails."""


class Owner(NamedTuple):
    """The names of one profile; None: it has no such name."""

    email: str | None = None
    user_id: str | None = None


class Names:
    """The names of a project's users. A profile's key is the name that identifies it, in the form it is looked up."""

    def __init__(self) -> None:
        self._owners: dict[str, Owner] = {}
        self._by_email: dict[str, list[str]] = {}
        self._by_id: dict[str, list[str]] = {}

    def __getitem__(self, key: str) -> Owner:
        return self._owners.get(key, Owner())

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners.copy())

    def owners(self) -> Mapping[str, Owner]:
        """Key -> names, as they are now."""
        return self._owners.copy()

    def of_email(self, email: str) -> str | None:
        """The profile that has this address; the one that had it first, where it is not unique."""
        return next(iter(self._by_email.get(email.lower(), ())), None)

    def of_id(self, user_id: str) -> str | None:
        """The profile that has this user id; the one that had it first, where it is not unique."""
        return next(iter(self._by_id.get(user_id, ())), None)

    def with_id(self, user_id: str) -> list[str]:
        """All profiles with this user id."""
        return list(self._by_id.get(user_id, ()))

    def put(self, key: str, owner: Owner) -> None:
        """Give the profile these names and no others."""
        self.remove(key)
        self._owners[key] = owner
        if owner.email:
            self._by_email.setdefault(owner.email, []).append(key)
        if owner.user_id:
            self._by_id.setdefault(owner.user_id, []).append(key)

    def remove(self, key: str) -> None:
        """Forget the profile."""
        before = self._owners.pop(key, Owner())
        for name, known in ((before.email, self._by_email), (before.user_id, self._by_id)):
            if name and key in known.get(name, ()):
                known[name] = [other for other in known[name] if other != key]


def key_of(owner: Owner, kind: ProjectType) -> str:
    """The name that identifies a profile with these names."""
    real = owner.email if owner.email and not owner.email.endswith(PLACEHOLDER) else None
    first, second = (owner.user_id, real) if kind is ProjectType.USER_ID else (real, owner.user_id)
    return first or second or owner.email or ""
