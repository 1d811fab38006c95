"""The users of the stand-in's project: whom a request means, who may have which name, and what is stored of them.

Sources: Iterable's support pages on identifying users and on changing names, its Swagger document, and its own live
integration tests, which send both names in one body. What no source says is marked unverified.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from tests.stand_in.answers import Json, refused
from tests.stand_in.fields import merged
from tests.stand_in.identities import USER_ID, Identity, is_valid, is_valid_address
from tests.stand_in.names import PLACEHOLDER, Names, Owner, ProjectType, key_of
from tests.stand_in.rules import ProjectRules


class Profile(NamedTuple):
    """A profile: its data, when that was written, and what a GET shows until it is visible."""

    data: Json
    written: float
    before: Json | None


class Users:
    """The profiles with their names. What it keeps is replaced and never altered in place: other threads read it."""

    def __init__(self, rules: ProjectRules, warn: Callable[[str], None]) -> None:
        self._rules, self._warn = rules, warn
        self.stored: dict[str, Profile] = {}
        self.names = Names()
        self.writes: Counter[str] = Counter()

    def identity(self, item: Mapping[str, object]) -> Identity:
        """Whom an item is about. Both names may come (the live integration tests send both)."""
        email, user_id = item.get("email"), item.get("userId")
        if email is None and user_id is None:
            raise refused(400, "BadParams", "One of email and userId is needed")
        by_id = email is None or (user_id is not None and self._id_wins(item))
        if by_id:
            key = self.names.of_id(str(user_id)) or (self._found(email) if self._is_hybrid else None)
            return Identity("userId", str(user_id), key or str(user_id))
        found = self._found(email) or (self.names.of_id(str(user_id)) if user_id and self._is_hybrid else None)
        return Identity("email", str(email), found or str(email).lower())

    @property
    def _is_hybrid(self) -> bool:
        return self._rules.project_type is ProjectType.HYBRID

    def _id_wins(self, item: Mapping[str, object]) -> bool:
        """In email-based projects the address identifies, in userID-based ones the id; in hybrid ones either does."""
        kind = self._rules.project_type
        return kind is ProjectType.USER_ID or (kind is ProjectType.HYBRID and bool(item.get("preferUserId")))

    def _found(self, email: object) -> str | None:
        return self.names.of_email(str(email)) if email is not None else None

    # What is wrong with an item

    def trouble(self, item: Json, identity: Identity) -> str | None:
        """The word for why this user cannot be written, as it stands in the names of the bulk lists."""
        new = self._new_names(item)
        if not is_valid(identity) or any(not USER_ID.fullmatch(name) for name in new["userId"]):
            return "invalid"
        if any(not is_valid_address(name) for name in new["email"]):
            return "invalid"
        if not {identity.key, *new["userId"], *(name.lower() for name in new["email"])}.isdisjoint(
            self._rules.forgotten
        ):
            return "forgotten"
        if self._conflicts(new, identity) or (self._is_hybrid and self._differs(item, identity)):
            return "conflict"
        unknown = identity.kind == "userId" and identity.key not in self.stored
        if unknown and self._rules.project_type is ProjectType.EMAIL and not item.get("preferUserId"):
            return "notFound"
        return None

    def _new_names(self, item: Json) -> dict[str, list[str]]:
        """The names that an item gives its user: on top, or in its data fields."""
        data = item.get("dataFields") or {}
        return {
            kind: [str(name) for name in (item.get(kind), data.get(kind)) if name is not None]
            for kind in ("email", "userId")
        }

    def _conflicts(self, new: Mapping[str, list[str]], identity: Identity) -> bool:
        """Whether another user has a name that has to be unique here."""
        kind = self._rules.project_type
        taken = []
        if kind is not ProjectType.USER_ID:
            taken += [self.names.of_email(name) for name in new["email"]]
        if kind is not ProjectType.EMAIL:
            taken += [self.names.of_id(name) for name in new["userId"]]
        return any(owner not in (None, identity.key) for owner in taken)

    def _differs(self, item: Json, identity: Identity) -> bool:
        """Whether both names are on top and the user has another of either; names are changed in dataFields."""
        owner = self.names[identity.key]
        email, user_id = item.get("email"), item.get("userId")
        if email is None or user_id is None:
            return False
        return owner.email not in (None, email.lower()) or owner.user_id not in (None, user_id)

    # Writing

    def write(self, item: Json, identity: Identity, data: Json, now: float, *, bulk: bool = False) -> str:
        """Store a profile with its names; returns the key that follows from them."""
        key = self._rename(item, identity, bulk=bulk)
        old = self.stored.get(key)
        fields = {name: value for name, value in data.items() if name not in ("email", "userId")}
        after = merged(old.data if old else {}, fields, bool(item.get("mergeNestedObjects")))
        self.stored[key] = Profile(after, now, self.visible(old, now))
        self.writes[key] += 1
        return key

    def _rename(self, item: Json, identity: Identity, *, bulk: bool) -> str:
        """Give the user the names in the item; returns the key that follows from them."""
        data, before = item.get("dataFields") or {}, self.names[identity.key]
        email, user_id = item.get("email") or before.email, item.get("userId") or before.user_id
        for name in ("email", "userId"):
            if name in data and data[name] is None:
                self._warn(f"{name} is null in dataFields: what Iterable makes of it is unverified")
        if data.get("email") and self._takes_address(bulk=bulk):
            email = data["email"]
        if data.get("userId"):
            user_id = data["userId"]
        if email is None and self._rules.project_type is ProjectType.EMAIL:
            email = f"{user_id}+{int.from_bytes(blake2b(str(user_id).encode(), digest_size=4).digest())}{PLACEHOLDER}"
        owner = Owner(email.lower() if email else None, user_id)
        return self._put(identity.key, key_of(owner, self._rules.project_type), owner)

    def _takes_address(self, *, bulk: bool) -> bool:
        """Whether an address in dataFields becomes the user's (table of the support page on changing names).

        In bulk that works in hybrid projects alone (segmentio/action-destinations#3811, tried there by hand in
        email-based and hybrid projects; for userID-based ones it is unverified, and taken to work).
        """
        if self._rules.project_type is not ProjectType.EMAIL:
            return True
        self._warn(f"email is in dataFields{' of bulkUpdate' if bulk else ''}, and an email-based project ignores it")
        return False

    def _put(self, key: str, new: str, owner: Owner) -> str:
        if new != key:
            if key in self.stored:
                self.stored[new] = self.stored.pop(key)
                self.writes[new] += self.writes.pop(key, 0)
            self.names.remove(key)
        self.names.put(new, owner)
        return new

    def move(self, key: str, email: str) -> str:
        """Give the user another address; returns the key that follows."""
        owner = self.names[key]._replace(email=email.lower())
        return self._put(key, key_of(owner, self._rules.project_type), owner)

    def delete(self, key: str) -> None:
        """Forget the user."""
        self.stored.pop(key, None)
        self.names.remove(key)

    def visible(self, profile: Profile | None, now: float) -> Json | None:
        """What a reading call shows of a profile by now."""
        if profile is None:
            return None
        return profile.data if now - profile.written >= self._rules.visible_after else profile.before
