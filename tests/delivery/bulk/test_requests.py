"""What a bulk request may hold: how many, how large, and whose."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from sync.api.endpoints import MAX_BYTES
from sync.delivery.bulk import fitting, next_batch
from sync.run.exit_codes import ExitCode
from sync.run.settings import SettingsError, load_settings
from sync.state.exchange import PendingUser
from tests import faults as catalogue
from tests.delivery.bulk.requests import (
    EVENTS,
    USERS,
    bulk_world,
    holding,
    items,
    lines,
    rejected,
    sent,
)
from tests.harness import World, counts
from tests.sample_rows import T0, address, people, person
from tests.stand_in.answers import Request, json_answer
from tests.stand_in.faults import Fault, on

BULK = {USERS, EVENTS}


def test_a_request_is_measured_in_bytes() -> None:
    """At most 4,000,000 bytes a request: of UTF-8, not of characters; commas and envelope included."""
    users = [PendingUser(address(n), json.dumps({"x": "é" * 249_000}, ensure_ascii=False), ()) for n in range(17)]
    endpoint, batch = next_batch(users)

    size = len(('{"users":[' + ",".join(body for _, bodies in batch for body in bodies) + "]}").encode())
    assert (f"/api/{endpoint}", [user for user, _ in batch]) == (USERS, users[:8])
    assert size <= MAX_BYTES
    assert size + len(str(users[0].profile)) * 2 > MAX_BYTES, "one more would have fitted"


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_the_last_byte(spare: int) -> None:
    """A request of exactly 4,000,000 bytes is allowed, and one byte more is not."""
    half = MAX_BYTES // 2
    bodies = ["x" * half, "y" * (half - len('{"events":[,]}') - spare - 1)]

    fit = fitting([[body] for body in bodies])
    assert fit == (2 if spare >= 0 else 1), "the last item is counted with a comma, which it does not have"


def test_no_more_than_a_thousand_users(world: World) -> None:
    """At most 1,000 users a request; the canary goes alone before them; profiles first, then events."""
    world.rows = people(2_002)

    assert counts(world.run()) == ((2_002, 0, 0, 0), (2_002, 0, 0, 0))
    assert sorted(len(batch) for batch in sent(world, USERS)) == [1, 1, 1000, 1000]
    assert sorted(len(batch) for batch in sent(world, EVENTS)) == [1, 1, 1000, 1000]
    assert sent(world, USERS)[0] == [address(1)]
    assert [request.path for request in world.iterable.requests[:2]] == [USERS, EVENTS]
    assert {request.path for request in world.iterable.requests} == BULK, "never single and bulk calls in one run"
    assert not world.iterable.project.warnings


def test_large_users_share_no_request_that_is_too_large(world: World) -> None:
    """Requests of large users stay below the limit; the strict stand-in would answer 413."""
    world.rows = [person(n, first_name="ü" * 300_000) for n in range(1, 16)]

    assert world.run().exit_code == ExitCode.DONE
    assert sorted(len(batch) for batch in sent(world, USERS)) == [1, 2, 6, 6]
    assert {request.status for request in world.iterable.requests} == {200}


def test_a_user_that_is_too_large_alone(world: World) -> None:
    """A profile over 4,000,000 bytes is tried alone, refused with 413 and rejected; its neighbours are delivered."""
    world.rows = people(5)
    world.rows[2]["first_name"] = "x" * 4_000_001

    assert counts(world.run()) == ((4, 0, 1, 0), (4, 0, 1, 0))
    assert [address(3)] in sent(world, USERS)
    assert rejected(world)[address(3)].startswith("413")


def test_events_of_one_user_share_a_request(world: World) -> None:
    """Several events of a user go in one request, oldest first; a user with many does not hold up the others."""
    world.rows = [person(n, page=f"page {n}", email=address(n % 3)) for n in range(9)]
    world.rows += people(20)[10:]

    assert world.run().exit_code == ExitCode.DONE
    order = [item for request in world.iterable.requests if request.path == EVENTS for item in items(request)]
    for number in range(3):
        times = [item["createdAt"] for item in order if item["email"] == address(number)]
        assert times == sorted(times) and len(times) == 3
    assert len(sent(world, USERS)) == 2
    assert len(sent(world, EVENTS)) == 3, "the canary's first, its further ones, and then everybody's"


def test_one_user_with_many_events_among_others(world: World) -> None:
    """200 users, one of them with 150 events: the others' events go in one request, and his in one or two more."""
    views = [person(7, event_time=T0 + timedelta(hours=hour)) for hour in range(150)]
    world.rows = [person(n) for n in range(1, 201) if n != 7] + views

    assert counts(world.run()) == ((200, 0, 0, 0), (349, 0, 0, 0))
    assert len(world.iterable.requests) <= 6
    assert len(world.events) == 349


