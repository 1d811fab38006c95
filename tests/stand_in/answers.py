"""What the stand-in sends: a status with a body in the forms that Iterable and the servers before it use."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

Json = dict[str, Any]


MAX_BODY = 4_000_000
"""Bytes of a request body ("4MB", Iterable Swagger on bulkUpdate); assumed for the other endpoints."""


EXPECTED: Mapping[type, str] = {
    str: "String value expected",
    bool: "Boolean value expected",
    int: "Number value expected",
    dict: "Object value expected",
    list: "Array value expected",
}


@dataclass(slots=True)
class Request:
    """One request as it came over the wire; `status` is what it was answered with, 0 without an answer."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    arrived: float
    status: int = 0
    fault: str = ""

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Answer(NamedTuple):
    """A status with its body and the headers that are its own."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class RefusedError(Exception):
    """The request gets this answer, and nothing of it is applied."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def envelope(code: str, msg: str = "", params: Json | None = None) -> Json:
    """The body of every single answer (Iterable Swagger, IterableApiResponse)."""
    return {"msg": msg, "code": code, "params": params}


_encode = json.JSONEncoder(separators=(",", ":")).encode


def json_answer(status: int, body: object) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, _encode(body).encode())


def html_answer(status: int, title: str) -> Answer:
    """A page, as web servers and proxies in front of an API send them."""
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Answer(status, page.encode(), "text/html; charset=utf-8")


def rate_limit_answer(path: str, *, text: bool = False, retry_after: str | None = None) -> Answer:
    """A 429, which the real service sends as JSON and as plain text."""
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    if text:
        return Answer(429, b"Rate limit exceeded. Please try again later.", "text/plain", headers)
    msg = f"Exceeded rate limit for endpoint: {path}, project: 1 "
    return json_answer(429, envelope("RateLimitExceeded", msg, {}))._replace(headers=headers)


def refused(status: int, code: str, msg: str, params: Json | None = None) -> RefusedError:
    """A refusal with Iterable's envelope."""
    return RefusedError(json_answer(status, envelope(code, msg, params)))


def bad_body(request: Request, params: Mapping[str, str]) -> RefusedError:
    """The refusal of a body that is not of the documented form; `params` says where and what was expected."""
    return refused(400, "BadJsonBody", f"[{request.path}] Invalid JSON body", dict(params))


def jwt_refused(request: Request, msg: str, code: str = "InvalidJwtPayload") -> RefusedError:
    """The refusal of a JWT."""
    return refused(401, code, msg, {"endpoint": request.path})


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def read_object(request: Request) -> Json:
    """The body as a JSON object; refused when it is none, or too large."""
    if len(request.body) > MAX_BODY:
        raise RefusedError(html_answer(413, "Request Entity Too Large"))
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise refused(415, "BadJsonBody", f"[{request.path}] Expecting application/json body")
    try:
        body = _decoder.decode(request.body.decode())
    except ValueError as error:
        raise bad_body(request, {"obj": "Valid JSON expected"}) from error
    if type(body) is not dict:
        raise bad_body(request, {"obj": EXPECTED[dict]})
    return body


@lru_cache(maxsize=256)
def _fixed_head(status: int, content_type: str, _second: int) -> str:
    """The lines of a head that stay the same for a second, as recorded answers have them."""
    reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown"
    return (
        f"HTTP/1.1 {status} {reason}\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: {content_type}\r\n"
        "Connection: keep-alive\r\nVary: Origin\r\nServer: iterable-ingress b48a\r\n"
    )


def on_the_wire(answer: Answer, missing: int, milliseconds: int) -> bytes:
    """An answer in bytes, with the headers that recorded ones have."""
    own = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    fixed = _fixed_head(answer.status, answer.content_type, int(time.time()))
    length = len(answer.body) + missing
    head = f"{fixed}Request-Time: {milliseconds}\r\n{own}Content-Length: {length}\r\n\r\n"
    return head.encode("latin-1") + answer.body
