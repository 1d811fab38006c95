"""An address that changes, and what Iterable may answer to it, also with an answer that is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync.run.exit_codes import ExitCode
from tests.harness import World, counts
from tests.run.moving import (
    ANN,
    BOB,
    BOTH_WAYS,
    CAT,
    DAN,
    MOVE,
    a_stranger,
    as_text,
    lost,
    moves,
    moving_world,
    names,
    pages,
    quiet,
    rows_of,
)
from tests.sample_rows import person
from tests.stand_in.answers import Request
from tests.stand_in.faults import UNAVAILABLE, Fault, refused, scripted
from tests.stand_in.names import Owner


@BOTH_WAYS
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A sync into an email-based project, one by one or in bulk."""
    return moving_world(tmp_path, monkeypatch, ITERABLE_BULK=str(request.param).lower())


# -- what Iterable answers


def test_old_address_unknown(world: World) -> None:
    """Somebody deleted the user at Iterable: nothing is to be moved, and the profile makes the user anew."""
    world.rows = rows_of(ANN)
    world.run()
    world.iterable.project.delete_user(ANN)
    world.rows = rows_of(CAT)
    summary = world.run()

    assert (summary.exit_code, summary.moved, names(world)) == (0, 0, {CAT: "1"})
    assert quiet(world)


def test_new_address_is_another_user_s(world: World) -> None:
    """The row is rejected with both names, tried again every run, and counts as new once; then the name is free."""
    world.rows = rows_of(ANN, DAN)
    world.run()
    world.iterable.project.users.names.put(CAT, Owner(CAT, "77"))
    world.rows = rows_of(CAT, DAN)
    first, second = world.run(), world.run()

    assert (first.exit_code, second.exit_code) == (ExitCode.INCOMPLETE, ExitCode.DONE)
    assert counts(first) == counts(second) == ((0, 1, 1, 0), (0, 2, 0, 0))
    assert moves(world) == [(ANN, CAT)]
    ((reason,),) = world.table("SELECT DISTINCT reason FROM pending WHERE reason IS NOT NULL")
    assert all(word in reason for word in (CAT, ANN, "user id 1"))
    assert ANN in names(world)
    assert ("id:1",) in world.table("SELECT person FROM member")

    world.iterable.project.users.names.remove(CAT)
    assert (world.run().exit_code, names(world)) == (0, {CAT: "1", DAN: "2"})
    assert quiet(world)


@pytest.mark.parametrize(
    "fault",
    [
        refused(400, "UnknownEmailError", "no such user"),
        refused(404, "NotFound", "no such user"),
        refused(400, "InvalidEmailAddressError", f"Invalid currentEmail {ANN}"),
    ],
    ids=str,
)
def test_other_words_for_an_unknown_old_address(world: World, fault: Fault) -> None:
    """Which code it has is not documented: the profile goes on."""
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(CAT)
    world.iterable.faults = lambda request: fault if request.path == MOVE else None

    assert (world.run().exit_code, CAT in names(world)) == (0, True)


@pytest.mark.parametrize(
    "fault", [refused(409, "Conflict"), refused(400, "BadParams", "Email already exists")], ids=str
)
def test_other_words_for_a_new_address_that_exists(world: World, fault: Fault) -> None:
    """Which code it has is not documented either: the row is rejected, and the user stays what it was."""
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(CAT)
    world.iterable.faults = lambda request: fault if request.path == MOVE else None

    assert (world.run().exit_code, set(names(world))) == (ExitCode.INCOMPLETE, {ANN})
    world.iterable.faults = None
    assert (world.run().exit_code, set(names(world))) == (0, {CAT})


def test_a_forgotten_new_address(world: World) -> None:
    """It is rejected as any forgotten user, and not tried again."""
    world.rows = rows_of(ANN)
    world.run()
    world.iterable.project.rules.forgotten.add(CAT)
    world.rows = rows_of(CAT)

    assert (world.run().exit_code, counts(world.run())[0]) == (ExitCode.INCOMPLETE, (0, 0, 1, 0))
    assert set(names(world)) == {ANN}


