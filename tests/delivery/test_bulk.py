"""Bulk delivery: a thousand users in one request, and yet one outcome for each of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.api.endpoints import MAX_BYTES
from sync.delivery.bulk import BulkSender, batches
from sync.delivery.bulk_answer import Item
from sync.delivery.rules import StopRules
from sync.delivery.stop import Stop
from sync.delivery.watch import Piece, Watch
from sync.run.exit_codes import ExitCode
from sync.run.settings import SettingsError, load_settings
from sync.sandbox.answers import Request, json_answer
from sync.sandbox.faults import Fault, bulk_result, on, scripted
from sync.state.owed import OwedEvent, OwedUser
from tests import faults as catalogue
from tests.harness import T0, World, address, counts, people, person

USERS, EVENTS = "/api/users/bulkUpdate", "/api/events/trackBulk"
BULK = {USERS, EVENTS}
TYPES = catalogue.TYPES_MISMATCHED


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation that delivers in bulk."""
    return bulk_world(tmp_path, monkeypatch)


def bulk_world(folder: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> World:
    """An installation that delivers in bulk; the API is down only after more failures than a test makes."""
    return World(folder, monkeypatch, ITERABLE_BULK="true", **environ)


def items(request: Request) -> list[dict[str, Any]]:
    """The users or events of a bulk request."""
    (found,) = request.json().values()
    assert isinstance(found, list)
    return found


def whom(request: Request) -> list[str]:
    """The users of a bulk request, in its order."""
    return [item.get("email") or item["userId"] for item in items(request)]


def sent(world: World, path: str) -> list[list[str]]:
    """Whom each request to *path* was about."""
    return [whom(request) for request in world.iterable.requests if request.path == path]


def holding(who: str, fault: Fault, path: str = USERS) -> catalogue.Faults:
    """*fault* for each request that holds *who*."""
    return on(path, lambda request: fault if who in whom(request) else None)


def lines(world: World, *words: str) -> list[str]:
    """The log's lines with all these words."""
    return [line for line in world.log().splitlines() if all(word in line for word in words)]


def owed(world: World) -> set[str]:
    """Who is still owed something."""
    rows = world.table("SELECT identity FROM owed_user UNION SELECT identity FROM owed_event")
    return {identity for (identity,) in rows}


def rejected(world: World) -> dict[str, str]:
    """Whose profile was rejected, and why."""
    return dict(world.table("SELECT identity, reason FROM profile WHERE rejected IS NOT NULL"))


def naming(**lists: list[str]) -> dict[str, Any]:
    """The end of a bulk answer with these lists in `failedUpdates`."""
    return {"failedUpdates": lists}


def said(who: str, list_name: str, path: str = USERS, **more: object) -> catalogue.Faults:
    """The answer that one of the users stands in *list_name*, and all others were accepted."""

    def answer(request: Request) -> Fault | None:
        if who not in whom(request):
            return None
        failed = {"failedUpdates": {list_name: [who]}} | more
        return bulk_result(len(items(request)) - 1, 1, **failed)

    return on(path, answer)


# -- what a request may hold ---------------------------------------------------------------------------------


def test_a_request_is_measured_in_bytes() -> None:
    """At most 4,000,000 bytes a request: of UTF-8, not of characters; commas and envelope included."""
    users = [OwedUser(address(n), json.dumps({"x": "é" * 249_000}, ensure_ascii=False), b"", ()) for n in range(17)]
    cut = list(batches(Item(user, user.profile or "") for user in users))

    sizes = [len(('{"events":[' + ",".join(item.body for item in batch) + "]}").encode()) for batch in cut]
    assert [len(batch) for batch in cut] == [8, 8, 1]
    assert max(sizes) <= MAX_BYTES
    assert sizes[0] + len(users[0].profile or "") * 2 > MAX_BYTES, "one more would have fitted"


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_the_last_byte(spare: int) -> None:
    """A request of exactly 4,000,000 bytes is allowed, and one byte more is not."""
    half = MAX_BYTES // 2
    bodies = ["x" * half, "y" * (half - len('{"events":[,]}') - spare - 1)]
    cut = list(batches(Item(OwedUser(body[0], body, b"", ()), body) for body in bodies))

    assert len(cut) == (1 if spare >= 0 else 2), "the last item is counted with a comma, which it does not have"


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
    assert world.table("SELECT reason FROM event WHERE rejected IS NOT NULL") == [("listed in invalidDataEmails",)]
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


# -- reading the answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "list_name", ["conflictEmails", "forgottenEmails", "invalidDataEmails", "invalidEmails", "quarantinedEmails"]
)
def test_every_list_of_failed_profiles(world: World, list_name: str) -> None:
    """Each list in `failedUpdates`, also one nobody has heard of, rejects those it names and nobody else."""
    world.rows = people(6)
    world.iterable.faults = said(address(3), list_name)

    summary = world.run()
    assert counts(summary) == ((5, 0, 1, 0), (5, 0, 1, 0))
    assert summary.exit_code == ExitCode.INCOMPLETE
    assert rejected(world) == {address(3): f"listed in {list_name}"}
    assert owed(world) == set()


