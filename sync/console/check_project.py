"""`--check` of the Iterable project: credentials and the types of its fields. Sends no data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime
from typing import Any

from iterable_client import ApiResult, IterableClient, Verdict
from sync.delivery.stop import Stop
from sync.rows.identity import address_of, identity_fields
from sync.rows.masking import Masking
from sync.run.connections import make_client
from sync.run.settings import Settings

Found = Iterator[tuple[str, str, str]]
"""One line each: the verdict ("ok", "WRONG", or "note" for what is worth knowing, or cannot be known without writing),
the subject, and the sentence."""

REFUSALS = {Verdict.CREDENTIALS_REFUSED, Verdict.FORBIDDEN, Verdict.JWT_REFUSED}
DATE_LAYOUTS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%dT%H:%M:%S.%f%z")


def project_findings(settings: Settings, identity: str | None, fields: Mapping[str, Any]) -> Found:
    """What can be found out about the project without writing to it. A run would send `fields`, for this `identity`."""
    with closing(make_client(settings, Stop())) as client:
        if settings.use_jwt_auth:
            verdict, sentence = _jwt(client, identity)
            yield verdict, "credentials", sentence
            if verdict != "WRONG":
                yield from _not_with_jwt(settings.event_name)
            return
        answer = client.get("channels")
        yield _credentials(settings.iterable_api_base_url, answer)
        if answer.verdict is Verdict.ACCEPTED:
            yield from _field_types(client.get("users/getFields"), fields, settings.masking)


def _credentials(base: str, answer: ApiResult) -> tuple[str, str, str]:
    if answer.verdict is Verdict.ACCEPTED:
        doubt = "it would accept a read-only key too; only a write shows the difference"
        return "ok", "credentials", f"{base} accepts the key ({doubt})"
    if answer.verdict in REFUSALS:
        remedy = "check ITERABLE_API_KEY, its project and its type, and in ITERABLE_API_BASE_URL its region"
        return "WRONG", "credentials", f"{answer.reason}; {remedy}"
    return "WRONG", "credentials", f"{base}: {answer.reason}; check ITERABLE_API_BASE_URL and the network"


def _jwt(client: IterableClient, identity: str | None) -> tuple[str, str]:
    """A JWT-enabled key may read nothing but a user's messages (API Keys documentation, Mobile and Web keys)."""
    if identity is None:
        return "note", "no row has a user to make a token for, so the token was not tried"
    if client.get("channels").verdict is Verdict.ACCEPTED:
        return "WRONG", "ITERABLE_API_KEY is a server-side key, which takes no JWT: set USE_JWT_AUTH=false"
    fields, who = identity_fields(identity), address_of(identity)
    answer = client.get("inApp/getMessages", fields, **fields, count="1", platform="iOS", SDKVersion="None")
    if answer.verdict is Verdict.ACCEPTED:
        return "ok", f"key and JWT are accepted (tried with {who}, nothing was written)"
    if answer.verdict is Verdict.JWT_REFUSED and "could not be found" in answer.said:
        return "note", f"the JWT was understood, but {who} is not in the project yet; a run creates users"
    if answer.verdict is Verdict.JWT_REFUSED:
        remedy = "check ITERABLE_JWT_SECRET, JWT_ISSUER and this machine's clock"
        return "WRONG", f"the JWT was refused: {answer.reason}; {remedy}"
    if "insufficient privileges" in answer.said:
        return "note", (
            "the JWT could not be tried without writing data (the key may be a JavaScript key, or disabled): run with "
            "--limit 1 to try it"
        )
    return "WRONG", f"{answer.reason}; check ITERABLE_API_KEY and ITERABLE_API_BASE_URL"


def _not_with_jwt(event_name: str) -> Found:
    """What cannot be checked with a client-side key. Events: API Keys documentation, Event Creation."""
    yield "note", "field types", "a JWT-enabled key may not read them; a run shows conflicts at its first user"
    if event_name:
        sentence = (
            f"if {event_name} is not a custom event of the project yet, Iterable accepts the calls but stores no event,"
            " unless the key's setting Event Creation allows it; make sure that the event exists"
        )
        yield "note", "events", sentence


# -- field types ---------------------------------------------------------------------------------------------


def _field_types(answer: ApiResult, fields: Mapping[str, Any], masking: Masking) -> Found:
    """Compare what would be sent with the types that the project fixed for its fields."""
    types = answer[1].get("fields") if answer.verdict is Verdict.ACCEPTED else None
    if not isinstance(types, dict):
        yield "note", "field types", f"the project's fields could not be read: {answer.reason}"
        return
    objects = {name[:dot]: "object" for name in types for dot, letter in enumerate(name) if letter == "."}
    known = objects | types  # a project lists what is in an object, and not always the object itself
    wrong = {name: _conflict(str(known[name]), value) for name, value in fields.items() if name in known}
    for name, given in wrong.items():
        if given:
            type_there = masking(str(known[name]))
            sentence = f"{name} has the type {type_there} in this project, but the query returns {given}"
            yield "WRONG", "field types", f"{sentence}; map it to another field name or type"
    if not any(wrong.values()):
        given_names = [name for name, value in fields.items() if not (isinstance(value, dict) and value)]
        new = [name for name in given_names if name not in known]
        unknown = f"; new: {', '.join(new)}" if new else ""
        yield "ok", "field types", f"{len(given_names) - len(new)} fields fit the project's types{unknown}"


_FITS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "long": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "double": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "date": lambda value: isinstance(value, str) and _is_date(value),
    "object": lambda value: isinstance(value, dict),
}
"""Which JSON values fit a project's type. Types that are not listed here are not checked."""


def _conflict(wanted: str, value: Any) -> str:
    """What the query gives instead of `wanted`; empty when it fits. An array has the type of what is in it."""
    if isinstance(value, list):
        value = next((element for element in value if element is not None), None)
    fits = _FITS.get(wanted)
    if fits is None or value is None or fits(value):
        return ""
    names = {bool: "true or false", int: "whole numbers", float: "decimal numbers", str: "text"}
    return names.get(type(value), "an object")


def _is_date(text: str) -> bool:
    for layout in DATE_LAYOUTS:
        with suppress(ValueError):
            datetime.strptime(text, layout)
            return True
    return False
