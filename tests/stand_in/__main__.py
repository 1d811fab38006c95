"""The stand-in for Iterable as a process of its own: `python -m tests.stand_in --latency 0.1`.

It prints its URL, serves until its standard input ends or SIGTERM comes, and prints what it saw as one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import signal
import sys
from collections.abc import Sequence

from tests.faults import EVERY_TRANSIENT_FAULT
from tests.stand_in.faults import Ending, at_random
from tests.stand_in.rules import DOCUMENTED_LIMITS, ProjectRules
from tests.stand_in.stand_in import StandIn


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.stand_in", description="A local stand-in for Iterable's REST API.")
    parser.add_argument("--port", type=int, default=0, help="0: any free one (default)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--limits", action="store_true", help="enforce the documented rate limits")
    parser.add_argument(
        "--limit", action="append", default=[], metavar="ENDPOINT=N", help="enforce N requests a second there"
    )
    parser.add_argument("--retry-after", help="the Retry-After header of a 429")
    parser.add_argument("--api-key", default=ProjectRules.api_key)
    parser.add_argument("--jwt-api-key")
    parser.add_argument("--jwt-secret")
    parser.add_argument("--fault-share", type=float, default=0.0, help="share of requests that fail, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    return parser


def _limits(options: argparse.Namespace) -> dict[str, float] | None:
    limits = dict(DOCUMENTED_LIMITS) if options.limits else {}
    for item in options.limit:
        endpoint, _, number = item.partition("=")
        limits[f"/api/{endpoint}"] = float(number)
    return limits or None


def _from_arguments(options: argparse.Namespace) -> StandIn:
    # A process nobody can ask for its requests does not keep them, and a fault that never answers
    # would measure the client's time-out.
    answered = [fault for fault in EVERY_TRANSIENT_FAULT if fault.ending is not Ending.HOLD]
    return StandIn(
        port=options.port,
        latency=options.latency,
        limits=_limits(options),
        retry_after=options.retry_after,
        api_key=options.api_key,
        jwt_api_key=options.jwt_api_key,
        jwt_secret=options.jwt_secret,
        faults=at_random(options.seed, options.fault_share, answered) if options.fault_share else None,
        keep_requests=False,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until standard input ends or SIGTERM comes, then print what was seen."""
    iterable = _from_arguments(_parser().parse_args(argv))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.disable()  # a collection among a million events stops it for 0.1 s, and what arrives meanwhile seems to be late
    with iterable, contextlib.suppress(KeyboardInterrupt):  # whoever reads the URL may end it at once
        print(iterable.url, flush=True)
        sys.stdin.buffer.read()
    print(json.dumps(iterable.stats()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