def test_an_answer_that_does_not_say_which_event(world: World) -> None:
    """One of a user's events is refused, and the answer names the user alone: his go singly until it is found."""
    views = [person(7, event_time=T0 + timedelta(hours=hour), page=f"page {hour}") for hour in range(30)]
    world.rows = [person(n) for n in range(1, 5)] + views
    world.iterable.faults = on(EVENTS, _refusing("page 17"))

    assert counts(world.run()) == ((5, 0, 0, 0), (33, 0, 1, 0))
    assert len(world.events) == 33
    assert world.table("SELECT reason FROM pending WHERE moment IS NOT NULL AND reason IS NOT NULL") == [
        ("listed in invalidDataEmails",)
    ]
    assert len(sent(world, EVENTS)) < 20, "twice as many with each request that is accepted"


def _refusing(page: str) -> Callable[[Request], Fault | None]:
    """A project that refuses the event of this page, and names its user once."""

    def answer(request: Request) -> Fault | None:
        refused = [item for item in items(request) if item["dataFields"]["page"] == page]
        if not refused:
            return None
        rest = [item for item in items(request) if item not in refused]
        request.body = json.dumps({"events": rest}).encode()
        failed = {"invalidDataEmails": [refused[0]["email"]]}
        body = {"successCount": len(rest), "failCount": len(refused), "failedUpdates": failed}
        return Fault("one event refused", json_answer(200, body), applies=True)

    return answer


def test_events_of_refused_profiles_are_not_sent(world: World) -> None:
    """Profiles first, then the events of those that were accepted; the others' events have the profile's outcome."""
    world.rows = people(10)
    world.iterable.project.rules.forgotten = {address(4), address(7)}

    assert counts(world.run()) == ((8, 0, 2, 0), (8, 0, 2, 0))
    assert {who for batch in sent(world, EVENTS) for who in batch} == {address(n) for n in (1, 2, 3, 5, 6, 8, 9, 10)}
    assert rejected(world) == dict.fromkeys((address(4), address(7)), "listed in forgottenEmails")
    assert world.run().requests == 0, "what was rejected is remembered"


@pytest.mark.parametrize("fields", [{"EVENT_NAME": ""}, {"USER_FIELDS": "", "SEGMENT_FIELD": ""}])
def test_one_kind_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]) -> None:
    """Profiles alone call one endpoint, events alone the other."""
    world = bulk_world(tmp_path, monkeypatch, **fields)
    world.rows = people(4)

    assert world.run().exit_code == ExitCode.DONE
    path = USERS if "EVENT_NAME" in fields else EVENTS
    assert [(request.path, len(items(request))) for request in world.iterable.requests] == [(path, 1), (path, 3)]


def test_user_ids_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users known by id are found again in the lists of ids: exactly, for ids have capitals."""
    world = bulk_world(tmp_path, monkeypatch, USER_ID_COLUMN="page")
    world.rows = [person(n, page=page) for n, page in enumerate(("Ann", "ann", "Bob"))]
    world.iterable.project.rules.forgotten = {"ann"}

    assert counts(world.run()) == ((2, 0, 1, 0), (2, 0, 1, 0))
    assert rejected(world) == {"id:ann": "listed in forgottenUserIds"}


def test_leavers_go_in_bulk_too(world: World) -> None:
    """Who left the segment is told by the bulk endpoint, in batches of their own."""
    world.rows = people(6)
    world.run()
    del world.rows[4:]

    assert world.run().left_segment == 2
    assert sent(world, USERS) == [[address(5)], [address(6)]], "without anybody else, a leaver is the canary"
    assert world.profiles[address(5)]["recent_page_view"] is False


def test_bulk_and_jwt_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JWT-enabled key may not call the bulk endpoints: a settings error that says why, before anything is sent."""
    environ = {"USE_JWT_AUTH": "true", "ITERABLE_JWT_SECRET": "s" * 32}
    world = bulk_world(tmp_path, monkeypatch, **environ)

    with pytest.raises(SettingsError) as refused:
        load_settings(Path("/dev/null"), world.environ)
    (problem,) = refused.value.problems
    assert "JWT-enabled key is a client-side key" in problem and "users/bulkUpdate" in problem
    del world.environ["ITERABLE_BULK"]
    assert world.main("--bulk") == ExitCode.USAGE
    assert world.iterable.requests == []


def test_one_line_a_request(world: World) -> None:
    """In bulk: one line for each request that succeeded, none for each user in it."""
    world.rows = people(300)
    world.run()

    assert len(lines(world, "users/bulkUpdate call successful: Success")) == 2
    assert len(lines(world, "events/trackBulk call successful: Success")) == 2
    assert not lines(world, address(77))


def test_one_line_for_each_user_not_delivered(world: World) -> None:
    """Everybody who was not delivered has a line with the address and the reason."""
    world.rows = people(300)
    world.iterable.project.rules.forgotten = {address(7), address(70)}
    world.iterable.faults = holding(address(200), catalogue.refused(400, "BadParams", "bad\nparams"), EVENTS)
    world.run()

    for number in (7, 70):
        (line,) = lines(world, f"email={address(number)} ")
        assert "users/bulkUpdate rejected: listed in forgottenEmails" in line and " - ERROR - " in line
    (line,) = lines(world, f"email={address(200)} ")
    assert "events/trackBulk rejected: 400 BadParams: bad params" in line
    assert not lines(world, f"email={address(8)} ")
