"""Both names of one user, by the kind of project."""

from __future__ import annotations

import jwt
import pytest

from tests.stand_in.names import Owner, ProjectType
from tests.stand_in.stand_in import StandIn
from tests.stand_in.tests.asking import (
    ANN,
    BULK_UPDATE,
    JWT_KEY,
    JWT_SECRET,
    NOW,
    TRACK,
    UPDATE,
    event,
    read,
    said,
    send,
)

BOB = "bob@example.com"
MOVE = "/api/users/updateEmail"
EVERY_TYPE = pytest.mark.parametrize("kind", list(ProjectType), ids=lambda kind: kind.value)


def emails(iterable: StandIn, path: str) -> list[str | None]:
    """Whose events a reading call shows."""
    return [found.get("email") for found in read(iterable, path).json()["events"]]


@EVERY_TYPE
def test_a_user_is_read_by_either_name(iterable: StandIn, kind: ProjectType) -> None:
    """Both names in one body make one user, whom both reading calls show with both names."""
    iterable.project_type = kind
    assert send(iterable, UPDATE, {"email": ANN, "userId": "1", "dataFields": {"plan": "pro"}}).ok

    by_email = read(iterable, f"/api/users/{ANN}").json()["user"]
    assert by_email == read(iterable, "/api/users/byUserId/1").json()["user"]
    assert (by_email["email"], by_email["userId"], by_email["dataFields"]["plan"]) == (ANN, "1", "pro")
    assert list(iterable.profiles) == ["1" if kind is ProjectType.USER_ID else ANN]


@EVERY_TYPE
def test_events_are_found_by_either_name(iterable: StandIn, kind: ProjectType) -> None:
    """An event that was tracked by the id is shown by the address, and the other way round."""
    iterable.project_type = kind
    send(iterable, UPDATE, {"email": ANN, "userId": "1"})
    assert send(iterable, TRACK, {**event(), "userId": "1", "id": "e1"}).ok
    body = {key: value for key, value in event().items() if key != "email"}
    assert send(iterable, TRACK, {**body, "userId": "1", "id": "e2"}).ok

    assert emails(iterable, f"/api/events/{ANN}") == emails(iterable, "/api/events/byUserId/1") == [ANN, ANN]


def test_the_other_name_in_data_fields(iterable: StandIn) -> None:
    """An address beside a user id in dataFields becomes the user's, in lower case; no warning is due."""
    assert send(iterable, UPDATE, {"userId": "1", "preferUserId": True, "dataFields": {"email": ANN.title()}}).ok

    assert iterable.names == {ANN: Owner(ANN, "1")}
    assert (iterable.profiles, iterable.warnings) == ({ANN: {}}, [])


@pytest.mark.parametrize(
    ("kind", "answer"),
    [(ProjectType.HYBRID, (409, "Conflict")), (ProjectType.USER_ID, (200, "Success"))],
    ids=["hybrid", "userId"],
)
def test_two_ids_with_one_address(iterable: StandIn, kind: ProjectType, answer: object) -> None:
    """Two users may share an address in a userID-based project; in a hybrid one that is a conflict."""
    iterable.project_type = kind
    send(iterable, UPDATE, {"userId": "1", "dataFields": {"email": ANN}})

    assert said(send(iterable, UPDATE, {"userId": "2", "dataFields": {"email": ANN}})) == answer


def test_conflicts_in_bulk_are_listed(iterable: StandIn) -> None:
    """In bulk the user who would take another's name is in the list of conflicts, the others are written."""
    send(iterable, UPDATE, {"userId": "1", "dataFields": {"email": ANN}})
    users = [{"userId": "2", "dataFields": {"email": ANN}}, {"userId": "3", "dataFields": {"email": BOB}}]
    told = send(iterable, BULK_UPDATE, {"users": users}).json()

    assert told["failedUpdates"]["conflictUserIds"] == ["2"]
    assert iterable.names == {ANN: Owner(ANN, "1"), BOB: Owner(BOB, "3")}


def test_email_based_overwrites_the_user_id(iterable: StandIn) -> None:
    """There the address identifies, and the user id is overwritten, also with one that another user has."""
    iterable.project_type = ProjectType.EMAIL
    for who, user_id in ((ANN, "1"), (BOB, "1"), (ANN, "2")):
        assert send(iterable, UPDATE, {"email": who, "dataFields": {"userId": user_id}}).ok

    assert iterable.names == {ANN: Owner(ANN, "2"), BOB: Owner(BOB, "1")}


def test_email_based_makes_up_an_address(iterable: StandIn) -> None:
    """A user by id alone gets an address there that nobody can be mailed at."""
    iterable.project_type = ProjectType.EMAIL
    send(iterable, UPDATE, {"userId": "1", "preferUserId": True})

    assert str(iterable.names["1"].email).endswith("@placeholder.email")


