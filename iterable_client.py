"""`IterableClient`: users/update, events/track and their bulk forms through one request path.

`_make_request_with_retry` has the only loop and the only sleep. `_is_retryable` says whether to try again,
`_calculate_backoff` how long to wait, and `_handle_response` what an answer means (see `sync.api.answers`). A refused
call returns a value (`ApiResult`) and raises nothing, so one user never stops the others.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from sync.api.answers import RETRYABLE_STATUSES, SPENT, ApiResponse, ApiResult, Verdict, read_answer, retry_after
from sync.api.endpoints import BULK, EVENTS_TRACK, USERS_UPDATE, Message, encode, identity_in, known, named, who
from sync.api.network import NETWORK_ERRORS, PROXY_AUTHENTICATION, is_readable_on_the_way, no_answer, proxy_refuses
from sync.api.pacing import Pacer
from sync.api.tokens import TokenMint
from sync.api.transport import Answer, Transport
from sync.rows.export import export_results_to_csv
from sync.rows.masking import Masking, excerpt, masking_of

__all__ = ["ApiResult", "IterableClient", "Message", "Verdict", "export_results_to_csv"]

logger = logging.getLogger("iterable_client")

Fields = Mapping[str, Any]

MAX_BACKOFF, JITTER = 600.0, 0.1
"""The longest wait in seconds (so a large exponent cannot overflow), and the jitter as a fraction of the wait."""

MAX_RETRY_AFTER = 120.0
"""Seconds: the longest `Retry-After` that a call waits for. A longer one stops the run."""

NO_CREDENTIAL = "a credential is needed: api_key, or use_jwt with jwt_secret"

UNKNOWN_USER = "could not be found"
"""In the answer to a token for a brand-new user (Iterable's mobile SDKs): writes take seconds to be visible."""

INTERRUPTED = ApiResponse(Verdict.INTERRUPTED, "the run was stopped")
"""The answer of a call that was given up because the run is stopping."""


class IterableClient:
    """Speaks to one Iterable project. Safe to share between threads.

    `base_url` has no path. `timeout` is in seconds and covers one attempt, from connecting to the last byte of the
    answer. `workers` is the size of the connection pool. `pacer` limits the endpoints that it knows. `sleep` waits that
    many seconds, and returns True to give up. `clock` gives Unix time for tokens, `rng` the jitter. `secrets` are
    masked in what others say, as the client's own are.

    `max_retries` (total attempts), `initial_backoff` (seconds), `backoff_factor`, `jwt_secret` and `use_jwt` take
    effect when assigned after construction. Raises ValueError without a credential, for `use_jwt` without a secret, for
    a key that cannot be sent in a header, and for an http `base_url` that is not this machine.
    """

    def __init__(
        self,
        api_key: str | None = None,
        jwt_secret: str | None = None,
        use_jwt: bool = False,
        base_url: str = "https://api.iterable.com",
        *,
        timeout: float = 30.0,
        max_retries: int = 3,
        initial_backoff: float = 1.0,
        backoff_factor: float = 2.0,
        jwt_lifetime: int = 3600,
        jwt_issuer: str = "iterable-integration",
        workers: int = 1,
        pacer: Pacer | None = None,
        secrets: Iterable[str] = (),
        sleep: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self.api_key, self.base_url, self.timeout = api_key, base_url.rstrip("/"), timeout
        self.jwt_secret, self.use_jwt = jwt_secret, use_jwt
        self.jwt_lifetime, self.jwt_issuer = jwt_lifetime, jwt_issuer
        self.max_retries, self.initial_backoff, self.backoff_factor = max_retries, initial_backoff, backoff_factor
        self._pacer, self._clock = pacer, clock
        self._sleep = threading.Event().wait if sleep is None else sleep
        self._rng = random.Random() if rng is None else rng  # noqa: S311 - jitter, not cryptography
        self._tokens = TokenMint(jwt_lifetime, jwt_issuer)
        self._secrets = tuple(secrets)
        self._transport = Transport(workers)
        self.session = self._transport.session
        if is_readable_on_the_way(base_url):
            raise ValueError("base_url would send the credentials and the data unencrypted; use https")
        self._check_authentication()

    def __repr__(self) -> str:
        return f"IterableClient(base_url={self.base_url!r}, use_jwt={self.use_jwt}, api_key=..., jwt_secret=...)"

    def close(self) -> None:
        """Close the pooled connections."""
        self.session.close()

    def _check_authentication(self) -> None:
        if self.api_key and not all("!" <= character <= "~" for character in self.api_key):
            raise ValueError("the API key contains white space or characters that a header cannot carry: copy it again")
        if self.use_jwt:
            self._secret()
        elif not self.api_key:
            raise ValueError(NO_CREDENTIAL)
        logger.info("Using JWT authentication" if self.use_jwt else "Using API key authentication")
        if not self.api_key:
            logger.warning("JWT without an API key: only the bearer token is sent, but Iterable documents both headers")

    def _secret(self) -> str:
        if not self.jwt_secret:
            raise ValueError("use_jwt needs jwt_secret; Iterable showed it once, when the key was created")
        return self.jwt_secret

    def update_user(
        self, email: str | None, data_fields: Fields, *, user_id: str | None = None, **options: Any
    ) -> ApiResult:
        """Create the user or update the profile's fields (POST /api/users/update); null clears a field.

        The user is identified by `email`, or by `user_id` with `email` None. `options` holds the other fields of the
        body, under Iterable's names: `preferUserId`, `mergeNestedObjects`, `createNewFields` (Swagger,
        ApiUserUpdateRequest). Any other name raises TypeError.
        """
        payload = {**named(email, user_id), **known(USERS_UPDATE, options), "dataFields": data_fields}
        return self._make_request_with_retry("POST", self._url(USERS_UPDATE), payload, USERS_UPDATE)

    def track_event(
        self, email: str | None, event_name: str, data_fields: Fields, *, user_id: str | None = None, **options: Any
    ) -> ApiResult:
        """Track one event (POST /api/events/track) for the user with this `email`, or this `user_id` and `email` None.

        `options` holds the other fields of the body, under Iterable's names: `id`, `createdAt` in Unix seconds
        (default: the time of arrival), `campaignId`, `templateId`, `createNewFields` (Swagger, TrackRequest). Any other
        name raises TypeError. An event whose `id` already exists is updated, not added, so a call with an `id` can
        safely be repeated.
        """
        event = {"eventName": event_name, **known(EVENTS_TRACK, options), "dataFields": data_fields}
        payload = {**named(email, user_id), **event}
        return self._make_request_with_retry("POST", self._url(EVENTS_TRACK), payload, EVENTS_TRACK)

    def send(self, endpoint: str, message: Message) -> ApiResult:
        """Send a body that is already JSON to `endpoint`, such as "users/update"."""
        return self._make_request_with_retry("POST", self._url(endpoint), message, endpoint)

    def send_bulk(self, endpoint: str, bodies: Sequence[str]) -> ApiResult:
        """Send many users or events in one request; `bodies` are the single requests' JSON texts."""
        items = endpoint.partition("/")[0]  # "users" or "events"
        return self.send(endpoint, Message(None, f'{{"{items}":[{",".join(bodies)}]}}'.encode()))

    def get(
        self, endpoint: str, identity: Mapping[str, str] | None = None, *, path: str = "", **query: str
    ) -> ApiResult:
        """Read `endpoint`, such as "channels"; any JSON object with status 200 is a success.

        `path` is encoded and appended: some endpoints take the user's name there.
        """
        where = f"{endpoint}/{quote(path, safe='')}" if path else endpoint
        url = f"{self._url(where)}?{urlencode(query)}" if query else self._url(where)
        return self._make_request_with_retry("GET", url, Message(identity, None), endpoint)

    def _url(self, endpoint: str) -> str:
        return f"{self.base_url}/api/{endpoint}"

    def _make_request_with_retry(
        self, method: str, endpoint_url: str, payload: Fields | Message, endpoint_name: str
    ) -> ApiResult:
        """Repeat the request until there is a final answer, the attempts are used up, or the wait is interrupted.

        `payload` is the body as a dict, or already encoded. Never raises for anything the network or the server does.
        If a token is refused as InvalidJwtPayload, the call is tried once with a new one; this does not count as an
        attempt.
        """
        message = payload if isinstance(payload, Message) else Message(identity_in(payload), None)
        try:
            if not isinstance(payload, Message):
                message = message._replace(body=encode(payload))
        except (TypeError, ValueError) as error:
            answer = ApiResponse(Verdict.REJECTED, excerpt(f"the payload is not JSON: {self.masked(str(error))}"))
            return self._end(answer, 0, [], message, endpoint_name)
        made, renewed = 0, False
        retried: list[str] = []
        while True:
            answer, asked = self._attempt(method, endpoint_url, message, endpoint_name)
            made += answer.verdict is not Verdict.INTERRUPTED
            old_token = answer.code == "InvalidJwtPayload" and answer.verdict is Verdict.JWT_REFUSED
            if self.use_jwt and old_token and not renewed:
                renewed = True
                self._tokens.forget()
                told = "The JWT was refused by %s; trying once more with a new one: %s%s"
                logger.warning(told, endpoint_name, answer.reason, who(message))
                continue
            if not self._may_pass(answer) or len(retried) + 1 >= self.max_retries:
                return self._end(answer, made, retried, message, endpoint_name)
            wait = max(asked, self._calculate_backoff(len(retried)))
            retried.append(str(answer.status or answer.reason.partition(":")[0]))  # or "timeout", or "connection"
            self._announce_retry(retried, endpoint_name, wait, f"{who(message)} reason={answer.reason!r}")
            if self._sleep(wait):
                return self._end(INTERRUPTED, made, retried[:-1], message, endpoint_name)

    def _may_pass(self, answer: ApiResponse) -> bool:
        """Whether another attempt may succeed: there was no answer, or its status and its code both allow a retry."""
        new_user = answer.verdict is Verdict.NOT_YET
        return answer.verdict in SPENT and (new_user or answer.status is None or self._is_retryable(answer.status))

    def _attempt(self, method: str, url: str, message: Message, endpoint_name: str) -> tuple[ApiResponse, float]:
        """Make one request; return its answer, and how many seconds the server asks us to wait before the next."""
        pace = self._pacer.get(endpoint_name) if self._pacer else None
        started = pace.acquire() if pace else 0.0
        if started is None:
            return INTERRUPTED, 0.0
        headers = self._authentication(message.identity)
        try:
            reply = self._transport.send(method, url, headers, message.body, self.timeout)
        except NETWORK_ERRORS as error:
            return no_answer(error, self._transport.surroundings, self.masked), 0.0
        answer = self._handle_response(reply, endpoint_name).answer
        asked = retry_after(reply.headers.get("Retry-After"), reply.headers.get("Date"))
        if pace and answer.verdict is Verdict.THROTTLED:
            pace.throttled(started, min(asked, MAX_RETRY_AFTER))
        if answer.verdict in SPENT and asked > MAX_RETRY_AFTER:
            told = f"Iterable asks to wait {asked:.0f} s, more than {MAX_RETRY_AFTER:.0f} s: {answer.reason}"
            answer = replace(answer, verdict=Verdict.WAIT_TOO_LONG, reason=told)
        return answer, asked

    def _authentication(self, identity: Mapping[str, str] | None) -> dict[str, str]:
        """`Api-Key`, and with JWT `Authorization: Bearer` as well (Iterable's JWT documentation), or instead."""
        headers = {"Api-Key": self.api_key} if self.api_key else {}
        if self.use_jwt and (identity or not headers):
            now, make = int(self._clock()), self._generate_jwt_token
            headers["Authorization"] = f"Bearer {self._tokens.token(identity or {}, self._secret(), now, make)}"
        if not headers:
            raise ValueError(NO_CREDENTIAL)
        return headers

    def _generate_jwt_token(self, identity: Mapping[str, str] | None = None) -> str:
        """A fresh HS256 token for `identity` (`{"email": ...}` or `{"userId": ...}`); without one, the claims alone."""
        token = self._tokens.mint(identity, self._secret(), int(self._clock()))
        logger.debug("JWT token generated successfully%s", who(Message(identity, None)))
        return token

    def _handle_response(self, response: Answer, endpoint_name: str) -> ApiResult:
        """Say what `response` means: a pair `success, data`, with verdict, reason, status and code."""
        return ApiResult(self._read(response, endpoint_name), 1)

    def _read(self, response: Answer, endpoint_name: str) -> ApiResponse:
        around, status, body = self._transport.surroundings, response.status_code, response.content
        if status == PROXY_AUTHENTICATION and around.proxy:
            return proxy_refuses(around)
        answer = read_answer(status, body, bulk=endpoint_name in BULK, masked=self.masked)
        if status == 200 and answer.data is not None and getattr(response.request, "method", "") == "GET":
            return replace(answer, verdict=Verdict.ACCEPTED, reason="Success")
        if answer.verdict is Verdict.ACCEPTED and endpoint_name not in BULK:  # in bulk the run needs the names in it
            return replace(answer, data={**self.masked.of_json(answer.data), "code": answer.code})
        if answer.verdict is Verdict.JWT_REFUSED and endpoint_name == EVENTS_TRACK and UNKNOWN_USER in answer.said:
            return replace(answer, verdict=Verdict.NOT_YET)
        if answer.verdict is Verdict.JWT_REFUSED and not self.use_jwt:
            hint = " (the key is JWT-enabled: set USE_JWT_AUTH and ITERABLE_JWT_SECRET)"
        elif self.jwt_issuer and self.use_jwt and "invalid payload" in answer.said:
            hint = " (JWT_ISSUER may be the cause: Iterable does not document the iss claim; try JWT_ISSUER=)"
        else:
            return answer
        return replace(answer, reason=answer.reason + hint)

    @property
    def masked(self) -> Masking:
        """Masks this client's secrets in what others wrote, however short they are."""
        return masking_of((self.api_key, self.jwt_secret, *self._transport.surroundings.passwords, *self._secrets))

    def _is_retryable(self, status_code: int) -> bool:
        """Whether another attempt may succeed where this status was answered."""
        return status_code in RETRYABLE_STATUSES

    def _calculate_backoff(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt`, counted from 0: exponential, +-10 % jitter."""
        try:
            ladder = self.initial_backoff * self.backoff_factor**attempt
        except OverflowError:
            ladder = MAX_BACKOFF
        return min(ladder, MAX_BACKOFF) * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _announce_retry(self, retried: Sequence[str], endpoint: str, wait: float, evidence: str) -> None:
        told = "Retryable error %s from %s. Retrying in %.2fs (attempt %d/%d)%s"
        logger.warning(told, retried[-1], endpoint, wait, len(retried), self.max_retries, evidence)

    def _end(
        self, answer: ApiResponse, made: int, retried: Sequence[str], message: Message, endpoint: str
    ) -> ApiResult:
        """Log how the call ended, in one line."""
        spent = answer.verdict in SPENT
        result = ApiResult(answer, made, "Max retries exceeded" if spent else None, tuple(retried))
        user, evidence = who(message), f"status={result.status} code={result.code} attempt={result.attempts}"
        if result.verdict is Verdict.ACCEPTED:
            logger.info("%s call successful: Success%s %s", endpoint, user, evidence)
        elif result.verdict is Verdict.INTERRUPTED:
            logger.info("%s call given up: the run is stopping%s", endpoint, user)
        elif spent:
            logger.error("Max retries exceeded for %s%s %s reason=%r", endpoint, user, evidence, result.reason)
        else:
            log = logger.warning if endpoint in BULK else logger.error  # a refused batch is halved, not lost
            log("%s call failed (%s): %s%s %s", endpoint, result.verdict.value, result.reason, user, evidence)
        return result