@pytest.mark.parametrize("list_name", ["forgottenEmails", "invalidEmails", "quarantinedEmails"])
def test_every_list_of_failed_events(world: World, list_name: str) -> None:
    """The same for events: the profile stays delivered and the event alone is rejected."""
    world.rows = people(6)
    world.iterable.faults = said(address(3), list_name, EVENTS)

    assert counts(world.run()) == ((6, 0, 0, 0), (5, 0, 1, 0))
    assert world.table("SELECT reason FROM event WHERE rejected IS NOT NULL") == [(f"listed in {list_name}",)]
    assert counts(world.run()) == ((0, 6, 0, 0), (0, 5, 1, 0))


@pytest.mark.parametrize("path", [USERS, EVENTS])
def test_a_user_nobody_knows_yet_is_owed_again(world: World, path: str) -> None:
    """`notFound...` is a matter of time: failed and owed, not rejected; the next run sends it."""
    world.rows = people(4)
    world.iterable.faults = said(address(3), "notFoundEmails", path)

    users, events = counts(world.run())
    assert users == ((3, 0, 0, 1) if path == USERS else (4, 0, 0, 0))
    assert events == (3, 0, 0, 1)
    assert owed(world) == {address(3)} and rejected(world) == {}
    world.iterable.faults = None
    assert world.run().exit_code == ExitCode.DONE
    assert len(world.events) == 4


@pytest.mark.parametrize(
    "nested", [{}, {"failedUpdates": {}}, {"failedUpdates": {"invalidEmails": []}}, {"failedUpdates": None}]
)
def test_the_older_lists_at_the_top(world: World, nested: dict[str, Any]) -> None:
    """An answer that names the failed only in the deprecated top-level lists is understood."""
    world.rows = people(3)
    old = {"invalidEmails": [address(2)], "invalidUserIds": []}
    world.iterable.faults = on(USERS, scripted([None, bulk_result(1, 1, **old, **nested)]))

    assert counts(world.run())[0] == (2, 0, 1, 0)
    assert rejected(world) == {address(2): "listed in invalidEmails"}


def test_names_come_back_in_other_letters(world: World) -> None:
    """Iterable may echo an address as it was sent or as it stores it: compared without case and outer space."""
    world.rows = people(3)
    named = naming(forgottenEmails=[f" {address(2).upper()} "])
    world.iterable.faults = on(USERS, scripted([None, bulk_result(1, 1, **named)]))

    assert counts(world.run())[0] == (2, 0, 1, 0)


@pytest.mark.parametrize(
    ("succeeded", "failed", "more"),
    [
        pytest.param(2, 0, {}, id="one too few"),
        pytest.param(4, 0, {}, id="one too many"),
        pytest.param(0, 0, {}, id="nothing"),
        pytest.param(2, 1, {}, id="a failure without a name"),
        pytest.param(2, 1, naming(forgottenEmails=["stranger@example.com"]), id="a stranger's name"),
        pytest.param(1, 2, naming(forgottenEmails=[address(2)]), id="one of two failures has a name"),
        pytest.param(2, 1, {"failedUpdates": {"forgottenEmails": address(2)}}, id="a name that is no list"),
        pytest.param(2, 0, {"noOpEmails": "none", "noOpUserIds": {"a": 1}}, id="lists that are none"),
    ],
)
def test_counts_that_do_not_add_up(world: World, succeeded: int, failed: int, more: dict[str, Any]) -> None:
    """When the counts do not explain every item, nobody without a name counts as delivered: they are owed again."""
    world.rows = people(4)
    world.iterable.faults = on(USERS, scripted([None, bulk_result(succeeded, failed, **more)]))

    told = counts(world.run())[0]
    named = more.get("failedUpdates", {}).get("forgottenEmails") == [address(2)]
    assert told == ((1, 0, 1, 2) if named else (1, 0, 0, 3))
    assert owed(world) == {address(n) for n in (2, 3, 4)} - ({address(2)} if named else set())
    assert len(lines(world, "WARNING", "its counts do not add up")) == 1
    world.iterable.faults = None
    world.run()
    assert owed(world) == set()
    assert len(world.events) == (3 if named else 4), "nothing lost, and each event once"


