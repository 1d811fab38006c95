"""--check: values that do not fit the types that their fields take from their columns."""

from __future__ import annotations

from sync.rows.source import Column, Kind
from sync.run.exit_codes import ExitCode
from tests.console.desk import Desk
from tests.sample_rows import COLUMNS, person


def test_values_that_do_not_fit(desk: Desk) -> None:
    """What makes a run refuse is wrong, in the words of the run; once there were deliveries, the row is a note."""
    desk.world.columns = (*COLUMNS, Column("rating", Kind.BOOLEAN))
    desk.world.environ |= {"USER_FIELDS": "first_name,rating", "EVENT_FIELDS": "page"}
    desk.world.rows = [person(1, rating=1), person(2, rating=4), person(3, rating=0), person(4, rating=5)]

    (wrong,) = desk.check()
    assert wrong.startswith("rows: values do not fit the types") and wrong.endswith(
        "USER_FIELDS: rating is 4: neither 0 nor 1; map it as rating:rating:number (rows with such a value: 2)"
    )
    assert "rows: 4 read (at most 20), 0 would be rejected" in desk.told("ok")
    assert wrong == f"rows: {desk.world.run().stopped_because}"
    desk.world.rows = [person(1, rating=1)]
    assert desk.world.run().exit_code == ExitCode.DONE
    desk.world.rows += [person(2, rating=4)]
    assert desk.check() == []
    assert any(
        "row 2 would be rejected: rating is 4: neither 0 nor 1; use another" in told for told in desk.told("note")
    )


def test_values_that_do_not_fit_without_a_state(desk: Desk) -> None:
    """A state that cannot be read is wrong by itself, and the rows are judged as for a first run."""
    desk.world.settings.state_file.write_text("not a database, and longer than a header would be" * 10)
    desk.world.columns = (*COLUMNS, Column("rating", Kind.BOOLEAN))
    desk.world.environ["USER_FIELDS"] = "rating"
    desk.world.rows = [person(1, rating=4)]

    assert [finding.split(":")[0] for finding in desk.check()] == ["state", "rows"]
