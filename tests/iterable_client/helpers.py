"""What the tests of the client share: clients that do not wait, and what they said and sent."""

from __future__ import annotations

import base64
import json
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest

from iterable_client import IterableClient
from sync.api.answers import ApiResult
from tests import faults as catalogue
from tests.stand_in.answers import Request
from tests.stand_in.stand_in import StandIn

ANN = "ann@example.com"
JWT_KEY, JWT_SECRET = "jwt-enabled-key-0123456789", "2EB6A2F34691492F81A819AEDA32427F"
NOW = 1_768_000_000.0
OK = catalogue.raw("ok", 200, b'{"msg":"","code":"Success","params":null}')


class Waits(list[float]):
    """A sleep that takes no time: it keeps the seconds, and says whether the wait was interrupted."""

    def __init__(self, during: Callable[[float], object] = lambda _: None, interrupted: bool = False) -> None:
        super().__init__()
        self._during, self._interrupted = during, interrupted

    def __call__(self, seconds: float) -> bool:
        """Keep the seconds."""
        self.append(seconds)
        self._during(seconds)
        return self._interrupted


class NoJitter(random.Random):
    """Always the middle."""

    def uniform(self, a: float, b: float) -> float:
        """Halfway between both."""
        return (a + b) / 2


class Clock:
    """A time that stands still until somebody moves it."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def move(self, seconds: float) -> None:
        """Jump, forward or back."""
        self.now += seconds


def client_of(iterable: StandIn, waits: Waits | None = None, **more: Any) -> IterableClient:
    """A client of this project that does not wait, with jitter off."""
    settings = {"api_key": iterable.api_key, "base_url": iterable.url, "timeout": 5.0, "rng": NoJitter(), **more}
    recorder = Waits() if waits is None else waits
    client = IterableClient(sleep=recorder, **settings)
    assert client._sleep is recorder  # an empty list is falsy, and would be replaced by a real sleep
    return client


def jwt_client_of(iterable: StandIn, clock: Callable[[], float], waits: Waits | None = None, **more: Any) -> Any:
    """A client with the JWT-enabled key; project and client agree on the time."""
    iterable.clock = clock
    settings = {"api_key": JWT_KEY, "jwt_secret": JWT_SECRET, "use_jwt": True, "clock": clock, **more}
    return client_of(iterable, waits, **settings)


def update(client: IterableClient, email: str = ANN) -> ApiResult:
    """One profile."""
    return client.update_user(email, {"plan": "pro"})


def claims_of(request: Request) -> dict[str, Any]:
    """What the bearer token of this request claims."""
    payload = request.headers["authorization"].removeprefix("Bearer ").split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.DEBUG) -> list[str]:
    """The client's log sentences."""
    return [
        record.getMessage() for record in caplog.records if record.name == "iterable_client" and record.levelno >= level
    ]
