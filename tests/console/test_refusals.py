"""--check before a run that exits 2 because of what is on record: exit 1, in the words of the run."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from sync.rows.source import Column, Kind
from sync.run.exit_codes import ExitCode
from tests.console.desk import Desk
from tests.sample_rows import people
from tests.state.test_syncs import OLD


@pytest.fixture
def used(desk: Desk) -> Desk:
    """An installation that has delivered three users."""
    desk.world.rows = people(3)
    desk.world.run()
    return desk


def words_of_the_run(desk: Desk) -> str:
    """Why a run would refuse; `--check` has said so before, and changed nothing."""
    before = desk.world.settings.state_file.read_bytes()
    wrong = desk.check()
    assert desk.world.settings.state_file.read_bytes() == before
    summary = desk.world.run()
    assert (summary.exit_code, summary.requests) == (ExitCode.USAGE, 0)
    assert wrong == [f"state: {summary.stopped_because}"]
    return str(summary.stopped_because)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"DESTINATION": "shop", "ITERABLE_API_KEY": "read-only-key"}, "--same-project"),
        ({"ITERABLE_API_KEY": "read-only-key"}, "--new-project"),
        ({"EVENT_NAME": "visit"}, "EVENT_NAME changed from page_view to visit"),
        ({"EVENT_KEY": "page"}, "EVENT_KEY changed from event_time,page to page"),
        (
            {"EVENT_KEY": "page", "EVENT_NAME": "visit"},
            "EVENT_NAME changed from page_view to visit and EVENT_KEY changed from",
        ),
        ({"SYNC_NAME": "renamed"}, "SYNC_NAME=default"),
    ],
    ids=str,
)
def test_what_a_run_refuses_is_wrong(used: Desk, environ: dict[str, str], words: str) -> None:
    """The destination, the ids of events, another sync's segment field: one finding, the run's own sentence."""
    used.world.environ |= environ
    assert words in words_of_the_run(used)


def test_events_that_lose_their_names(used: Desk) -> None:
    """What the columns of the query decide is asked with them: here no address is left to find older events by."""
    used.world.environ |= {"USER_ID_COLUMN": "id"}
    used.world.columns = [column for column in used.world.columns if column.name != "email"]
    assert "EMAIL_COLUMN is no longer in the query" in words_of_the_run(used)


@pytest.mark.parametrize("address", ["http://localhost", "http://[::1]"])
def test_another_name_of_the_same_machine(used: Desk, address: str) -> None:
    """The base URL alone makes the question."""
    port = used.iterable.url.rpartition(":")[2]
    used.world.environ["ITERABLE_API_BASE_URL"] = f"{address}:{port}"
    used.world.environ["MAX_RETRIES"] = "1"
    wrong = used.check()
    assert [line for line in wrong if line.startswith("state:")] == [f"state: {used.world.run().stopped_because}"]


def test_all_that_would_be_refused_is_told_at_once(used: Desk) -> None:
    """A run stops at the first; whoever looks ahead sees both."""
    used.world.environ |= {"SYNC_NAME": "orders", "SEGMENT_FIELD": "ordered"}
    used.world.run()
    used.world.environ |= {"SEGMENT_FIELD": "recent_page_view", "EVENT_NAME": "visit"}
    first, second = used.check()
    assert "is written by the sync default" in first and "EVENT_NAME changed from page_view to visit" in second


def test_what_a_killed_run_delivered_is_something_to_lose(desk: Desk) -> None:
    """Its events are in the backlog as delivered, until the next run settles them."""
    desk.world.run(limit=1)
    with closing(sqlite3.connect(desk.world.settings.state_file)) as state, state:
        state.execute(
            "INSERT INTO pending (sync, state, person, key, moment, inside, since, fingerprint) "
            "SELECT sync, 3, 'a', key, 0, 1, 0, fingerprint FROM known WHERE typeof(key) = 'blob'"
        )
        state.execute("DELETE FROM known WHERE typeof(key) = 'blob'")
    desk.world.environ["EVENT_NAME"] = "visit"
    assert "1 delivered events would get new ids" in words_of_the_run(desk)


def test_a_state_of_1_0_0(desk: Desk) -> None:
    """It is asked as the run will ask it, once it is brought up to date; the file stays as it is until then."""
    shutil.copy(OLD, desk.world.settings.state_file)
    (wrong,) = desk.check()
    assert desk.world.settings.state_file.read_bytes() == OLD.read_bytes()
    assert "--same-project" in wrong and wrong == f"state: {desk.world.run().stopped_because}"


def test_a_mere_backlog_is_well(desk: Desk) -> None:
    """A run takes it along without asking, so there is nothing to say."""
    desk.world.iterable.project.rules.api_key = "another key"
    assert desk.world.run().exit_code == ExitCode.STOPPED
    desk.world.environ |= {"ITERABLE_API_KEY": "read-only-key", "DESTINATION": "shop"}
    assert desk.check() == []


def test_while_the_query_cannot_be_used(used: Desk) -> None:
    """Without the query's columns all but the ids of events is asked."""
    used.world.environ |= {"SYNC_NAME": "renamed", "EVENT_NAME": "visit"}
    used.world.columns = [Column("nothing", Kind.TEXT)]
    used.world.rows = []
    wrong = used.check()
    assert wrong[0].startswith("state: ") and "SYNC_NAME=default" in wrong[0]
    assert all(line.startswith("query: ") for line in wrong[1:])