def test_a_move_that_fails_waits_with_all_that_follows(world: World) -> None:
    """Neither profile nor event is sent under the new address before the move; the others are served."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = [*rows_of(CAT), person(2, email=BOB, first_name="New")]
    world.iterable.faults = lambda request: UNAVAILABLE if request.path == MOVE else None
    summary = world.run()
    assert (summary.exit_code, set(names(world))) == (ExitCode.INCOMPLETE, {ANN, BOB})
    assert counts(summary)[0] == (1, 0, 0, 1)

    world.iterable.faults = None
    summary = world.run()
    assert (summary.exit_code, summary.moved, set(names(world))) == (0, 1, {BOB, CAT})
    assert quiet(world)


def test_who_waits_for_a_name_in_vain(world: World) -> None:
    """a to b while b's own move fails: nothing of a is sent, and the next runs do both."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = rows_of(BOB, CAT)
    world.iterable.faults = lambda request: UNAVAILABLE if request.path == MOVE else None
    summary = world.run()
    assert {move for move in moves(world)} == {(BOB, CAT)}
    assert (counts(summary)[0], names(world)) == ((0, 0, 0, 2), {ANN: "1", BOB: "2"})

    world.iterable.faults = None
    world.run()
    assert (world.run().exit_code, names(world)) == (0, {BOB: "1", CAT: "2"})


# -- in doubt


def test_an_answer_that_was_lost(world: World) -> None:
    """The move is sent again; Iterable does not know the old address any more, and all goes on."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = rows_of(CAT, BOB)
    world.iterable.faults = scripted([Fault("lost", UNAVAILABLE.answer, applies=True)])
    summary = world.run()

    assert (summary.exit_code, summary.moved, names(world)) == (0, 1, {CAT: "1", BOB: "2"})
    assert quiet(world)


def test_lost_and_then_another_address(world: World) -> None:
    """The user is found under the address on record, or under the one that may have been reached."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = rows_of(CAT, BOB)
    world.environ["MAX_RETRIES"] = "1"
    world.iterable.faults = lost
    assert world.run().exit_code == ExitCode.INCOMPLETE
    world.iterable.faults = None
    world.rows = rows_of(DAN, BOB)
    summary = world.run()

    assert moves(world) == [(ANN, DAN), (CAT, DAN)]
    assert (summary.exit_code, summary.moved, names(world)) == (0, 1, {DAN: "1", BOB: "2"})
    assert quiet(world)


def test_lost_and_then_back_again(world: World) -> None:
    """The row went back to its old address meanwhile: the user is moved back, if the move was made."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.environ["MAX_RETRIES"] = "1"
    world.iterable.faults = lost
    world.rows = rows_of(CAT, BOB)
    world.run()
    world.iterable.faults = None
    world.rows = rows_of(ANN, BOB)
    summary = world.run()

    assert (summary.exit_code, names(world)) == (0, {ANN: "1", BOB: "2"})
    assert quiet(world)


def test_lost_and_then_out_of_the_result(world: World) -> None:
    """Who leaves and may have been moved is told false under the name that Iterable knows."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.environ["MAX_RETRIES"] = "1"
    world.iterable.faults = lost
    world.rows = rows_of(CAT, BOB)
    world.run()
    world.iterable.faults = None
    world.rows = rows_of(ANN, BOB)[1:]
    summary = world.run()

    assert (summary.exit_code, summary.left_segment) == (0, 1)
    assert names(world) == {ANN: "1", BOB: "2"}
    assert world.profiles[ANN]["recent_page_view"] is False