def test_counts_of_events_that_do_not_add_up(world: World) -> None:
    """The same for events; their users' profiles are delivered."""
    world.rows = people(4)
    world.iterable.faults = on(EVENTS, scripted([None, bulk_result(2, 1)]))

    assert counts(world.run()) == ((4, 0, 0, 0), (1, 0, 0, 3))
    world.iterable.faults = None
    assert counts(world.run()) == ((0, 4, 0, 0), (3, 1, 0, 0))


@pytest.mark.parametrize(
    ("succeeded", "no_ops"), [(3, [address(2)]), (2, [address(2)]), (0, [address(2), address(3), address(4)])]
)
def test_who_changed_nothing_is_delivered(world: World, succeeded: int, no_ops: list[str]) -> None:
    """`noOpEmails`: Iterable holds it already; whether such users are in successCount is not documented."""
    world.rows = people(4)
    world.iterable.faults = on(USERS, scripted([None, bulk_result(succeeded, 0, noOpEmails=no_ops)]))

    assert counts(world.run())[0] == (4, 0, 0, 0)


@pytest.mark.parametrize("counted", [True, False])
def test_disallowed_events(world: World, counted: bool) -> None:
    """A disallowed event is in no list of users and perhaps in no count: rejected; three canaries stop the run."""
    world.rows = people(5)
    world.iterable.project.rules.disallowed_events = {"page_view"}
    world.iterable.project.rules.count_disallowed = counted

    summary = world.run()
    assert counts(summary) == ((3, 0, 0, 2), (0, 0, 3, 2))
    assert "the project disallows the event: page_view" in str(summary.stopped_because)
    assert summary.exit_code == ExitCode.STOPPED


@pytest.mark.parametrize("counted", [True, False])
def test_only_the_disallowed_name_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: bool) -> None:
    """Events that are owed from before EVENT_NAME was changed have the old name, which may be disallowed alone."""
    world = bulk_world(tmp_path, monkeypatch, EVENT_NAME="old_name")
    world.rows = people(4)
    world.iterable.faults = on(EVENTS, lambda _request: catalogue.SERVER_ERROR)
    world.run()
    world.environ["EVENT_NAME"] = "new_name"
    world.iterable.faults = None
    world.iterable.project.rules.disallowed_events = {"old_name"}
    world.iterable.project.rules.count_disallowed = counted
    world.rows = people(6)[4:] + people(2)

    told = world.run()
    reasons = world.table("SELECT reason FROM event WHERE rejected IS NOT NULL")
    assert reasons == [("the project disallows the event: old_name",)] * 4
    assert Counter(event["eventName"] for event in world.events) == {"new_name": 4}
    assert counts(told)[1][0] == 4
    assert owed(world) == set()


def test_dropped_fields_are_warned_of(world: World) -> None:
    """`filteredOutFields`: the users count as delivered, and the log says which fields the project dropped."""
    world.rows = people(3)
    world.iterable.project.rules.drop_unknown_fields = True

    assert world.run().exit_code == ExitCode.DONE
    assert lines(world, "WARNING", "users/bulkUpdate", "dropped", "plan_type")
    assert lines(world, "WARNING", "events/trackBulk", "dropped", "page_view.device")


def test_an_answer_without_counts_is_no_success(world: World) -> None:
    """A 200 that does not give both counts says nothing: everybody in it is owed again."""
    world.rows = people(3)
    world.iterable.faults = holding(address(2), catalogue.raw("200", 200, b'{"code":"Success","msg":""}'))

    assert counts(world.run())[0] == (2, 0, 0, 1)
    assert owed(world) == {address(2)}


# -- batches that are refused whole --------------------------------------------------------------------------


