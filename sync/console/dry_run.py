"""`--dry-run`: the exact requests that a run would make, and how long they would take; nothing is sent or written."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from io import TextIOWrapper
from typing import TextIO

from sync.api.endpoints import EVENTS_TRACK, USERS_BULK_UPDATE, USERS_UPDATE, USERS_UPDATE_EMAIL
from sync.api.pacing import DOCUMENTED_CEILINGS, UNSTATED_CEILING, target_rate
from sync.console.progress import warnings_on_screen
from sync.console.screen import strict
from sync.delivery.address_change import move_body
from sync.delivery.bulk import IN_BULK, next_batch
from sync.delivery.loop import MOST_CANARIES
from sync.delivery.turn import ONE_BY_ONE
from sync.delivery.work import after
from sync.rows.identity import address_of
from sync.run.announcement import merged
from sync.run.errors import exit_of
from sync.run.exit_codes import ExitCode
from sync.run.job import Job
from sync.run.loading import Loading
from sync.run.record import OnRecord
from sync.state.file import StateCopy
from sync.state.outbox import Outbox
from sync.state.owed import DELIVERED, OwedUser, Plan

Request = tuple[str, str]
"""The endpoint, such as "users/update", and the body as JSON text."""


def dry_run(job: Job, out: TextIO | None = None) -> int:
    """Print one JSON object a request on standard output and the counts on standard error; return the exit code."""
    settings = job.settings
    try:
        with warnings_on_screen(settings), closing(StateCopy(settings.state_file)) as state:
            on_record = OnRecord(job, state)
            loading = Loading(job, on_record)
            with closing(job.connect()) as database:
                loading.load(database)
            outbox = loading.outbox
            with job.comparing():
                plan = outbox.plan(on_record.put)
            made = _print(_requests(outbox, bulk=settings.iterable_bulk), out or _standard_output())
            _print_counts(job, loading.rows, plan, outbox, made)
    except BrokenPipeError:  # `| head` has what it wants
        return ExitCode.DONE
    except Exception as error:
        code, sentence = exit_of(error, job.settings.masking)
        print(sentence, file=sys.stderr)
        return code
    return ExitCode.DONE


def _standard_output() -> TextIO:
    """JSON is UTF-8, whatever the terminal's language. The requests are what was asked for, so their loss is told."""
    stream = strict(sys.stdout)
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(encoding="utf-8")
    return stream


def _requests(outbox: Outbox, *, bulk: bool) -> Iterator[Request]:
    """As a run makes them: one user with one event, the canary, and then everybody.

    Whose address was changed is no canary to the end, since that is to settle first.
    """
    way, bodies = (IN_BULK, _in_bulk) if bulk else (ONE_BY_ONE, _one_by_one)
    canaries, users = MOST_CANARIES, outbox.claim(1, 1)
    while users:
        canaries = canaries - 1 if users[0].move else 0
        yield from bodies(users)
        while users := [user for user in users if user.more]:
            users = outbox.claim_rest(users, way.events)
            yield from bodies(users)
        users = outbox.claim(1, 1) if canaries > 0 else outbox.claim(way.users, way.events)


def _one_by_one(users: Iterable[OwedUser]) -> Iterator[Request]:
    for user in users:
        if user.move is not None:
            yield USERS_UPDATE_EMAIL, move_body(user.move.sources[0], user.identity)
        if user.profile is not None:
            yield USERS_UPDATE, user.profile
        for event in user.events:
            yield EVENTS_TRACK, event.body


def _in_bulk(claimed: Sequence[OwedUser]) -> Iterator[Request]:
    yield from _one_by_one(user for user in claimed if user.apart)
    users = [user for user in claimed if not user.apart]
    while users:
        endpoint, groups = next_batch(users)
        key = "users" if endpoint == USERS_BULK_UPDATE else "events"
        yield endpoint, f'{{"{key}":[{",".join(body for _, bodies in groups for body in bodies)}]}}'
        going = {user.identity for user, _ in groups}
        users = [user for user in users if user.identity not in going]
        for user, bodies in groups:  # all of them are accepted
            users += after(user, [DELIVERED] * len(bodies), is_over=False)[1]


def _print(requests: Iterable[Request], out: TextIO) -> Counter[str]:
    made: Counter[str] = Counter()
    for endpoint, body in requests:
        made[endpoint] += 1
        out.write(f'{{"method":"POST","path":"/api/{endpoint}","body":{body}}}\n')
    out.flush()
    return made


def _print_counts(job: Job, rows: int, plan: Plan, outbox: Outbox, made: Counter[str]) -> None:
    """The counts, and the time at the limits: single endpoints run side by side, so the slower one decides."""
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)  # noqa: E731 - one short name, many lines
    for identity, reason in outbox.new_rejections():
        say(f"would be rejected: {address_of(identity)}: {reason}")
    settings = job.settings
    ceilings = {
        **DOCUMENTED_CEILINGS,
        USERS_UPDATE: settings.users_per_second,
        EVENTS_TRACK: settings.events_per_second,
        USERS_UPDATE_EMAIL: UNSTATED_CEILING,
    }
    seconds = max((count / target_rate(ceilings[endpoint]) for endpoint, count in made.items()), default=0.0)
    seconds += settings.move_settle_seconds if plan.moves else 0
    requests = ", ".join(f"{count:,} {endpoint}" for endpoint, count in sorted(made.items())) or "none"
    say(f"dry run: {rows:,} rows; requests: {requests}; nothing was sent")
    say(
        f"unchanged: {plan.users.unchanged:,} profiles, {plan.events.unchanged:,} events; "
        f"rejected: {plan.users.rejected:,} profiles, {plan.events.rejected:,} events; "
        f"leaving the segment: {0 if plan.exit_held_back else plan.leaving:,}"
    )
    for identity, reason in outbox.told_moves():
        say(f"address changed, and would not be moved: {address_of(identity)}: {reason}")
    if plan.moves:
        say(f"addresses to be moved: {plan.moves:,}")
    for sentence in merged(plan):
        say(sentence)
    if plan.second_name_missing:
        say(f"users whose other name is missing or unusable: {plan.second_name_missing:,}")
    if plan.exit_held_back:
        say(f"mass exit held back: {plan.leaving:,} of {plan.segment_size:,} (--allow-mass-exit lets them leave)")
    say(f"about {seconds:.1f} s at the limits")