def test_in_doubt_and_the_new_address_exists(world: World) -> None:
    """A project that answers so for a move that was made before: a read shows our id there, and all goes on."""
    world.rows = rows_of(ANN)
    world.run()
    world.environ["MAX_RETRIES"] = "1"
    world.rows = rows_of(CAT)
    world.iterable.faults = lost
    world.run()
    exists = refused(400, "EmailAlreadyExists", "already exists")
    world.iterable.faults = lambda request: exists if request.path == MOVE else None
    summary = world.run()

    assert (summary.exit_code, summary.moved, names(world)) == (0, 1, {CAT: "1"})
    world.iterable.faults = None
    assert quiet(world)


def test_a_kill_between_the_move_and_its_record(world: World) -> None:
    """The state as it is when the move has reached Iterable: the next run sends it again, and all ends right."""
    world.rows = rows_of(ANN, BOB)
    world.run()
    world.rows = [*rows_of(CAT), person(2, email=BOB, first_name="New")]
    kept = world.folder / "killed.sqlite3"

    def keep(request: Request) -> None:
        if request.path == MOVE:
            with closing(sqlite3.connect(world.settings.state_file)) as state, closing(sqlite3.connect(kept)) as copy:
                state.backup(copy)

    world.iterable.faults = keep
    world.run()
    for file in world.folder.glob("state.sqlite3*"):
        file.unlink()
    kept.rename(world.settings.state_file)
    world.iterable.faults = None
    summary = world.run()

    assert (summary.exit_code, summary.moved, moves(world)) == (0, 1, [(ANN, CAT)])
    assert names(world) == {CAT: "1", BOB: "2"}
    assert {owner: len(events) for owner, events in pages(world).items()} == {CAT: 1, BOB: 1}
    assert quiet(world)


def test_our_id_is_known_letter_for_letter(world: World) -> None:
    """That read compares the very id, also one that begins as the stand-in of an unusable one does."""
    world.columns = [as_text(column) for column in world.columns]
    world.rows = [person(1, id="?:5", email=ANN)]
    world.run()
    world.rows = [person(1, id="?:5", email=CAT)]
    world.iterable.faults = lost
    world.run()
    exists = refused(400, "EmailAlreadyExists", "already exists")
    world.iterable.faults = lambda request: exists if request.path == MOVE else None
    summary = world.run()

    assert (summary.exit_code, summary.moved, names(world)) == (0, 1, {CAT: "?:5"})


def test_a_rejected_change_is_over(world: World) -> None:
    """Its first answer was lost, and the address is somebody else's: a row that is as it was changes nobody's."""
    world.environ["MAX_RETRIES"] = "1"
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(CAT)
    world.iterable.faults = lambda request: UNAVAILABLE if request.path == MOVE else None
    world.run()
    world.iterable.faults = None
    a_stranger(world, CAT)
    assert world.run().exit_code == ExitCode.INCOMPLETE

    world.rows = rows_of(ANN)
    assert (world.run().exit_code, moves(world)) == (ExitCode.DONE, [])
    assert names(world) == {ANN: "1", CAT: "77"}


def test_a_refused_key_leaves_no_doubt_about_the_address(world: World) -> None:
    """Iterable took nothing of that request, so the address is not one by which the user may be known: whoever has it
    later keeps the profile.
    """
    world.rows = rows_of(ANN)
    world.run()
    world.rows = rows_of(CAT)
    world.iterable.faults = lambda request: UNAVAILABLE if request.path == MOVE else None
    world.run()
    world.rows = rows_of(DAN)
    refusal = refused(401, "BadApiKey", "Invalid API key")
    world.iterable.faults = lambda request: refusal if request.path == MOVE else None
    assert world.run().exit_code == ExitCode.STOPPED
    world.iterable.faults = None
    world.iterable.project.delete_user(ANN)
    world.iterable.project.users.names.put(DAN, Owner(DAN, "77"))
    world.rows = rows_of(BOB)
    world.run()

    assert (DAN, BOB) not in moves(world)
    assert names(world)[DAN] == "77"