@pytest.mark.parametrize("path", [USERS, EVENTS])
def test_one_bad_row_among_a_thousand(world: World, path: str) -> None:
    """A batch that is refused whole is halved until the culprit stands alone: about 20 requests, everybody else's
    delivery untouched."""
    world.rows = people(1_001)
    culprit = address(700)
    world.iterable.faults = holding(culprit, TYPES, path)

    summary = world.run()
    assert counts(summary) == (
        ((1_000, 0, 1, 0), (1_000, 0, 1, 0)) if path == USERS else ((1_001, 0, 0, 0), (1_000, 0, 1, 0))
    )
    halved = sent(world, path)[1:]
    assert 15 <= len(halved) <= 24
    assert [culprit] in halved
    assert Counter(who for batch in halved if culprit not in batch for who in batch).total() == 999
    assert len(world.events) == 1_000


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(catalogue.refused(400, "BadJsonBody", "Invalid JSON body", {"obj.users[1].x": "no"}), id="400"),
        pytest.param(catalogue.CONFLICT, id="409"),
        pytest.param(catalogue.TYPES_MISMATCHED_500, id="types with status 500"),
        pytest.param(catalogue.refused(200, "BadParams", "no"), id="a code of the row inside a 200"),
        pytest.param(catalogue.BATCH_TOO_LARGE, id="BatchTooLarge"),
        pytest.param(catalogue.TOO_LARGE, id="413"),
    ],
)
def test_every_refusal_of_a_whole_batch(world: World, fault: Fault) -> None:
    """Wrong type, conflict, too large, also inside a 500 or a 200: the culprit alone is rejected."""
    world.rows = people(65)
    world.iterable.faults = holding(address(40), fault)

    assert counts(world.run()) == ((64, 0, 1, 0), (64, 0, 1, 0))
    assert len(sent(world, USERS)) == 1 + 1 + 2 * 6


def test_a_refusal_that_nobody_understands(world: World) -> None:
    """A 400 with an unknown code is halved too, and its culprit is failed, not rejected: in doubt, owed."""
    world.rows = people(65)
    world.iterable.faults = holding(address(40), catalogue.UNKNOWN_CODE)

    assert counts(world.run())[0] == (64, 0, 0, 1)
    assert owed(world) == {address(40)}


def test_a_conflict_of_types_as_the_project_answers_it(world: World) -> None:
    """A row whose field has another type than the project's refuses its batch; it alone is rejected for it."""
    world.rows = people(200)
    world.iterable.project.rules.field_types.user["candidate"] = "date"
    for row in world.rows:
        row["candidate"] = "2026-01-06"
    world.rows[150]["candidate"] = "not a day"

    assert counts(world.run())[0] == (199, 0, 1, 0)
    assert "'candidate' already exists" in rejected(world)[address(151)]


@pytest.mark.parametrize("culprits", [[2], [2, 3], [150, 151], [2, 301], [3, 90, 200, 201, 280]])
def test_several_bad_rows(world: World, culprits: list[int]) -> None:
    """Every culprit is found, wherever it stands; nobody else is rejected."""
    world.rows = people(301)
    bad = {address(number) for number in culprits}
    world.iterable.faults = on(USERS, lambda request: TYPES if bad & set(whom(request)) else None)

    assert counts(world.run())[0] == (301 - len(bad), 0, len(bad), 0)
    assert set(rejected(world)) == bad
    assert len(sent(world, USERS)) <= 1 + 19 * len(bad)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(catalogue.BAD_API_KEY, id="401"),
        pytest.param(catalogue.refused(400, "BadApiKey", "Invalid API key"), id="BadApiKey with status 400"),
    ],
)
def test_what_concerns_the_key_is_not_halved(world: World, fault: Fault) -> None:
    """A refused key is nobody's fault in the batch: one request, and the run stops."""
    world.rows = people(101)
    world.iterable.faults = on(USERS, lambda request: fault if len(items(request)) > 1 else None)

    summary = world.run()
    assert summary.exit_code == ExitCode.STOPPED
    assert len(sent(world, USERS)) == 2
    assert counts(summary) == ((1, 0, 0, 100), (1, 0, 0, 100))
    assert len(owed(world)) == 100


# -- retries, the quota, the end -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", catalogue.EVERY_TRANSIENT_FAULT, ids=str)
def test_a_passing_trouble_costs_a_retry(world: World, fault: Fault) -> None:
    """Whatever passes is tried again: everybody is delivered, and each event is there once."""
    world.rows = people(50)
    world.iterable.faults = scripted([None, None, fault, None, fault])

    summary = world.run()
    assert summary.exit_code == ExitCode.DONE
    assert counts(summary) == ((50, 0, 0, 0), (50, 0, 0, 0))
    assert sum(summary.retries.values()) == 2
    assert summary.requests == 6
    assert len(world.events) == 50