@pytest.mark.parametrize("bulk", [False, True])
def test_email_based_ignores_an_address_in_data_fields(iterable: StandIn, bulk: bool) -> None:
    """It is not changed that way there, and the stand-in says so."""
    iterable.project_type = ProjectType.EMAIL
    send(iterable, UPDATE, {"email": ANN})
    item = {"email": ANN, "dataFields": {"email": BOB}}
    send(iterable, BULK_UPDATE if bulk else UPDATE, {"users": [item]} if bulk else item)

    assert list(iterable.names) == [ANN]
    assert any("email-based project ignores it" in warning for warning in iterable.warnings)


@pytest.mark.parametrize("address", ["000", "a@host", ""])
def test_the_other_address_is_checked_too(iterable: StandIn, address: str) -> None:
    """An address in dataFields is checked as one on top."""
    refused = said(send(iterable, UPDATE, {"userId": "1", "dataFields": {"email": address}}))

    assert refused[0] == 400
    assert iterable.profiles == {}


def test_null_for_a_name_is_warned_of(iterable: StandIn) -> None:
    """What Iterable makes of it is unverified."""
    send(iterable, UPDATE, {"userId": "1", "dataFields": {"email": None}})

    assert any("email is null" in warning for warning in iterable.warnings)


# -- changing an address


@pytest.mark.parametrize("current", [{"currentEmail": ANN}, {"currentUserId": "1"}], ids=["by address", "by id"])
def test_a_move_takes_everything_along(iterable: StandIn, current: dict[str, str]) -> None:
    """Profile, user id and events are found under the new address, and the old one names nobody."""
    send(iterable, UPDATE, {"email": ANN, "userId": "1", "dataFields": {"plan": "pro"}})
    send(iterable, TRACK, event())

    assert said(send(iterable, MOVE, {**current, "newEmail": BOB.upper()})) == (200, "Success")
    assert (iterable.profiles, dict(iterable.names)) == ({BOB: {"plan": "pro"}}, {BOB: Owner(BOB, "1")})
    assert emails(iterable, f"/api/events/{BOB}") == [BOB]
    assert read(iterable, f"/api/users/{ANN}").json() == {}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"currentEmail": "x@example.com", "newEmail": "y@example.com"}, "BadParams", "User does not exist"),
        ({"currentUserId": "9", "newEmail": "y@example.com"}, "BadParams", "User does not exist"),
        ({"currentEmail": ANN, "newEmail": BOB}, "EmailAlreadyExists", "already exists"),
        ({"currentEmail": ANN, "newEmail": "gone@example.com"}, "ForgottenUserError", "forgotten"),
        ({"currentEmail": ANN, "newEmail": "000"}, "InvalidEmailAddressError", "newEmail"),
        ({"currentEmail": "sayan", "newEmail": BOB}, "InvalidEmailAddressError", "Invalid currentEmail sayan"),
        ({"newEmail": BOB}, "BadParams", "needed"),
    ],
    ids=["old unknown", "id unknown", "new exists", "new forgotten", "new invalid", "old invalid", "no old"],
)
def test_what_a_move_is_refused_for(iterable: StandIn, body: dict[str, str], code: str, words: str) -> None:
    """Each refusal has its code, and nobody is moved."""
    iterable.forgotten.add("gone@example.com")
    for who in (ANN, BOB):
        send(iterable, UPDATE, {"email": who})
    response = send(iterable, MOVE, body)

    assert said(response) == (400, code)
    assert words in response.json()["msg"]
    assert set(iterable.profiles) == {ANN, BOB}


def test_a_move_needs_the_current_user_s_token(iterable: StandIn) -> None:
    """A JWT-enabled key may move the user whom the token claims."""
    body = {"currentEmail": ANN, "newEmail": BOB}
    for claimed, status in ((BOB, 401), (ANN, 400)):  # 400: there is no such user
        claims = {"email": claimed, "iat": NOW, "exp": NOW + 60}
        token = jwt.encode(claims, JWT_SECRET, algorithm="HS256")
        headers = {"Api-Key": JWT_KEY, "Authorization": f"Bearer {token}"}
        assert send(iterable, MOVE, body, headers=headers).status_code == status


# -- deleting


@pytest.mark.parametrize("path", [f"/api/users/{ANN}", "/api/users/byUserId/1"], ids=["by address", "by id"])
def test_a_deleted_user_is_gone(iterable: StandIn, path: str) -> None:
    """A deleted user is read as one whom nobody knows."""
    send(iterable, UPDATE, {"email": ANN, "userId": "1"})
    send(iterable, TRACK, event())

    assert said(send(iterable, path, method="DELETE")) == (200, "Success")
    assert (iterable.profiles, iterable.events) == ({}, {})
    assert read(iterable, f"/api/users/{ANN}").json() == {}


def test_deleting_who_is_unknown(iterable: StandIn) -> None:
    """An unknown address is a success, an unknown id is not (recorded)."""
    assert said(send(iterable, f"/api/users/{BOB}", method="DELETE")) == (200, "Success")
    assert said(send(iterable, "/api/users/byUserId/9", method="DELETE")) == (400, "BadParams")
