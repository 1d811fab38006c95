"""`--dry-run`: the run's own loop with a client that prints each request and treats it as accepted."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import Any, TextIO

from iterable_client import ApiResult, IterableClient, Message, Verdict
from sync.api.answers import ApiResponse
from sync.api.endpoints import BULK, encode
from sync.api.pacing import target_rate
from sync.console.screen import warnings_on_screen
from sync.delivery.stop import Stop
from sync.delivery.work import Turn
from sync.rows.identity import name_of
from sync.run.connections import ceilings
from sync.run.exit_codes import ExitCode
from sync.run.settings import Settings
from sync.run.steps import Run, way_of


def dry_run(run: Run, out: TextIO | None = None) -> int:
    """Print one JSON object for each request on standard output and the counts on standard error; return the exit code.

    Deliveries are recorded only in a copy of the state.
    """
    try:
        with warnings_on_screen(run.settings) as warnings, run.previewed():
            run.announce()
            warnings.setLevel("ERROR")  # the loop's warnings would be about calls that are not made
            made = _deliver(run, out or _standard_output())
            warnings.setLevel("WARNING")
            _print_counts(run, made)
    except BrokenPipeError:  # `| head` has what it wants
        pass
    return ExitCode.DONE


def _standard_output() -> TextIO:
    """JSON is UTF-8, whatever the terminal's language. The requests are the result, so losing them is an error."""
    try:
        return open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False)
    except OSError:  # it is in memory
        return sys.stdout


def _deliver(run: Run, out: TextIO) -> Counter[str]:
    """Deliver everything pending to the printing client; return the number of requests to each endpoint."""
    run.stop = stop = _Skipping()
    way, _ = way_of(run.settings)
    with closing(_PrintingClient(run.settings, out, stop)) as client:

        def take_turn(turn: Turn, _: IterableClient) -> None:
            client.looked_up = turn.user.move and name_of(turn.user.move.person)
            way.take_turn(turn, client)

        run.send(client, way._replace(take_turn=take_turn), workers=1, clock=stop.clock)
        out.flush()
    if client.lost or run.summary.stopped_because:
        raise client.lost or RuntimeError(run.summary.stopped_because)
    return client.made


class _Skipping(Stop):
    """Waits by moving its clock forward: the clock counts only the seconds spent waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def clock(self) -> float:
        """The current time."""
        return self._now

    def wait(self, seconds: float) -> bool:
        """Skip to the end of the wait."""
        self._now += seconds
        return self.is_set()


class _PrintingClient(IterableClient):
    """Prints each request instead of sending it, and treats it as accepted.

    `made` counts the requests of each endpoint; a look-up finds the user id `looked_up`, as if there were no conflict.
    If output cannot be written, the run stops, and the error is `lost`.
    """

    def __init__(self, settings: Settings, out: TextIO, stop: Stop) -> None:
        key, secret = settings.iterable_api_key, settings.iterable_jwt_secret
        super().__init__(key, secret, settings.use_jwt_auth, settings.iterable_api_base_url)
        self._out, self._stop = out, stop
        self.made: Counter[str] = Counter()
        self.looked_up: str | None = None
        self.lost: OSError | None = None

    def _make_request_with_retry(
        self, method: str, endpoint_url: str, payload: Mapping[str, Any] | Message, endpoint_name: str
    ) -> ApiResult:
        body = (payload.body or b"null") if isinstance(payload, Message) else encode(payload)
        path = json.dumps(endpoint_url.removeprefix(self.base_url))
        try:
            self._out.write(f'{{"method":"{method}","path":{path},"body":{body.decode()}}}\n')
        except OSError as error:
            self.lost = error
            self._stop.set(str(error))
            return ApiResult(ApiResponse(Verdict.INTERRUPTED, str(error)), 0)
        self.made[endpoint_name] += 1
        data: dict[str, Any] = {"user": {"userId": self.looked_up}}
        if endpoint_name in BULK:
            data = {"successCount": sum(map(len, json.loads(body).values())), "failCount": 0}
        return ApiResult(ApiResponse(Verdict.ACCEPTED, "Success", 200, "Success", data), 1)


def _print_counts(run: Run, made: Counter[str]) -> None:
    """The counts, and the time at the rate limits. The single endpoints run in parallel, so the slower one decides."""
    settings, plan = run.settings, run.planned
    limits = ceilings(settings)
    seconds = max((count / target_rate(limits[endpoint]) for endpoint, count in made.items()), default=0.0)
    seconds += settings.move_settle_seconds if plan.moves else 0
    requests = ", ".join(f"{count:,} {endpoint}" for endpoint, count in sorted(made.items())) or "none"
    print(
        f"dry run: {run.summary.rows:,} rows; requests: {requests}; nothing was sent\n"
        f"unchanged: {plan.users.unchanged:,} profiles, {plan.events.unchanged:,} events; "
        f"rejected: {plan.users.rejected:,} profiles, {plan.events.rejected:,} events; "
        f"leaving the segment: {0 if plan.exit_held_back else plan.leaving:,}; "
        f"addresses to be changed: {plan.moves:,}\n"
        f"about {seconds:.1f} s at Iterable's rate limits",
        file=sys.stderr,
    )
