"""What the tests of the stand-in ask it, and how."""

from __future__ import annotations

import json
from typing import Any

import requests

from tests.stand_in.stand_in import StandIn

NOW = 1_768_000_000


ANN = "ann@example.com"


UPDATE, BULK_UPDATE = "/api/users/update", "/api/users/bulkUpdate"


TRACK, BULK_TRACK = "/api/events/track", "/api/events/trackBulk"


JWT_KEY, JWT_SECRET = "jwt-enabled-key", "2EB6A2F34691492F81A819AEDA32427F"


def send(
    iterable: StandIn,
    path: str,
    body: Any = None,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    data: bytes | None = None,
) -> requests.Response:
    """One request with the server-side key, unless *headers* say otherwise."""
    own = {"Api-Key": iterable.api_key, "Content-Type": "application/json", **(headers or {})}
    content = json.dumps(body).encode() if data is None else data
    return requests.request(
        method,
        iterable.url + path,
        data=content if method == "POST" else None,
        headers={name: value for name, value in own.items() if value},
        timeout=2,
        allow_redirects=False,
    )


def read(iterable: StandIn, path: str, **headers: str) -> requests.Response:
    """One GET with the server-side key."""
    return send(iterable, path, method="GET", headers=headers)


def update(iterable: StandIn, email: str = ANN, **data_fields: Any) -> requests.Response:
    """One users/update of *email*."""
    return send(iterable, UPDATE, {"email": email, "dataFields": data_fields})


def event(number: int = 1, email: str = ANN, **more: Any) -> dict[str, Any]:
    """An event as it is sent."""
    return {"email": email, "eventName": "page_view", "id": f"pv-{number}", "createdAt": NOW - 60, **more}


def said(response: requests.Response) -> tuple[int, str]:
    """Status and code of an answer."""
    return response.status_code, response.json()["code"]