@pytest.mark.parametrize("path", [USERS, EVENTS])
@pytest.mark.parametrize(
    "fault", [catalogue.SERVER_ERROR, catalogue.ACTION_NOT_FOUND, catalogue.JWT_MISMATCH_400, catalogue.UNKNOWN_CODE]
)
def test_one_record_that_breaks_every_batch(world: World, path: str, fault: Fault) -> None:
    """A batch that fails for whatever reason is halved, until the culprit stands alone and fails for itself."""
    world.rows = people(1_001)
    culprit = address(700)
    world.iterable.faults = holding(culprit, fault, path)

    summary = world.run()
    assert counts(summary)[path == EVENTS] == (1_000, 0, 0, 1)
    assert summary.exit_code == ExitCode.INCOMPLETE
    assert summary.requests < 80
    assert owed(world) == {culprit}
    assert world.table("SELECT identity FROM failer") == [(culprit,)]


def test_a_batch_that_fails_once_is_delivered_in_halves(world: World) -> None:
    """All attempts of a batch failed: its halves are sent at once, and nobody has to wait for the next run."""
    world.rows = people(20)
    world.iterable.faults = on(USERS, scripted([None, *[catalogue.UNAVAILABLE] * 3]))

    summary = world.run()
    assert counts(summary) == ((20, 0, 0, 0), (20, 0, 0, 0))
    assert [len(batch) for batch in sent(world, USERS)] == [1, 19, 19, 19, 9, 10]


@pytest.mark.parametrize("culprits", [[0], [40], [99], [7, 60]])
def test_bad_events_of_one_user(world: World, culprits: list[int]) -> None:
    """A user's own events are cut when they fail together: those that are in order are delivered."""
    world.rows = [person(1, page=f"page {n}", event_time=T0 + timedelta(hours=n)) for n in range(100)]
    bad = {f"page {n}" for n in culprits}

    def spoiled(request: Request) -> Fault | None:
        return catalogue.SERVER_ERROR if any(i["dataFields"]["page"] in bad for i in items(request)) else None

    world.iterable.faults = on(EVENTS, spoiled)
    assert counts(world.run()) == ((1, 0, 0, 0), (100 - len(bad), 0, 0, len(bad)))
    assert len(world.events) == 100 - len(bad)


def test_throttled_users_are_queued_again(world: World) -> None:
    """Attempts that ended in 429 are about the quota: nobody fails for them, and nobody is called undelivered."""
    world.rows = people(30)
    world.iterable.faults = on(USERS, scripted([None, *[catalogue.RATE_LIMITED] * 3]))

    summary = world.run()
    assert counts(summary) == ((30, 0, 0, 0), (30, 0, 0, 0))
    assert summary.exit_code == ExitCode.DONE
    assert not lines(world, "bulk - ERROR")


@pytest.mark.parametrize("path", [USERS, EVENTS])
def test_a_throttled_batch_stays_a_batch(world: World, path: str) -> None:
    """The quota is 5 and 10 requests a second: users who wait for it are sent together again, not one by one."""
    world.rows = people(30)
    world.iterable.faults = on(path, scripted([None, *[catalogue.RATE_LIMITED] * 3]))

    assert world.run().exit_code == ExitCode.DONE
    assert [len(batch) for batch in sent(world, path)] == [1, 29, 29, 29, 29]


def test_a_throttled_event_is_not_overtaken(world: World) -> None:
    """A user's later events wait for the throttled one: oldest first, also through the queue."""
    world.rows = [person(n, email=address(n % 2)) for n in range(8)]
    world.iterable.faults = on(EVENTS, scripted([None] * 4 + [None] + [catalogue.RATE_LIMITED] * 3))

    assert counts(world.run())[1] == (8, 0, 0, 0)
    accepted = [
        item
        for request in world.iterable.requests
        if request.path == EVENTS and request.status == 200
        for item in items(request)
    ]
    for number in (0, 1):
        times = [item["createdAt"] for item in accepted if item["email"] == address(number)]
        assert times == sorted(times) and len(times) == 4


