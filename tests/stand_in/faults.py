"""How the stand-in fails on purpose: what a fault is, which requests meet one, and those that the demo needs."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.stand_in.answers import Answer, Request, envelope, html_answer, json_answer, rate_limit_answer


class Ending(enum.Enum):
    """What becomes of the connection instead of, or after, an answer."""

    KEEP = "kept open"
    CLOSE = "closed"
    RESET = "reset"
    HOLD = "held without a word"


@dataclass(frozen=True)
class Fault:
    """One way to fail: *answer* (None: the project's own), sent or not, and what becomes of the connection.

    A fault that *applies* lets the project take the request first, so that only the answer goes wrong.
    """

    name: str
    answer: Answer | None = None
    applies: bool = False
    ending: Ending = Ending.KEEP
    silent: bool = False
    """No answer is sent at all."""
    missing: int = 0
    """Bytes that Content-Length promises beyond the body."""
    delay: float = 0.0
    """Seconds on top of the latency."""

    def applied(self) -> Fault:
        """The same failure, after the project took the request."""
        return replace(self, name=f"{self.name} (applied)", applies=True)

    def __str__(self) -> str:
        return self.name


Faults = Callable[[Request], Fault | None]
"""Asked for each request, in the order of arrival and in the server's thread."""


def rate_limited(retry_after: str | None = None, *, text: bool = False) -> Fault:
    """429 as JSON or plain text, with any Retry-After."""
    form = "text" if text else "JSON"
    answer = rate_limit_answer("/api/users/update", text=text, retry_after=retry_after)
    return Fault(f"429 {form} Retry-After {retry_after}", answer)


def refused(status: int, code: str, msg: str = "", params: dict[str, Any] | None = None) -> Fault:
    """*status* with Iterable's envelope."""
    return Fault(f"{status} {code} {msg}".rstrip(), json_answer(status, envelope(code, msg, params)))


def page(status: int, title: str) -> Fault:
    """*status* with an HTML page."""
    return Fault(f"{status} page {title}", html_answer(status, title))


def raw(name: str, status: int, body: bytes, content_type: str = "application/json") -> Fault:
    """*status* with exactly *body*."""
    return Fault(name, Answer(status, body, content_type))


def redirect(status: int, location: str = "https://elsewhere.invalid/api") -> Fault:
    """A redirection to another host, which must not get the credentials."""
    answer = Answer(status, b"", "text/html", (("Location", location),))
    return Fault(f"{status} to {location}", answer)


def slow(seconds: float) -> Fault:
    """The right answer, *seconds* late."""
    return Fault(f"slow by {seconds} s", applies=True, delay=seconds)


def bulk_result(succeeded: int, failed: int, **lists: object) -> Fault:
    """A bulk answer that says this, whatever was sent: counts that do not add up, lists left out."""
    body = {"successCount": succeeded, "failCount": failed, **lists}
    return Fault(f"200 bulk {succeeded}/{failed}", json_answer(200, body), applies=True)


UNAVAILABLE = raw("503 empty", 503, b"", "text/plain")


def scripted(faults: Iterable[Fault | None]) -> Faults:
    """The n-th fault for the n-th request; none once they are used up."""
    script = iter(faults)
    return lambda _request: next(script, None)


def at_random(seed: int, share: float, faults: Sequence[Fault]) -> Faults:
    """Any of *faults* for this *share* of the requests; the same ones for the same seed and order."""
    chance = random.Random(seed)
    return lambda _request: chance.choice(faults) if chance.random() < share else None


def on(path: str, faults: Faults) -> Faults:
    """*faults*, asked only for requests to *path*."""
    return lambda request: faults(request) if request.path == path else None
