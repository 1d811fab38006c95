"""Text that others wrote, before we repeat it: secrets are masked, and it is made to fit one line of a log.

It is in answers, in errors of the driver and in errors of libraries.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
EXCERPT: Final = 500
_TOKEN: Final = re.compile(r"eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*")
_LOGIN_IN_A_URL: Final = re.compile(r"(?<=://)[^\s/@:]*:[^\s/]*(?=@)")


class Masking:
    """Replaces secrets by `***`, however short they are, and every token: `masking(text)`.

    A short secret also masks a part of other words. So this is for what others wrote; our own sentences do not need it.

    >>> Masking(["k3y", "a b&c"])('Api-Key: k3y, got {"k": "a%20b%26c"}, via http://me:pw@proxy:3128')
    'Api-Key: ***, got {"k": "***"}, via http://***@proxy:3128'
    """

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))  # one may hold another

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if "eyJ" in text:
            text = _TOKEN.sub(MASK, text)
        if "://" in text:
            text = _LOGIN_IN_A_URL.sub(MASK, text)
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def of_json(self, value: Any) -> Any:
        """What was read from JSON, with every value in it masked; the names of fields are the API's words."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {name: self.of_json(inner) for name, inner in value.items()}
        return [self.of_json(inner) for inner in value] if isinstance(value, list) else value


@lru_cache(maxsize=16)
def masking_of(secrets: tuple[str | None, ...]) -> Masking:
    """The same object for the same secrets."""
    return Masking(secrets)


def _forms(secret: str) -> Iterator[str]:
    """How others may show a secret: as it is, as Python or JSON write it, in a URL, in a page."""
    yield secret
    yield repr(secret)[1:-1]
    yield repr(secret.encode("utf-8", "replace"))[2:-1]
    for text in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield text
        yield text.replace("/", r"\/")
    for text in (
        quote(secret, "", errors="replace"),
        quote(secret, errors="replace"),
        quote_plus(secret, errors="replace"),
    ):
        yield text
        yield re.sub("%..", lambda escape: escape[0].lower(), text)
    for text in (html.escape(secret), html.escape(secret, quote=False)):
        yield text
        yield text.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")


def excerpt(text: object) -> str:
    """Text of others for one line of a log: white space collapsed, nothing unprintable, cut to length, HTML marked."""
    words = " ".join(str(text).split())
    if not words.isprintable():
        words = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in words)
    if words[:1] == "<" and ("<html" in words.lower() or "<!doctype" in words.lower()):
        words = f"an HTML page of {len(str(text))} characters: {words}"
    return words if len(words) <= EXCERPT else words[:EXCERPT] + "..."