def test_a_stop_in_the_middle(world: World) -> None:
    """A run that is told to stop sends nothing more: what was answered is recorded, all else is owed."""
    world.rows = people(2_100)
    world.iterable.faults = on(USERS, scripted([None, None, catalogue.BAD_API_KEY]))
    summary = world.run()

    delivered, _, rejections, failed = counts(summary)[0]
    assert summary.exit_code == ExitCode.STOPPED
    assert delivered + failed == 2_100 and rejections == 0
    assert delivered >= 1 and failed >= 99
    world.iterable.faults = None
    again = counts(world.run())
    assert again[0] == (failed, delivered, 0, 0)
    assert len(world.events) == 2_100 and max(event["writes"] for event in world.events) == 1


def test_a_sender_that_is_stopped_makes_no_request(world: World) -> None:
    """Once the run is to stop, a batch under way sends no further half and no event."""
    stop = Stop()
    client = world.client(world.settings, stop)
    world.iterable.faults = lambda _request: stop.set("enough") or TYPES  # type: ignore[func-returns-value]
    users = tuple(
        OwedUser(address(n), f'{{"email":"{address(n)}"}}', b"", (OwedEvent(b"1", b"", "{}"),)) for n in range(8)
    )
    sender = BulkSender(client, Watch(StopRules(), stop))
    halves = sender.send(Piece(users)).halves
    replies = [sender.send(half) for half in halves]

    assert len(world.iterable.requests) == 1
    assert [outcome.user.identity for reply in replies for outcome in reply.outcomes] == [u.identity for u in users]
    assert all(not outcome.profile.sent for reply in replies for outcome in reply.outcomes if outcome.profile)


# -- the log -------------------------------------------------------------------------------------------------


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


# -- any mix of failures -------------------------------------------------------------------------------------

FATES = ("fine", "forgotten", "invalid", "types", "notFound", "event forgotten", "event types")
mixes = st.lists(st.tuples(st.sampled_from(FATES), st.integers(0, 3)), min_size=1, max_size=25)


@settings(
    derandomize=True,
    max_examples=15,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(mix=mixes)
def test_any_mix_of_failures_gives_one_outcome_each(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, mix: list[tuple[str, int]]
) -> None:
    """Whatever becomes of each user, every profile and every event has exactly the outcome that is its own."""
    world = bulk_world(tmp_path_factory.mktemp("mix"), monkeypatch)
    fates = {address(n): fate for n, (fate, _) in enumerate(mix)}
    world.rows = [person(n, page=f"page {k}") for n, (_, events) in enumerate(mix) for k in range(events + 1)]
    # Refusals of the project's own making would stop a run whose first users all meet them.
    world.rows.insert(0, person(99))
    world.iterable.faults = _fate(fates)

    told = world.run()
    profiles = Counter(_expected(fate, "users") for fate in fates.values())
    events = Counter({"delivered": 1})
    for n, (fate, more) in enumerate(mix):
        events[_expected(fate, "events")] += more + 1
        assert address(n) in fates
    assert counts(told)[0] == (profiles["delivered"] + 1, 0, profiles["rejected"], profiles["failed"])
    assert counts(told)[1] == (events["delivered"], 0, events["rejected"], events["failed"])
    assert len(world.events) == events["delivered"]
    assert owed(world) == {who for who, fate in fates.items() if fate == "notFound"}


def _expected(fate: str, kind: str) -> str:
    if fate == "notFound":
        return "failed"
    spoiled = fate != "fine" and (kind == "events" or not fate.startswith("event"))
    return "rejected" if spoiled else "delivered"


def _fate(fates: dict[str, str]) -> Callable[[Request], Fault | None]:
    """A project to which the users have these fates; what it takes, it takes."""

    def answer(request: Request) -> Fault | None:
        prefix = "event " if request.path == EVENTS else ""
        mine = {who: fates.get(who, "fine") for who in whom(request)}
        parts = Counter(whom(request))
        if f"{prefix}types" in mine.values():
            return TYPES
        lists = {
            f"{fate.removeprefix(prefix)}Emails": [who for who, own in mine.items() if own == fate]
            for fate in (f"{prefix}forgotten", f"{prefix}invalid", f"{prefix}notFound")
        }
        named = {who for names in lists.values() for who in names}
        if not named:
            return None
        _keep(request, named)
        failed = sum(parts[who] for who in named)
        body = {"successCount": parts.total() - failed, "failCount": failed, "failedUpdates": lists}
        return Fault("told", json_answer(200, body), applies=True)

    return answer


def _keep(request: Request, without: set[str]) -> None:
    """Let the project take the others."""
    (key,) = request.json()
    request.body = json.dumps({key: [item for item in items(request) if item["email"] not in without]}).encode()
