"""`--check` of the Iterable project: credentials, reading back, and the types of its fields. Sends no data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any

from sync.api.answers import ApiResult, Verdict
from sync.api.endpoints import USERS_BY_EMAIL
from sync.console.finding import Finding, Sample
from sync.delivery.stop import Stop
from sync.rows.identity import address_of, identity_fields
from sync.rows.masking import Masking
from sync.run.job import Job, make_client

REFUSALS = {Verdict.CREDENTIALS_REFUSED, Verdict.FORBIDDEN, Verdict.JWT_REFUSED}
REGIONS = {
    "https://api.iterable.com": "https://api.eu.iterable.com",
    "https://api.eu.iterable.com": "https://api.iterable.com",
}
"""Each data centre with the other: a key of the one is an invalid key to the other (API Keys documentation)."""

DATE_LAYOUTS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%dT%H:%M:%S.%f%z")


def project_findings(job: Job, sample: Sample) -> Iterator[Finding]:
    """What can be known of the project without writing to it."""
    with closing(make_client(job.settings, Stop())) as client:
        if job.settings.use_jwt_auth:
            yield from _jwt(client, sample)
            if job.settings.event_name:
                yield _unknown_event(job.settings.event_name)
            return
        answer = client.get("channels")
        yield _credentials(job, answer)
        if answer.verdict is Verdict.ACCEPTED:
            yield from _field_types(client.get("users/getFields"), sample, job.settings.masking)
            yield _reading_back(client.get(USERS_BY_EMAIL, email="nobody@example.com"))


def _credentials(job: Job, answer: ApiResult) -> Finding:
    base = job.settings.iterable_api_base_url
    if answer.verdict is Verdict.ACCEPTED:
        return Finding("ok", "credentials", f"{base} accepts the key (a read-only key too: only a write can tell)")
    if answer.verdict in REFUSALS:
        other = REGIONS.get(base)
        if other and _accepts(job, other):
            return Finding(
                "WRONG", "credentials", f"the key belongs to the other region: ITERABLE_API_BASE_URL={other}"
            )
        return Finding("WRONG", "credentials", f"{answer.reason}; check ITERABLE_API_KEY, its project and its type")
    return Finding("WRONG", "credentials", f"{base}: {answer.reason}; check ITERABLE_API_BASE_URL and the network")


def _reading_back(answer: ApiResult) -> Finding:
    """Whether `--verify` may read users: tried with an address of nobody's."""
    if answer.verdict is Verdict.ACCEPTED:
        return Finding("ok", "reading back", "this key may read users: --verify can compare them with the database")
    return Finding("note", "reading back", f"this key may not read users, so --verify cannot be used: {answer.reason}")


def _accepts(job: Job, base_url: str) -> bool:
    settings = replace(job.settings, iterable_api_base_url=base_url)
    with closing(make_client(settings, Stop())) as client:
        return client.get("channels").verdict is Verdict.ACCEPTED


def _jwt(client: Any, sample: Sample) -> Iterator[Finding]:
    """A JWT-enabled key may read nothing but a user's messages (API Keys documentation, Mobile and Web keys)."""
    if sample.identity is None:
        yield Finding("note", "credentials", "no row gives a user to make a token for; the token was not tried")
        return
    if client.get("channels").verdict is Verdict.ACCEPTED:
        sentence = "ITERABLE_API_KEY is a server-side key, which takes no JWT: set USE_JWT_AUTH=false"
        yield Finding("WRONG", "credentials", sentence)
        return
    identity = identity_fields(sample.identity)
    who = address_of(sample.identity)
    answer = client.get("inApp/getMessages", identity, **identity, count="1", platform="iOS", SDKVersion="None")
    if answer.verdict is Verdict.ACCEPTED:
        yield Finding("ok", "credentials", f"key and JWT are accepted (tried with {who}, nothing was written)")
    elif answer.verdict is Verdict.JWT_REFUSED and "could not be found" in answer.said:
        yield Finding(
            "note", "credentials", f"the JWT was read, and {who} is not in the project yet; a run creates users"
        )
    elif answer.verdict is Verdict.JWT_REFUSED:
        remedy = "check ITERABLE_JWT_SECRET, JWT_ISSUER and this machine's clock"
        yield Finding("WRONG", "credentials", f"the JWT was refused: {answer.reason}; {remedy}")
    elif "insufficient privileges" in answer.said:
        sentence = "a JWT was made; a JavaScript key may not try it without writing, and a disabled key looks the same"
        yield Finding("note", "credentials", sentence)
    else:
        yield Finding("WRONG", "credentials", f"{answer.reason}; check ITERABLE_API_KEY and ITERABLE_API_BASE_URL")
    yield Finding("note", "field types", "a JWT-enabled key may not read them; a run shows conflicts at its first user")
    yield Finding("note", "reading back", "a JWT-enabled key may not read users, so --verify cannot be used")


def _unknown_event(name: str) -> Finding:
    """What a client-side key may not do by default, and no answer tells of (API Keys documentation, Event Creation)."""
    sentence = (
        f"unless {name} is among the project's custom events, Iterable takes the calls and stores no event: a "
        "client-side key creates it only while its setting Event Creation allows that; see that it is there"
    )
    return Finding("note", "events", sentence)


# -- field types ---------------------------------------------------------------------------------------------


def _field_types(answer: ApiResult, sample: Sample, masking: Masking) -> Iterator[Finding]:
    """Compare what would be sent with the types that the project fixed for its fields."""
    types = answer[1].get("fields") if answer.verdict is Verdict.ACCEPTED else None
    if not isinstance(types, dict):
        yield Finding("note", "field types", f"the project's fields could not be read: {answer.reason}")
        return
    objects = {name[:dot]: "object" for name in types for dot, letter in enumerate(name) if letter == "."}
    known = objects | types  # a project lists what is in an object, and not always the object itself
    conflicts = [
        f"{name} is {_with_article(masking(str(known[name])))} in this project, the query gives {given}"
        for name, value in sample.fields.items()
        if name in known and (given := _conflict(str(known[name]), value))
    ]
    yield from (Finding("WRONG", "field types", f"{one}; map it to another field name or type") for one in conflicts)
    if not conflicts:
        fields = [name for name, value in sample.fields.items() if not (isinstance(value, dict) and value)]
        new = [name for name in fields if name not in known]
        unknown = f"; new: {', '.join(new)}" if new else ""
        yield Finding("ok", "field types", f"{len(fields) - len(new)} fields fit the project's types{unknown}")


def _with_article(word: str) -> str:
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"


_FITS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "long": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "double": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "date": lambda value: isinstance(value, str) and _is_date(value),
    "object": lambda value: isinstance(value, dict),
}
"""Which JSON values fit a project's type; types that are not here are left to the project to judge."""


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
        try:
            datetime.strptime(text, layout)
        except ValueError:
            continue
        return True
    return False
